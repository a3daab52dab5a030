"""What the page says of itself: which checkpoint this is, how far its loading is, the licence."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from ...serving import ChatService
from ..controls import shown_defaults
from ..languages import ENGLISH, language_of, texts_in
from ..texts import Texts
from .settings import defaults_of


class Status:
    """Header, footer and the controls' defaults. ``checkpoint``: its name until it is loaded."""

    def __init__(self, service: ChatService, checkpoint: str) -> None:
        self.service = service
        self.checkpoint = Path(checkpoint).name or checkpoint

    def poll(self, request: gr.Request = None) -> list[Any]:
        """Header, footer, timer (off when there is no more to wait for), controls."""
        say = texts_in(language_of(request))
        loading = self.service.runner.status.phase == "loading"
        defaults = shown_defaults({} if loading else defaults_of(self.service.runner.pipeline))
        shown = [gr.skip()] * len(defaults) if loading else defaults
        return [self.header(say), self.footer(say), gr.Timer(active=loading), *shown]

    def header(self, say: Texts = ENGLISH) -> str:
        """HTML: which checkpoint this is and what it can do, or how far its loading is."""
        status, pipeline = self.service.runner.status, self.service.runner.pipeline
        if status.phase == "ready":
            name = getattr(pipeline, "name", self.checkpoint)
            line = getattr(pipeline, "summary", say.tagline)
        else:
            name = self.checkpoint
            template = say.loading if status.phase == "loading" else say.failed_to_load
            line = template.format(name=name, seconds=status.seconds, message=status.message)
        line = html.escape(str(line))
        bar = f'<progress aria-label="{line}"></progress>' if status.phase == "loading" else ""
        return (
            f'<div class="head {status.phase}"><h1>{html.escape(say.title)}</h1>'
            f'<span class="badge">{html.escape(str(name))}</span><p>{line}</p>{bar}</div>'
        )

    def footer(self, say: Texts = ENGLISH) -> str:
        said = getattr(self.service.runner.pipeline, "licence", None)
        licence = say.weights.format(licence=said) if said else say.licence
        line = say.footer if self.service.store is not None else say.footer_not_kept
        return f'<p class="foot">{html.escape(line.format(licence=licence))}</p>'
