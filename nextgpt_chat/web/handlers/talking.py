"""Talking: send, retry, undo, clear, stop, and following a reply that is being made."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from ...content import Event, MediaPart
from ...errors import NextGPTError
from ...serving import Job, OpenTalk, Session, Waiting
from ...serving.variations import find_part
from ..acts import rating_acts, words_of
from ..answers import Answers
from ..examples import Example
from ..languages import texts_in
from ..messages import LiveReply, Message, address_of, note, plain, talk_messages, text_block
from ..talk_list import talk_list
from ..texts import Texts
from .visits import Visits, messages_of, tell

UPDATES_PER_SECOND = 15
"""Tokens come faster; a person cannot read faster."""

STILL_SECONDS = 1.0
"""After so long the page is told once more what has not changed: only between updates do others get the thread, and is
a page that has gone away let go."""

EMPTYING_SECONDS = 0.4
"""For so long after a message with files is sent, each update empties the composer anew; its words alone the page takes
away by itself (assets/sent.js). Gradio's page applies an update to the one before it, in place: where both came before
it had drawn the first (at a page that is still loading), the composer kept what had been sent."""

Updates = tuple[Any, Any, Any, Any, Any, Any]
"""For chatbot, composer, stop, session id, list of talks, what is given to the composer."""


def updates(
    session: Session,
    chatbot: Any = None,
    composer: Any = None,
    stop: bool | None = None,
    talks: str | None = None,
    given: dict[str, Any] | None = None,
) -> Updates:
    """``stop``: whether its button is shown; ``given``: see :func:`beside`. What is None stays as it is."""
    button = None if stop is None else gr.update(visible=stop)
    chatbot, composer, button, talks, given = (
        gr.skip() if one is None else one for one in (chatbot, composer, button, talks, given)
    )
    return chatbot, composer, button, session.id, talks, given


def beside(text: str, files: Sequence[str | Path] = ()) -> dict[str, Any] | None:
    """Words and files that the page puts beside what stands in the composer by then (assets/given.js)."""
    if not text and not files:
        return None
    # The time makes the same, given twice, news again.
    return {"text": text, "files": [_file_data(str(file)) for file in files], "at": time.monotonic()}


def _file_data(path: str) -> dict[str, Any]:
    """As the composer itself has its files: by their type it shows pictures small."""
    return FileData(path=path, orig_name=Path(path).name, mime_type=mimetypes.guess_type(path)[0]).model_dump()


class Talking:
    """Handlers of the chatbot, the composer and the stop button."""

    def __init__(self, visits: Visits, examples: Sequence[Example], answers: Answers) -> None:
        self.visits = visits
        self.service = visits.service
        self.examples = list(examples)
        self.answers = answers
        self._saying: dict[str, tuple[str, tuple[str, ...]]] = {}
        """Session id → the message from its composer that is being answered."""
        self._saying_lock = threading.Lock()

    def send(
        self, message: dict[str, Any] | None, session_id: str | None, request: gr.Request = None
    ) -> Iterator[Updates]:
        """A message from the composer; None is Enter pressed once more (assets/sent.js)."""
        session = self.visits.session(session_id, request)
        if message is None:
            yield updates(session)
            return
        text, files = message.get("text") or "", list(message.get("files") or [])
        said = (text, tuple(map(str, files)))
        with self._saying_lock:
            saying = self._saying.setdefault(session.id, said)
            first = saying is said
        if not first and said in (saying, ("", saying[1]), ("", ())):  # Enter was pressed twice: it is being answered
            yield updates(session)
            return
        try:
            yield from self._turn(session, lambda: self.service.send(session, text, files), text, files)
        finally:
            if first:
                del self._saying[session.id]

    def send_example(
        self, session_id: str | None, chosen: gr.SelectData, request: gr.Request = None
    ) -> Iterator[Updates]:
        """A card was pressed. The browser says by its words which one; its files are ours, whatever is sent."""
        session = self.visits.session(session_id, request)
        words = chosen.value.get("text") if isinstance(chosen.value, dict) else None
        example = next((one for one in self.examples if one.text == words), None)
        if example is None:
            yield updates(session)
            return
        files = [str(path) for path in example.files]
        notice = texts_in(session.language).made_beforehand

        def begin() -> Job:
            return self.service.send(session, example.text, files, self.answers.to(example), notice)

        yield from self._turn(session, begin, example.text, files)

    def retry(self, session_id: str | None, request: gr.Request = None) -> Iterator[Updates]:
        session = self.visits.session(session_id, request)
        turns = session.conversation.turns
        stays = len(turns) - (bool(turns) and turns[-1].role == "assistant")
        yield from self._turn(session, lambda: self.service.retry(session), at=stays)

    def act(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> Iterator[Updates]:
        """A button within a message was pressed (assets/actions.js): nothing that it sends is taken on trust."""
        session = self.visits.session(session_id, request)
        said = {name: str(event._data.get(name) or "") for name in ("do", "of", "text")}
        do, of, text = said["do"], said["of"], said["text"]
        if do == "edit":
            yield from self._turn(session, lambda: self.service.edit(session, _number(of), text), text, at=_number(of))
        elif do.startswith("again-"):
            yield from self._turn(session, lambda: self.service.again(session, of, do.removeprefix("again-")))
        elif do.startswith("compare-"):
            how = do.removeprefix("compare-")
            yield from self._turn(session, lambda: self.service.compare(session, _number(of), how))
        elif do == "use":
            yield self._use(session, of)
        else:
            yield self._rate(session, _number(of), do, text)

    def _use(self, session: Session, part_id: str) -> Updates:
        """A medium goes into the composer, beside what stands there."""
        back = None
        try:
            back = beside("", [_attached(session, find_part(session.conversation.turns, part_id))])
        except NextGPTError as error:
            tell(error, session.language)
        return updates(session, given=back)

    def _rate(self, session: Session, index: int, do: str, reason: str) -> Updates:
        """Pressed once more, a thumb is taken back."""
        liked = {"like": True, "dislike": False}.get(do)
        try:
            if liked is not None:
                was = session.talk.ratings.get(index)
                self.service.rate(session, index, None if was and was[0] is liked else liked, reason)
        except NextGPTError as error:
            tell(error, session.language)
        return updates(session, None if session.busy else messages_of(session))

    def undo(self, session_id: str | None, request: gr.Request = None) -> Updates:
        session = self.visits.session(session_id, request)
        try:
            turn = self.service.undo(session)
        except NextGPTError as error:
            tell(error, session.language)
            turn = None
        back = None
        if turn is not None:
            back = beside(words_of(turn), [_attached(session, part) for part in turn.media])
        talk = None if session.busy else messages_of(session)
        return updates(session, talk, talks=talk_list(self.service, session), given=back)

    def clear(self, session_id: str | None, request: gr.Request = None) -> Updates:
        """The talk is deleted; the page asked before."""
        session = self.visits.session(session_id, request)
        try:
            self.service.clear(session)
        except NextGPTError as error:
            tell(error, session.language)
        return updates(session, messages_of(session), stop=session.busy, talks=talk_list(self.service, session))

    def stop(self, session_id: str | None, request: gr.Request = None) -> None:
        self.service.stop(self.visits.session(session_id, request))

    def follow(self, session_id: str | None, request: gr.Request = None) -> Iterator[Updates]:
        """A talk was opened, perhaps again: shows the reply that is being made in it, from its first word on."""
        session = self.visits.session(session_id, request)
        talk = session.talk
        with session.lock:
            job = talk.job
            shown = job is session.watched
            session.watched = job
        if job is None:
            yield updates(session, messages_of(session), stop=False)
        elif shown:  # by this page, already
            yield updates(session)
        else:
            yield from self._watch(session, talk, job)

    def _turn(
        self,
        session: Session,
        begin: Callable[[], Job],
        text: str = "",
        files: Sequence[str] = (),
        at: int | None = None,
    ) -> Iterator[Updates]:
        """One turn on the page. What was written goes back to the composer where no reply comes of it. ``at``: index
        of the message that is said or made anew."""
        talk = session.talk
        fresh = bool(text or files) and at is None
        written = beside(text, files)
        left = _emptied() if fresh and files else lambda: None
        if not session.busy:
            yield updates(session, _echo(session, text, files, at), left(), stop=True)
        try:
            job = begin()
        except Exception as error:
            tell(error, session.language)
            if session.busy and fresh:  # the files of the message before may be taken out of the composer still
                time.sleep(EMPTYING_SECONDS)
            yield updates(session, None if session.busy else messages_of(session), stop=session.busy, given=written)
            return
        yield from self._watch(session, talk, job, written, left)

    def _watch(
        self,
        session: Session,
        talk: OpenTalk,
        job: Job,
        written: dict[str, Any] | None = None,
        left: Callable[[], Any] = lambda: None,
    ) -> Iterator[Updates]:
        """The reply in the making, until it is made or the page shows another talk. ``written`` goes back to the
        composer where no reply comes of it; ``left``: what the composer is updated with until then."""
        session.watched = job
        try:
            yield from self._show(session, talk, job, written, left)
        finally:
            with session.lock:
                if session.watched is job:
                    session.watched = None

    def _show(
        self,
        session: Session,
        talk: OpenTalk,
        job: Job,
        written: dict[str, Any] | None,
        left: Callable[[], Any],
    ) -> Iterator[Updates]:
        address = address_of(talk)
        say = texts_in(session.language)
        live = LiveReply(address, say)
        listed: str | None = talk_list(self.service, session)
        # Without an owner nobody could come back to a reply: it ends with the page.
        events = job.events() if talk.owner is None else job.watch()
        try:
            for message in throttled(events, live, lambda: session.talk is talk):
                talk.flush()
                with talk.lock:  # what is rated meanwhile shows at once
                    history = talk_messages(job.turns, talk.shown, address, talk.notices, talk.ratings, say)
                yield updates(session, [*history, message], left(), stop=True, talks=listed)
                listed = None
        except Exception as error:
            tell(error, session.language)
        finally:
            events.close()
        if session.talk is not talk:
            return
        composer = None
        if not job.undone:
            if not job.remakes:
                _keep(talk, job, live, say)
            composer, written = left(), None
        else:
            written = written or _unsaid(session, talk, job)
            if job.error is None:
                gr.Info(say.stopped_early if written else say.stopped)
        listed = talk_list(self.service, session)
        yield updates(session, messages_of(session), composer, session.busy, listed, written)


def throttled(
    events: Iterator[Event | Waiting | None],
    live: LiveReply,
    wanted: Callable[[], bool] = lambda: True,
    per_second: float = UPDATES_PER_SECOND,
) -> Iterator[Message]:
    """The reply in the making, whenever it has changed, at most so often, and every STILL_SECONDS; until it is not
    ``wanted`` any more."""
    shown, at = None, 0.0
    for event in events:
        if not wanted():
            return
        live.add(event)
        since = time.monotonic() - at
        if since < 1 / per_second:
            continue
        message = live.message()
        if message != shown or since >= STILL_SECONDS:
            yield message
            shown, at = message, time.monotonic()


def _keep(talk: OpenTalk, job: Job, live: LiveReply, say: Texts) -> None:
    """The reply stays on the page as it was shown while it was made, notices included."""
    turns = talk.conversation.turns
    with talk.lock:
        if len(turns) == len(job.turns) + 1 and len(talk.shown) == len(job.turns):
            message = live.last_message()
            message["content"].append(text_block(rating_acts(len(talk.shown), turns[-1], say=say)))
            talk.shown.append((turns[-1], message))


def _emptied() -> Callable[[], Any]:
    """What the composer is updated with after files were sent: empty at first, then left as it is."""
    until = time.monotonic() + EMPTYING_SECONDS
    return lambda: {"text": "", "files": []} if time.monotonic() < until else None


def _attached(session: Session, part: MediaPart) -> Path:
    """A file of a medium of the talk that can be sent with a message, of this talk or another."""
    return session.attached.named_path_of(part, texts_in(session.language).nouns[part.kind])


def _unsaid(session: Session, talk: OpenTalk, job: Job) -> dict[str, Any] | None:
    """The message of a job that came to nothing, where the talk does not have it any more: for a page that only
    followed the job, perhaps the one that sent it, loaded again."""
    said = job.turns[-1]
    if said.role != "user" or any(turn is said for turn in talk.conversation.turns):
        return None
    return beside(words_of(said), [_attached(session, part) for part in said.media])


def _number(text: str) -> int:
    """The index that a browser sends; -1 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else -1


def _echo(session: Session, text: str, files: Sequence[str], at: int | None = None) -> list[Message]:
    """The talk with what was just sent, at once: files take a moment to be read. What follows the message ``at`` is
    taken away, and it itself."""
    talk = messages_of(session)
    if at is not None:
        del talk[max(at, 0) :]
    if text or files:
        content = [note(Path(file).name) for file in files]
        content += [text_block(plain(text))] if text.strip() else []
        talk.append({"role": "user", "content": content or [note("…")]})
    return [*talk, {"role": "assistant", "content": [note(texts_in(session.language).reading, "stage")]}]
