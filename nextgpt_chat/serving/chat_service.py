"""What a user may do with talks: send, retry, undo, stop, open, delete, change settings. One running turn per user."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..config import GenerationSettings
from ..content import MODALITIES, Event, Failed, MediaPart, MediaReady, Notice, Turn
from ..conversation import REMADE, add_remade
from ..errors import NextGPTError
from .open_talk import OpenTalk
from .replay import replay
from .runner import Job, Remake, Runner
from .service_limits import ServiceLimits
from .sessions import Session, SessionStore
from .talk_keeping import TalkKeeper
from .talk_library import Cleaned
from .talk_store import NO_TURN, TalkStore
from .turn_taking import TurnTaking
from .variations import find_part, variation

logger = logging.getLogger(__name__)


class ChatService:
    """All talks of one server. ``root``: folder for the files of talks that are not kept; ``store``: for the others.

    A talk is kept where its session has an owner and there is a store; it appears there with its first message.
    """

    def __init__(
        self, runner: Runner, root: Path, limits: ServiceLimits | None = None, store: TalkStore | None = None
    ) -> None:
        self.runner = runner
        self.limits = limits or ServiceLimits()
        self.store = store
        self.sessions = SessionStore(root, self.limits.media, self.limits.sessions)
        self._keeper = TalkKeeper(store)
        self._talks: weakref.WeakValueDictionary[str, OpenTalk] = weakref.WeakValueDictionary()
        self._turns = TurnTaking()
        self._lock = threading.Lock()

    def session(self, session_id: str | None, owner: str | None = None) -> Session:
        """The owner's session of this id, or a new one where there is none (any more)."""
        owner = owner if self.store is not None else None
        session = self.sessions.get(session_id)
        return session if session is not None and session.owner == owner else self.sessions.create(owner)

    # The talk that a session has open

    def send(
        self,
        session: Session,
        text: str,
        files: Sequence[str | os.PathLike] = (),
        answer: Turn | None = None,
        notice: str = "",
    ) -> Job:
        """Adds the user's turn and queues the reply.

        ``answer``: a reply made beforehand, and ``notice``, which says so. It is told at once where it is what the
        model would say now: as the first reply of a talk, with nothing set.

        Raises NextGPTError (MediaError, LimitError, BusyError) with the talk unchanged. If the reply fails, or is
        stopped before it began, the user's turn is taken out again: see :meth:`Job.watch` for the error.
        """
        talk = session.talk
        with self._turns.turn(talk):
            self.limits.check(len(talk.conversation), text, files)
            self.runner.check_room()
            before = talk.conversation.turns
            talk.conversation.add_user(text, list(files))
            fits = not before and session.settings == GenerationSettings() and session.modalities is None
            told = replay(talk.conversation, answer, notice) if answer is not None and fits else None
            return self._submit(session, talk, session.settings.seed, before, len(before), told)

    def retry(self, session: Session) -> Job:
        """Makes the last reply again, with another seed. Raises NextGPTError where there is nothing to make again."""
        talk = session.talk
        with self._turns.turn(talk):
            self.runner.check_room()
            before = talk.conversation.turns
            turn = talk.conversation.undo()
            if turn is None:
                raise NextGPTError("There is no reply to make again. Send a message first.")
            talk.conversation.append(turn)
            return self._submit(session, talk, secrets.randbelow(2**31), before, len(talk.conversation))

    def edit(self, session: Session, index: int, text: str) -> Job:
        """Says an earlier message of the user's in other words, with its files; what followed it is replaced by the
        new reply. Errors as in :meth:`send`."""
        talk = session.talk
        with self._turns.turn(talk):
            before = talk.conversation.turns
            if not 0 <= index < len(before) or before[index].role != "user":
                raise NextGPTError(NO_TURN)
            self.limits.check(len(talk.conversation), text, ())
            self.runner.check_room()
            _restore(talk, before[:index])
            try:
                talk.conversation.add_user(text, list(before[index].media))
            except NextGPTError:
                _restore(talk, before)
                raise
            return self._submit(session, talk, session.settings.seed, before, index)

    def again(self, session: Session, part_id: str, how: str) -> Job:
        """Makes a medium of the talk once more, beside the first; ``how``: see :func:`variation`.

        Raises NextGPTError where the talk has no such medium of the model's, BusyError while a reply is made.
        """
        talk = session.talk
        with self._turns.turn(talk):
            self.runner.check_room()
            part = find_part(talk.conversation.turns, part_id)
            return self._submit_again(talk, [part], how, session.settings)

    def compare(self, session: Session, index: int, how: str) -> Job:
        """Makes every medium of the reply at ``index`` once more, each beside its first. ``how`` and errors as in
        :meth:`again`."""
        talk = session.talk
        with self._turns.turn(talk):
            self.runner.check_room()
            turns = talk.conversation.turns
            made = turns[index].media if 0 <= index < len(turns) else ()
            first = [part for part in made if part.generated and REMADE not in part.details]
            if not first:
                raise NextGPTError("This reply has no picture, sound or clip that could be made again to compare.")
            return self._submit_again(talk, first, how, session.settings)

    def rate(self, session: Session, index: int, liked: bool | None, reason: str = "") -> None:
        """What the user thinks of the reply at ``index``; None takes it back. Raises NextGPTError for a turn that is
        none of the model's."""
        talk = session.talk
        with talk.lock:
            turns = talk.conversation.turns
            if not 0 <= index < len(turns) or turns[index].role != "assistant":
                raise NextGPTError(NO_TURN)
            if self.store is not None and talk.owner is not None and talk.id is not None:
                self.store.rate(talk.owner, talk.id, index, liked, reason)
            talk.ratings.pop(index, None)
            if liked is not None:
                talk.ratings[index] = (liked, reason.strip()[:500])
            del talk.shown[index:]

    def undo(self, session: Session) -> Turn | None:
        """Takes back the last message and its reply; returns the user's turn. Raises BusyError while one is made."""
        talk = session.talk
        with self._turns.reserved(talk):
            before = talk.conversation.turns
            turn = talk.conversation.undo()
            try:
                self._keeper.cut(talk, len(talk.conversation))
            except NextGPTError:
                _restore(talk, before)
                raise
            return turn

    def clear(self, session: Session) -> None:
        """Deletes the open talk with its files; the session goes on with an empty one. A running turn is stopped and
        waited for (one denoising step)."""
        talk = session.talk
        if talk.kept and talk.owner is not None:
            self.delete(talk.owner, talk.id or "")
            session.show(self.sessions.new_talk(session.owner))
            return
        self._turns.stop_and_wait(talk)
        with self._turns.reserved(talk):
            self._keeper.cut(talk, 0)
            talk.conversation.clear()
            talk.shown.clear()
            talk.files.remove()

    def stop(self, session: Session) -> bool:
        """Asks the running turn to stop, or the one whose files are being read; returns whether there was one."""
        return self._turns.stop(session.talk)

    # All talks of an owner

    def new(self, session: Session) -> None:
        """The session goes on with an empty talk; the one it had stays in the store."""
        session.asked = ""
        session.show(self.sessions.new_talk(session.owner))

    def open(self, session: Session, talk_id: str) -> None:
        """The session goes on with a talk of its owner's, unless it is asked for another one while this is read. Raises
        NextGPTError where there is none of this id."""
        session.asked = talk_id
        with self._lock:
            talk = self._talks.get(talk_id)
        if talk is None or not talk.shows(session.owner, talk_id):
            talk = self.sessions.new_talk(session.owner)
            self._keeper.load(talk, talk_id)
            with self._lock:  # sessions that show the same talk share it
                known = self._talks.get(talk_id)
                if known is not None and known.shows(session.owner, talk_id):
                    talk = known
                self._talks[talk_id] = talk
        with session.lock:
            if session.asked == talk_id:
                session.show(talk)

    def delete(self, owner: str, talk_id: str) -> None:
        """Removes a talk and the media that no other one has. A running turn is stopped and waited for.

        Raises NextGPTError where the owner has none of this id.
        """
        if self.store is None:
            raise NextGPTError("No talks are kept here.")
        self.store.info(owner, talk_id)
        with self._lock:
            talk = self._talks.get(talk_id)
        if talk is not None:
            self._turns.stop_and_wait(talk)
        if talk is None or talk.id is not None:  # its first message, if that was stopped, took it away already
            self.store.delete(owner, talk_id)
        if talk is not None:
            talk.close()

    def clean(self) -> Cleaned:
        """Keeps the stored media to their age and quota."""
        if self.store is None:
            return Cleaned()
        cleaned = self.store.clean()
        if cleaned.old or cleaned.over_quota:
            for talk in list(self._talks.values()):
                self._reload(talk)
        return cleaned

    # Settings

    def set(self, session: Session, path: str, value: Any) -> None:
        """Changes one setting by its path (``image.steps``); None means the checkpoint's own default.

        Raises LimitError for a value out of range, ValueError for an unknown path.
        """
        with session.lock:
            session.settings = session.settings.with_value(path, value)

    def set_modalities(self, session: Session, modalities: Iterable[str] | None) -> None:
        """What the next replies are made of; None lets the model decide. Raises ValueError for an unknown one."""
        chosen = None if modalities is None else frozenset(modalities)
        if chosen is not None and not chosen <= set(MODALITIES):
            raise ValueError(f"modalities are {sorted(chosen)}; they must be of {', '.join(MODALITIES)}")
        session.modalities = chosen

    def reset_settings(self, session: Session) -> None:
        with session.lock:
            session.settings = GenerationSettings()
            session.modalities = None

    def close(self) -> None:
        """Stops all work, closes the store and deletes the files of talks that are not kept."""
        self.sessions.close_all()
        self.runner.close()
        if self.store is not None:
            self.store.close()

    # Within

    def _submit(
        self,
        session: Session,
        talk: OpenTalk,
        seed: int | None,
        before: tuple[Turn, ...],
        keep: int,
        told: Iterator[Event] | None = None,
    ) -> Job:
        """Queues the reply, or tells it at once (``told``); the talk is put back to ``before``, of which ``keep`` turns
        stay in any case, where none comes of it."""

        def ended(job: Job) -> None:
            with self._turns.ending(talk):
                turns = talk.conversation.turns
                job.undone = not turns or turns[-1].role == "user"
                if job.undone:
                    _restore(talk, before)
                    self._keeper.take_back(talk, keep, before, beside)
                    return
                if said:
                    talk.notices[len(turns) - 1] = tuple(said)
                self._keeper.end(talk)

        with talk.lock:  # ``ended`` waits for it, however quick the runner is
            try:
                beside = self._keeper.begin(talk, keep, before)
            except Exception:
                _restore(talk, before)
                raise
            if talk.id is not None:
                self._talks[talk.id] = talk

            said: list[str] = []

            def heard(event: Event) -> Event | None:
                more = self._keeper.take(talk, event)
                said.extend(one.message for one in (event, more) if isinstance(one, (Notice, Failed)))
                return more

            if talk.stop_asked:  # while its files were read: it ends before it is queued
                told = iter(())
            if told is not None:
                return self.runner.tell(talk.conversation, told, ended, heard)
            try:
                talk.job = self.runner.submit(
                    talk.conversation, session.settings, seed, session.modalities, ended, heard
                )
            except Exception:
                _restore(talk, before)
                self._keeper.take_back(talk, keep, before, beside)
                raise
            return talk.job

    def _submit_again(self, talk: OpenTalk, parts: Sequence[MediaPart], how: str, chosen: GenerationSettings) -> Job:
        remakes = [Remake(part.id, *variation(part, how, chosen)) for part in parts]
        made: list[MediaPart] = []

        def ended(job: Job) -> None:
            with self._turns.ending(talk):
                job.undone = not made
                for part in made:
                    self._keeper.change(talk, add_remade(talk.conversation, part))

        def heard(event: Event) -> None:
            if isinstance(event, MediaReady):
                made.append(event.part)

        with talk.lock:
            talk.job = self.runner.submit(talk.conversation, on_end=ended, on_event=heard, remakes=remakes)
            return talk.job

    def _reload(self, talk: OpenTalk) -> None:
        """Media that were cleaned away stand as words, as they do in the store."""
        with contextlib.suppress(NextGPTError), self._turns.reserved(talk):  # busy, or deleted and still shown
            try:
                self._keeper.load(talk, talk.id or "")
            except NextGPTError as error:
                logger.warning("A talk could not be read again: %s", error)


def _restore(talk: OpenTalk, turns: tuple[Turn, ...]) -> None:
    talk.conversation.clear()
    for turn in turns:
        talk.conversation.append(turn)
