"""The settings of a session: sliders, seed, conditioning, what to reply with."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from ...errors import NextGPTError
from ..controls import CONDITIONING, REPLY_WITH, shown_defaults, within_range
from ..languages import texts_in
from ..told import told
from .visits import Visits


class Settings:
    """Handlers of the side bar with the settings."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self.service = visits.service

    def set_value(self, path: str, value: Any, session_id: str | None, request: gr.Request | None = None) -> None:
        """A slider was moved."""
        session = self.visits.session(session_id, request)
        try:
            self.service.set(session, path, value)
        except (NextGPTError, ValueError) as error:
            gr.Warning(html.escape(told(str(error), texts_in(session.language))))

    def setter(self, path: str) -> Any:
        """The handler of one slider, or of the box beside it: what is out of its range counts as the nearest value, and
        nothing as the lowest, for that is what the page shows once the box is left."""

        def set_value(value: Any, session_id: str | None, request: gr.Request = None) -> None:
            kept = within_range(path, value, defaults_of(self.service.runner.pipeline))
            self.set_value(path, kept, session_id, request)

        return set_value

    def set_seed(self, random: bool, seed: float | None, session_id: str | None, request: gr.Request = None) -> Any:
        self.set_value("seed", None if random or seed is None else int(seed), session_id, request)
        return gr.update(interactive=not random)

    def set_conditioning(self, label: str, session_id: str | None, request: gr.Request = None) -> None:
        self.set_value("conditioning", CONDITIONING.get(label, label), session_id, request)

    def set_reply_with(self, label: str, session_id: str | None, request: gr.Request = None) -> None:
        self.service.set_modalities(self.visits.session(session_id, request), REPLY_WITH.get(label))

    def reset(self, session_id: str | None, request: gr.Request = None) -> list[Any]:
        self.service.reset_settings(self.visits.session(session_id, request))
        return shown_defaults(defaults_of(self.service.runner.pipeline))


def defaults_of(pipeline: Any) -> dict[str, Any]:
    """The checkpoint's own settings, part by part; empty where it states none."""
    return getattr(pipeline, "defaults", None) or {}
