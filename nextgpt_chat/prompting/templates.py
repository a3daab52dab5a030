"""The layouts by name."""

from __future__ import annotations

from ..errors import CheckpointError
from ..tokens import PlainTokenizer, SignalIds
from .clean import CleanTemplate
from .layout import Template
from .v0 import V0AsTrainedTemplate, V0Template
from .v15 import V15Template

_LAYOUTS = {one.name: one for one in (CleanTemplate, V0Template, V0AsTrainedTemplate, V15Template)}
TEMPLATES = tuple(_LAYOUTS)
SEVERAL_FILES = ("separate", "sum")


def make_template(
    name: str,
    text: PlainTokenizer,
    signals: SignalIds,
    *,
    several_files: str = "separate",
    media_positions: int = 1,
) -> Template:
    """The template that a checkpoint's manifest names. ``media_positions``: of the input projection, for each medium.

    ``several_files``: "separate" gives every file of a turn its own position; "sum" gives neighbouring files of one
    kind a single one that holds the sum of their projected embeddings, as the original's code would (v0 templates
    only). Raises CheckpointError for an unknown template, or one that cannot do that.
    """
    if name not in _LAYOUTS:
        raise CheckpointError(f"Unknown prompt template {name!r}; this version knows {', '.join(TEMPLATES)}.")
    if several_files not in SEVERAL_FILES:
        raise CheckpointError(f"several_files is {several_files!r}; it must be one of {', '.join(SEVERAL_FILES)}.")
    layout = _LAYOUTS[name]
    if several_files == "sum" and not layout.sums_files:
        able = ", ".join(one for one, layout in _LAYOUTS.items() if layout.sums_files)
        raise CheckpointError(f"Template {name!r} keeps a turn's files apart; only {able} can add them up.")
    template = layout(text, signals, several_files == "sum")
    template.media_positions = media_positions
    return template
