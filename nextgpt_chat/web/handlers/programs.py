"""The endpoints for programs: text and files in, text and files out. Their talks are not kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import gradio as gr

from ...content import TextDelta
from ...errors import NextGPTError
from ...serving import ChatService
from ..languages import ENGLISH
from .talking import UPDATES_PER_SECOND

logger = logging.getLogger(__name__)


class Programs:
    """Handlers of ``/reply`` and ``/stream``. Turns of one client are one talk."""

    def __init__(self, service: ChatService) -> None:
        self.service = service

    def reply(self, text: str, files: list[str] | None, session_id: str | None) -> tuple[str, list[str], str]:
        """One turn: words and media files in, words and media files out."""
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
            raise gr.Error(ENGLISH.fault, print_exception=False) from error
        turns = session.conversation.turns
        if job.undone or len(turns) <= len(job.turns):
            raise gr.Error(ENGLISH.stopped, print_exception=False)
        turn = turns[len(job.turns)]
        yield turn.text, [str(session.files.path_of(part)) for part in turn.media], session.id
