"""What the page says of itself: which checkpoint this is, how far its loading is, the licence."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ...content import MODALITIES
from ...serving import ChatService
from ..controls import REPLY_WITH, reply_with_choices, shown_sliders
from ..examples import Example, card, usable
from ..languages import ENGLISH, language_of, texts_in
from ..texts import Texts
from ..told import told
from .settings import defaults_of


class Status:
    """Header, footer, cards and the controls' defaults. ``checkpoint``: its name until it is loaded."""

    def __init__(self, service: ChatService, checkpoint: str, examples: Sequence[Example] = ()) -> None:
        self.service = service
        self.examples = examples
        self.checkpoint = Path(checkpoint).name or checkpoint

    def poll(self, session_id: str | None, request: gr.Request = None) -> list[Any]:
        """Header, footer, timer (off when there is no more to wait for), chatbot, sliders, what to reply with: what was
        set while the model was loading stays, and of what it cannot make there is neither a choice nor a card.

        What has no default of the checkpoint's is left alone: an answer that comes late must not undo a click."""
        say = texts_in(language_of(request))
        pipeline, session = self.service.runner.pipeline, self.service.sessions.get(session_id)
        loading = self.service.runner.status.phase == "loading"
        makes = getattr(pipeline, "modalities", MODALITIES)
        choices = reply_with_choices(makes, say)
        fewer = gr.skip() if len(choices) == len(REPLY_WITH) else gr.update(choices=choices)
        shown = [*shown_sliders(defaults_of(pipeline), session.settings if session is not None else None), fewer]
        if loading:
            shown = [gr.skip()] * len(shown)
        some = usable(self.examples, makes)
        cards = gr.skip() if len(some) == len(self.examples) else gr.update(examples=[card(one) for one in some])
        return [self.header(say), self.footer(say), gr.Timer(active=loading), cards, *shown]

    def header(self, say: Texts = ENGLISH) -> str:
        """HTML: which checkpoint this is and what it can do, or how far its loading is."""
        status, pipeline = self.service.runner.status, self.service.runner.pipeline
        if status.phase == "ready":
            name = getattr(pipeline, "name", self.checkpoint)
            line = getattr(pipeline, "summary", say.tagline)
        else:
            name = self.checkpoint
            template = say.loading if status.phase == "loading" else say.failed_to_load
            line = template.format(name=name, seconds=status.seconds, message=told(status.message, say))
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
