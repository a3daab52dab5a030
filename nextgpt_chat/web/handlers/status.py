"""What the page says of itself: which checkpoint this is, how far its loading is, the licence."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from ...serving import ChatService
from .. import texts
from ..controls import shown_defaults
from .settings import defaults_of


class Status:
    """Header, footer and the controls' defaults. ``checkpoint``: its name until it is loaded."""

    def __init__(self, service: ChatService, checkpoint: str) -> None:
        self.service = service
        self.checkpoint = Path(checkpoint).name or checkpoint

    def poll(self) -> list[Any]:
        """Header, footer, timer (off when there is no more to wait for), controls."""
        loading = self.service.runner.status.phase == "loading"
        defaults = shown_defaults({} if loading else defaults_of(self.service.runner.pipeline))
        shown = [gr.skip()] * len(defaults) if loading else defaults
        return [self.header(), self.footer(), gr.Timer(active=loading), *shown]

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
        line = texts.FOOTER if self.service.store is not None else texts.FOOTER_NOT_KEPT
        return f'<p class="foot">{html.escape(line.format(licence=licence))}</p>'
