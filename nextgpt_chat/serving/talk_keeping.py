"""An open talk and the store in step: turns go in as they come, replies as they stream, failed turns out again."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from ..content import Event, Finished, MediaReady, Notice, Turn
from ..conversation import REMADE
from ..errors import LimitError, NextGPTError
from .open_talk import OpenTalk
from .talk_store import TalkStore

logger = logging.getLogger(__name__)

_NOT_KEPT = "This reply could not be stored and will be gone when the page is closed: {error}"


@dataclass(frozen=True)
class Beside:
    """What is shown with turns without being part of them, as in :class:`OpenTalk`."""

    notices: dict[int, tuple[str, ...]]
    ratings: dict[int, tuple[bool, str]]


class TalkKeeper:
    """Writes open talks down. Talks without an owner, and all where ``store`` is None, are left in memory."""

    def __init__(self, store: TalkStore | None) -> None:
        self.store = store

    def begin(self, talk: OpenTalk, keep: int, before: tuple[Turn, ...]) -> Beside:
        """Stores the turns from index ``keep`` on and begins the reply; a first message makes the talk. Returns what
        stood beside the turns that went, for :meth:`take_back`.

        ``before``: the turns that the store has. Raises NextGPTError with the store unchanged.
        """
        if self.store is None or talk.owner is None:
            return _forget(talk, keep)
        beside = _beside(talk, keep)
        fresh = talk.id is None
        talk_id = self.store.create(talk.owner) if talk.id is None else talk.id
        try:
            self.store.replace_from(talk.owner, talk_id, keep, talk.conversation.turns[keep:])
            try:
                talk.writer = self.store.begin_reply(talk.owner, talk_id)
            except NextGPTError:
                self._put_back(talk.owner, talk_id, keep, before, beside)
                raise
        except NextGPTError:
            if fresh:
                self.store.delete(talk.owner, talk_id)
            raise
        talk.id = talk_id
        return _forget(talk, keep)

    def take(self, talk: OpenTalk, event: Event) -> Event | None:
        """Stores an event of the reply before anybody is shown it. Returns what else to say, where that failed."""
        if talk.writer is None:
            return None
        try:
            talk.writer.feed(event)
        except NextGPTError as error:
            if isinstance(error, LimitError) and isinstance(event, MediaReady):
                talk.unkept.add(event.part.media.sha256)  # the reply is stored without it and goes on
                return Notice(str(error))
            logger.error("A reply could not be stored: %s", error)
            talk.writer = None
            return None if isinstance(event, Finished) else Notice(_NOT_KEPT.format(error=error))
        return None

    def end(self, talk: OpenTalk) -> None:
        """The reply has ended; where it was not finished, it stands as a stopped one."""
        writer, talk.writer = talk.writer, None
        if writer is not None:
            with _logged("A reply could not be stored"):
                writer.stop()

    def take_back(self, talk: OpenTalk, keep: int, turns: tuple[Turn, ...], beside: Beside) -> None:
        """No reply came of it: the store has ``turns`` again, of which the first ``keep`` never went."""
        writer, talk.writer = talk.writer, None
        talk.notices |= beside.notices
        talk.ratings |= beside.ratings
        if self.store is None or talk.owner is None or talk.id is None:
            return
        with _logged("A talk could not be put back in the store"):
            if writer is not None:
                writer.abandon()
            if turns:
                self._put_back(talk.owner, talk.id, keep, turns, beside)
            else:
                self.store.delete(talk.owner, talk.id)
                talk.id = None

    def _put_back(self, owner: str, talk_id: str, keep: int, turns: tuple[Turn, ...], beside: Beside) -> None:
        self.store.replace_from(owner, talk_id, keep, turns[keep:], beside.notices)
        for index, (liked, reason) in beside.ratings.items():
            self.store.rate(owner, talk_id, index, liked, reason)

    def cut(self, talk: OpenTalk, keep: int) -> None:
        """Takes the turns from index ``keep`` on out of the store. Raises NextGPTError with nothing changed."""
        if self.store is not None and talk.owner is not None and talk.id is not None:
            self.store.replace_from(talk.owner, talk.id, keep)
        _forget(talk, keep)

    def change(self, talk: OpenTalk, index: int) -> None:
        """The turn at ``index`` has another medium now. Where the store has no room for it, the talk has it as long as
        it is open."""
        if self.store is None or talk.owner is None or talk.id is None:
            return
        turn = talk.conversation.turns[index]
        try:
            self.store.change_turn(talk.owner, talk.id, index, turn)
        except NextGPTError as error:
            logger.error("A medium could not be stored: %s", error)
            talk.unkept |= {part.media.sha256 for part in turn.media if part.details.get(REMADE)}

    def load(self, talk: OpenTalk, talk_id: str) -> None:
        """Fills an open talk from the store. Raises NextGPTError where its owner has none of this id."""
        if self.store is None or talk.owner is None:
            raise NextGPTError("No talks are kept for this browser. Allow cookies for this page and reload it.")
        conversation = self.store.load(talk.owner, talk_id)
        conversation.limits = talk.conversation.limits
        notices, ratings = self.store.notices(talk.owner, talk_id), self.store.ratings(talk.owner, talk_id)
        with talk.lock:
            talk.id, talk.conversation, talk.notices, talk.ratings = talk_id, conversation, notices, ratings
            talk.shown.clear()
            talk.unkept.clear()


def _beside(talk: OpenTalk, keep: int) -> Beside:
    return Beside(
        {index: said for index, said in talk.notices.items() if index >= keep},
        {index: said for index, said in talk.ratings.items() if index >= keep},
    )


def _forget(talk: OpenTalk, keep: int) -> Beside:
    """Takes away what stands beside the turns from index ``keep`` on."""
    beside = _beside(talk, keep)
    talk.notices = {index: said for index, said in talk.notices.items() if index < keep}
    talk.ratings = {index: said for index, said in talk.ratings.items() if index < keep}
    return beside


@contextlib.contextmanager
def _logged(what: str):
    try:
        yield
    except NextGPTError as error:
        logger.error("%s: %s", what, error)
