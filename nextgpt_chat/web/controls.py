"""What can be set: what to reply with, beside the composer, and settings per modality in the side bar.

A control that was never moved means the checkpoint's own default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..config import GenerationSettings
from .languages import SAID_IN_BROWSER
from .texts import Texts


@dataclass(frozen=True)
class Control:
    """One slider. ``label``: the name of its text; ``fallback`` is shown where the checkpoint states no default."""

    path: str
    label: str
    low: float
    high: float
    step: float
    fallback: float


GROUPS: tuple[tuple[str, str, tuple[Control, ...]], ...] = (
    (
        "text",
        "words",
        (
            Control("text.temperature", "temperature", 0, 2, 0.05, 0.7),
            Control("text.top_p", "top_p", 0.05, 1, 0.05, 0.95),
            Control("text.max_new_tokens", "most_tokens", 8, 1024, 8, 256),
        ),
    ),
    (
        "image",
        "pictures",
        (
            Control("image.steps", "steps", 1, 100, 1, 20),
            Control("image.guidance_scale", "guidance", 1, 15, 0.5, 7.5),
        ),
    ),
    (
        "audio",
        "sounds",
        (
            Control("audio.steps", "steps", 1, 100, 1, 20),
            Control("audio.guidance_scale", "guidance", 1, 15, 0.5, 2.5),
            Control("audio.seconds", "seconds", 0.5, 20, 0.5, 2),
        ),
    ),
    (
        "video",
        "clips",
        (
            Control("video.steps", "steps", 1, 100, 1, 20),
            Control("video.guidance_scale", "guidance", 1, 15, 0.5, 7.5),
            Control("video.frames", "frames", 2, 64, 1, 8),
        ),
    ),
)
REPLY_WITH: dict[str, frozenset[str] | None] = {
    "auto": None,
    "words": frozenset({"text"}),
    "picture": frozenset({"text", "image"}),
    "sound": frozenset({"text", "audio"}),
    "clip": frozenset({"text", "video"}),
}
CONDITIONING = {"by_signal": "signal", "by_words": "caption"}
_said = SAID_IN_BROWSER


@dataclass
class Controls:
    """The components."""

    sliders: dict[str, gr.Slider] = field(default_factory=dict)
    seed: gr.Number | None = None
    random: gr.Checkbox | None = None
    conditioning: gr.Radio | None = None
    reply_with: gr.Radio | None = None
    reset: gr.Button | None = None

    @property
    def all(self) -> list[Any]:
        """In the order of :func:`shown_defaults`."""
        return [*self.sliders.values(), self.random, self.seed, self.conditioning, self.reply_with]


def build_reply_with() -> gr.Radio:
    """The choice beside the composer, added to the Blocks under construction."""
    return gr.Radio(
        _choices(REPLY_WITH),
        value="auto",
        label=_said("reply_with"),
        container=False,
        elem_id="reply-with",
    )


def reply_with_choices(makes: Collection[str], say: Texts) -> list[tuple[str, str]]:
    """(label, name) of the choices that a checkpoint which ``makes`` some modalities leaves."""
    return [(getattr(say, name), name) for name, wanted in REPLY_WITH.items() if wanted is None or wanted <= set(makes)]


def build_controls(reply_with: gr.Radio, keeping: Any = None) -> Controls:
    """Adds the side bar to the Blocks under construction. ``keeping``: Markdown about what is kept, for its end."""
    controls = Controls(reply_with=reply_with)
    with gr.Sidebar(position="right", open=False, elem_id="settings", width=300):
        gr.Markdown(_said("settings_heading"))
        with gr.Group():
            controls.random = gr.Checkbox(True, label=_said("random_seed"), elem_id="random-seed")
            controls.seed = gr.Number(0, label=_said("seed"), precision=0, interactive=False, elem_id="seed")
        for modality, title, group in GROUPS:
            with gr.Accordion(_said(title), open=False, elem_id=f"settings-{modality}"):
                for control in group:
                    controls.sliders[control.path] = gr.Slider(
                        control.low,
                        control.high,
                        value=control.fallback,
                        step=control.step,
                        label=_said(control.label),
                        buttons=[],
                        elem_id=control.path.replace(".", "-"),
                    )
        with gr.Accordion(_said("conditioning"), open=False):
            controls.conditioning = gr.Radio(
                _choices(CONDITIONING),
                value=next(iter(CONDITIONING)),
                label=_said("conditioning_about"),
                elem_id="conditioning",
            )
        controls.reset = gr.Button(_said("defaults"), size="sm", elem_id="reset-settings")
        if keeping:
            gr.Markdown(keeping, elem_id="keeping")
    return controls


def _choices(names: Iterable[str]) -> list[tuple[Any, str]]:
    return [(_said(name), name) for name in names]


def shown_sliders(
    defaults: Mapping[str, Mapping[str, Any]], chosen: GenerationSettings | None = None
) -> list[dict[str, Any]]:
    """Updates for :attr:`Controls.sliders` that show what was ``chosen``, and the checkpoint's own values else."""
    chosen = chosen or GenerationSettings()
    updates: list[dict[str, Any]] = []
    for modality, _, group in GROUPS:
        for control in group:
            name = control.path.partition(".")[2]
            values = (getattr(getattr(chosen, modality), name), defaults.get(modality, {}).get(name), control.fallback)
            value = next(one for one in values if one is not None)
            # A default outside the slider's usual range widens it.
            updates.append(gr.update(value=value, minimum=min(control.low, value), maximum=max(control.high, value)))
    return updates


def within_range(path: str, value: Any, defaults: Mapping[str, Mapping[str, Any]]) -> Any:
    """The value of the slider of ``path`` that is nearest; what is no number comes back as it is."""
    control = next(one for _, _, group in GROUPS for one in group if one.path == path)
    modality, _, name = path.partition(".")
    default = defaults.get(modality, {}).get(name)
    default = control.fallback if default is None else default
    low, high = min(control.low, default), max(control.high, default)
    if value is None:
        return low
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return value
    whole = float(control.step).is_integer() and float(default).is_integer()
    return round(min(max(value, low), high)) if whole else min(max(value, low), high)


def shown_defaults(defaults: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Updates for :attr:`Controls.all`: nothing is chosen."""
    return [
        *shown_sliders(defaults),
        gr.update(value=True),
        gr.update(value=0, interactive=False),
        gr.update(value=next(iter(CONDITIONING))),
        gr.update(value=next(iter(REPLY_WITH))),
    ]
