"""How many seconds of a GPU to ask for, from what is to be made. Pure; knows no ZeroGPU.

The costs are estimates with room to spare for the full-size checkpoint on a data-centre GPU. They were not measured: a
call that takes longer than it asked for is broken off there, one that asks for too much waits longer in line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..config import GenerationSettings

MOST = 120
"""Seconds of one call: visitors without an account have no more than two minutes a day."""
_START = 8.0  # a fresh process gets the weights
_FILE = 1.5  # reading one picture, sound or clip
_TOKEN = 0.05
_SIGNAL_TOKENS = 36  # one picture, one sound and one clip
_PICTURE_STEP = 0.08  # at 512 × 512
_SOUND_STEP = 0.06  # of ten seconds
_CLIP_STEP = 0.03  # for each frame of 576 × 320
_FINISH = 4.0  # from latents to pixels or samples, and the way back


def reply_seconds(settings: GenerationSettings, modalities: Iterable[str], files: int) -> int:
    """For a reply that may hold one medium of each of ``modalities``, to a talk with ``files`` media.

    What ``settings`` leave open counts as the full-size checkpoint's own.
    """
    tokens = (settings.text.max_new_tokens or 256) + _SIGNAL_TOKENS
    media = sum(_medium(settings, kind) for kind in modalities if kind != "text")
    return min(MOST, math.ceil(_START + _FILE * files + _TOKEN * tokens + media))


def _medium(settings: GenerationSettings, kind: str) -> float:
    if kind == "image":
        one = settings.image
        step = _PICTURE_STEP * (one.width or 512) * (one.height or 512) / 512**2
    elif kind == "audio":
        one = settings.audio
        step = _SOUND_STEP * (one.seconds or 9) / 10
    elif kind == "video":
        one = settings.video
        step = _CLIP_STEP * (one.frames or 24) * (one.width or 576) * (one.height or 320) / (576 * 320)
    else:
        raise ValueError(f"a modality is {kind!r}; it must be text, image, audio or video")
    return _FINISH + (one.steps or 50) * step
