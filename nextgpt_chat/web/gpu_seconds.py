"""How many seconds of a GPU to ask for, from what is to be made. Pure; knows no ZeroGPU.

The costs are estimates with room to spare for the full-size checkpoint on a data-centre GPU. They were not measured: a
call that takes longer than it asked for is broken off there, one that asks for too much waits longer in line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..config import GenerationSettings

LEAST, MOST = 5, 120
"""Seconds of one call: visitors without an account may not ask for more than two minutes a day."""
_START = 8.0  # a fresh process gets the weights
_FILE = 1.5  # reading one picture, sound or clip
_TOKEN = 0.05
_SIGNAL_TOKENS = 36  # one picture, one sound and one clip
_PICTURE_STEP = 0.08  # at 512 × 512
_SOUND_STEP = 0.06  # of ten seconds
_CLIP_STEP = 0.03  # for each frame of 576 × 320
_FINISH = 4.0  # from latents to pixels or samples, and the way back


def words_seconds(settings: GenerationSettings, files: int) -> int:
    """For reading the talk's ``files`` and sampling the words. ``settings`` are resolved; an open number of tokens
    counts as 256."""
    tokens = (settings.text.max_new_tokens or 256) + _SIGNAL_TOKENS
    return _whole(_START + _FILE * files + _TOKEN * tokens)


def medium_seconds(kind: str, options: Mapping[str, Any]) -> int:
    """For one picture ("image"), sound ("audio") or clip ("video"), by the ``options`` that its decoder gets: steps,
    width, height, seconds, frames; what they lack counts as the full-size checkpoint's own."""

    def option(name: str, usual: float) -> float:
        value = options.get(name)
        return usual if value is None else float(value)

    if kind == "image":
        step = _PICTURE_STEP * option("width", 512) * option("height", 512) / 512**2
    elif kind == "audio":
        step = _SOUND_STEP * option("seconds", 9) / 10
    elif kind == "video":
        step = _CLIP_STEP * option("frames", 24) * option("width", 576) * option("height", 320) / (576 * 320)
    else:
        raise ValueError(f"kind is {kind!r}; it must be image, audio or video")
    return _whole(_START + _FINISH + option("steps", 50) * step)


def _whole(seconds: float) -> int:
    return min(MOST, max(LEAST, math.ceil(seconds)))
