"""The endpoints for programs: text and files in, text and files out. Their talks are not kept."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator

import gradio as gr

from ...content import TextDelta
from ...errors import NextGPTError
from ...serving import ChatService
from ..languages import ENGLISH
from .talking import UPDATES_PER_SECOND

logger = logging.getLogger(__name__)

KEPT_ANSWERS = 32
"""Answers of ``/ask`` whose files are there to be fetched: the latest ones."""


class Programs:
    """Handlers of ``/reply`` and ``/stream``, where turns of one client are one talk, and of ``/ask``."""

    def __init__(self, service: ChatService) -> None:
        self.service = service
        self._asked: deque[str] = deque()

    def reply(self, text: str, files: list[str] | None, session_id: str | None) -> tuple[str, list[str], str]:
        """One turn: words and media files in, words and media files out."""
        *_, last = self.stream(text, files, session_id)
        return last

    def ask(self, text: str, file: str | None = None) -> tuple[str | None, ...]:
        """Answers one message in words and, if asked to, with a picture, a sound or a clip; it knows no earlier ones.

        Args:
            text: what is asked for, in English: a question about the file, or something to be made.
            file: a picture, sound or clip that the message is about, if any.

        Returns:
            The answer in words; the first picture, sound and clip of it, None where there is none.
        """
        session = self.service.session(None)
        try:
            words, made, _ = self.reply(text, [file] if file else None, session.id)
        except BaseException:
            self.service.sessions.close(session.id)
            raise
        # The files are fetched after this returns; whoever comes too late finds none.
        self._asked.append(session.id)
        while len(self._asked) > KEPT_ANSWERS:
            self.service.sessions.close(self._asked.popleft())
        return words, *(next((path for path in made if path.endswith(end)), None) for end in (".png", ".wav", ".mp4"))

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
            raise gr.Error(ENGLISH.fault, print_exception=False) from error
        turns = session.conversation.turns
        if job.undone or len(turns) <= len(job.turns):
            raise gr.Error(ENGLISH.stopped, print_exception=False)
        turn = turns[len(job.turns)]
        yield turn.text, [str(session.files.path_of(part)) for part in turn.media], session.id
