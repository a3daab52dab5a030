"""What happens when something is pressed: from Gradio's events to the chat service, and back as updates.

The Chatbot is only ever an output: what a browser sends of it is never looked at. State holds a session's id.
"""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..content import TextDelta
from ..errors import NextGPTError
from ..serving import ChatService, Job, Session
from ..serving.chat_service import words_of
from . import texts
from .controls import CONDITIONING, REPLY_WITH, shown_defaults
from .examples import Example
from .messages import LiveReply, Message, note, plain, talk_messages, text_block

logger = logging.getLogger(__name__)

UPDATES_PER_SECOND = 15
"""Tokens come faster; a person cannot read faster."""

Updates = tuple[Any, Any, Any, Any]
"""For chatbot, composer, stop, session id."""


class Handlers:
    """The page's event handlers over one service."""

    def __init__(self, service: ChatService, examples: Sequence[Example], checkpoint: str) -> None:
        self.service = service
        self.examples = list(examples)
        self.checkpoint = Path(checkpoint).name or checkpoint

    # Talking

    def send(self, message: dict[str, Any] | None, session_id: str | None) -> Iterator[Updates]:
        """A message from the composer."""
        session = self.service.session(session_id)
        text, files = (message or {}).get("text") or "", list((message or {}).get("files") or [])
        yield from self._turn(session, lambda: self.service.send(session, text, files), text, files)

    def send_example(self, session_id: str | None, chosen: gr.SelectData) -> Iterator[Updates]:
        """A card was pressed. Only its number is taken from the browser, never its files."""
        session = self.service.session(session_id)
        index = chosen.index[0] if isinstance(chosen.index, (list, tuple)) else chosen.index
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            yield gr.skip(), gr.skip(), gr.skip(), session.id
            return
        example = self.examples[index]
        files = [str(path) for path in example.files]
        yield from self._turn(session, lambda: self.service.send(session, example.text, files), example.text, files)

    def retry(self, session_id: str | None) -> Iterator[Updates]:
        session = self.service.session(session_id)
        yield from self._turn(session, lambda: self.service.retry(session))

    def undo(self, session_id: str | None) -> Updates:
        session = self.service.session(session_id)
        try:
            turn = self.service.undo(session)
        except NextGPTError as error:
            self._tell(error)
            turn = None
        back: Any = gr.skip()
        if turn is not None:
            back = {"text": words_of(turn), "files": [str(session.files.path_of(part)) for part in turn.media]}
        return self._talk(session, session.busy), back, gr.skip(), session.id

    def clear(self, session_id: str | None) -> Updates:
        session = self.service.session(session_id)
        try:
            self.service.clear(session)
        except NextGPTError as error:
            self._tell(error)
        return self._talk(session, session.busy), gr.skip(), gr.update(visible=session.busy), session.id

    def stop(self, session_id: str | None) -> None:
        self.service.stop(self.service.session(session_id))

    def _turn(
        self, session: Session, begin: Callable[[], Job], text: str = "", files: Sequence[str] = ()
    ) -> Iterator[Updates]:
        """One turn on the page. What was written goes back to the composer where no reply comes of it."""
        fresh = bool(text or files)
        written = {"text": text, "files": list(files)} if fresh else gr.skip()
        empty = {"text": "", "files": []} if fresh else gr.skip()
        if not session.busy:
            yield self._echo(session, text, files), empty, gr.update(visible=True), session.id
        try:
            job = begin()
        except Exception as error:
            self._tell(error)
            yield self._talk(session, busy=session.busy), written, gr.update(visible=session.busy), session.id
            return
        live = LiveReply(session.files)
        history = talk_messages(job.turns, session.shown, session.files)
        try:
            for message in throttled(job, live):
                yield [*history, message], gr.skip(), gr.skip(), session.id
        except Exception as error:
            self._tell(error)
        if job.undone:
            if job.error is None:
                gr.Info(texts.STOPPED_EARLY)
        else:
            self._keep(session, job, live)
            written = gr.skip()
        yield self._talk(session), written, gr.update(visible=False), session.id

    @staticmethod
    def _keep(session: Session, job: Job, live: LiveReply) -> None:
        """The reply stays on the page as it was shown while it was made, notices included."""
        turns = session.conversation.turns
        with session.lock:
            if len(turns) == len(job.turns) + 1 and len(session.shown) == len(job.turns):
                session.shown.append((turns[-1], live.last_message()))

    def _talk(self, session: Session, busy: bool = False) -> Any:
        """All messages; nothing while another handler is showing a reply in the making."""
        if busy:
            return gr.skip()
        return talk_messages(session.conversation.turns, session.shown, session.files)

    def _echo(self, session: Session, text: str, files: Sequence[str]) -> list[Message]:
        """The talk with what was just sent, at once: files take a moment to be read. (A retry takes the last reply
        away instead.)"""
        talk = self._talk(session)
        if text or files:
            content = [note(Path(file).name) for file in files]
            content += [text_block(plain(text))] if text.strip() else []
            talk.append({"role": "user", "content": content or [note("…")]})
        elif talk and talk[-1]["role"] == "assistant":
            talk.pop()
        return [*talk, {"role": "assistant", "content": [note(texts.READING, "stage")]}]

    @staticmethod
    def _tell(error: BaseException) -> None:
        """One plain sentence for the user; the details of a fault of ours for the log."""
        if isinstance(error, NextGPTError):
            gr.Warning(html.escape(str(error)), duration=12)
        else:
            logger.error("A turn failed", exc_info=error)
            gr.Warning(texts.FAULT, duration=12)

    # For programs

    def reply(self, text: str, files: list[str] | None, session_id: str | None) -> tuple[str, list[str], str]:
        """One turn: words and media files in, words and media files out. Turns of one client are one talk."""
        *_, last = self.stream(text, files, session_id)
        return last

    def stream(
        self, text: str, files: list[str] | None, session_id: str | None
    ) -> Iterator[tuple[str, list[str], str]]:
        """As ``reply``, yielding what there is so far."""
        session = self.service.session(session_id)
        try:
            job = self.service.send(session, text or "", [str(file) for file in files or []])
            words, shown = "", 0.0
            for event in job.events():
                if isinstance(event, TextDelta):
                    words += event.text
                    if time.monotonic() - shown >= 1 / UPDATES_PER_SECOND:
                        shown = time.monotonic()
                        yield words, [], session.id
        except NextGPTError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            logger.error("A turn failed", exc_info=error)
            raise gr.Error(texts.FAULT, print_exception=False) from error
        turns = session.conversation.turns
        if job.undone or len(turns) <= len(job.turns):
            raise gr.Error(texts.STOPPED, print_exception=False)
        turn = turns[len(job.turns)]
        yield turn.text, [str(session.files.path_of(part)) for part in turn.media], session.id

    # Page and settings

    def load(self, session_id: str | None) -> list[Any]:
        """A page was opened: session id, talk, then as in :meth:`poll`."""
        session = self.service.session(session_id)
        return [session.id, self._talk(session, session.busy), *self.poll()]

    def poll(self) -> list[Any]:
        """Header, footer, timer (off when there is no more to wait for), controls."""
        loading = self.service.runner.status.phase == "loading"
        defaults = [gr.skip()] * len(shown_defaults({})) if loading else shown_defaults(self._defaults())
        return [self.header(), self.footer(), gr.Timer(active=loading), *defaults]

    def header(self) -> str:
        """HTML: which checkpoint this is and what it can do, or how far its loading is."""
        status, pipeline = self.service.runner.status, self.service.runner.pipeline
        if status.phase == "ready":
            name = getattr(pipeline, "name", self.checkpoint)
            line = getattr(pipeline, "summary", texts.TAGLINE)
        else:
            name = self.checkpoint
            template = texts.LOADING if status.phase == "loading" else texts.FAILED_TO_LOAD
            line = template.format(name=name, seconds=status.seconds, message=status.message)
        return (
            f'<div class="head {status.phase}"><h1>{html.escape(texts.TITLE)}</h1>'
            f'<span class="badge">{html.escape(str(name))}</span><p>{html.escape(str(line))}</p></div>'
        )

    def footer(self) -> str:
        said = getattr(self.service.runner.pipeline, "licence", None)
        licence = texts.WEIGHTS.format(licence=said) if said else texts.LICENCE
        return f'<p class="foot">{html.escape(texts.FOOTER.format(licence=licence))}</p>'

    def _defaults(self) -> dict[str, Any]:
        return getattr(self.service.runner.pipeline, "defaults", None) or {}

    def set_value(self, path: str, value: Any, session_id: str | None) -> None:
        """A slider was moved."""
        try:
            self.service.set(self.service.session(session_id), path, value)
        except (NextGPTError, ValueError) as error:
            gr.Warning(html.escape(str(error)))

    def set_seed(self, random: bool, seed: float | None, session_id: str | None) -> Any:
        self.set_value("seed", None if random or seed is None else int(seed), session_id)
        return gr.update(interactive=not random)

    def set_conditioning(self, label: str, session_id: str | None) -> None:
        self.set_value("conditioning", CONDITIONING.get(label, label), session_id)

    def set_reply_with(self, label: str, session_id: str | None) -> None:
        self.service.set_modalities(self.service.session(session_id), REPLY_WITH.get(label))

    def reset(self, session_id: str | None) -> list[Any]:
        self.service.reset_settings(self.service.session(session_id))
        return shown_defaults(self._defaults())


def throttled(job: Job, live: LiveReply, per_second: float = UPDATES_PER_SECOND) -> Iterator[Message]:
    """The reply in the making, whenever it has changed, at most so often. Closing it cancels the job."""
    shown, at = None, 0.0
    for event in job.events():
        live.add(event)
        if time.monotonic() - at < 1 / per_second:
            continue
        message = live.message()
        if message != shown:
            yield message
            shown, at = message, time.monotonic()
