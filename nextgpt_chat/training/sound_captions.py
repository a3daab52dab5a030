"""The text encoder of the sounds' decoder, trained by itself, as CLAP is for AudioLDM (Liu et al. 2023, section 3).

Trained together with the UNet on the few sounds there are, it learned pairs by heart, and a held-out pair came out as
one of those (measured on held-out sounds: pitch right in 48 %, source in 67 %; of others in 98 %). So its embedding of
a caption is to be the sum of the caption's words (``codes``), a pitch being a place on the scale, whether a word or a
number says it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ..picturebook import captions
from ..picturebook.values import Sound
from . import between, worlddata
from .codes import AttributeCodes
from .loop import Recipe, fit, step_rng

TENTHS_SHARE, UNNAMED_SHARE = 0.4, 0.15
"""Of the captions: those with a number for the pitch, and without any."""


def draw_caption(rng: np.random.Generator) -> tuple[str, Sound, float | None]:
    """A caption, its sound (with any pitch where the caption has no word for it), and octaves above normal, if said."""
    share = rng.random()
    if share < TENTHS_SHARE:
        value = worlddata.pick(between.tenths_sounds(), rng)
        return between.tenths_caption(value), Sound(value.source, "normal", value.speed), value.tenths / 10
    sound = worlddata.pick(worlddata.sounds(), rng)
    if share < TENTHS_SHARE + UNNAMED_SHARE:
        return between.unnamed_caption(sound), sound, None
    return worlddata.pick(tuple(captions(sound)), rng), sound, between.word_octaves(sound)


def train_sound_captions(
    text_encoder: nn.Module, encode: Callable[[list[str]], Tensor], recipe: Recipe, run: Path, *, resume: bool = True
) -> dict[str, float]:
    """Fit ``text_encoder``. ``encode``: captions → embeddings (B, E) of unit length, differentiable."""
    codes = AttributeCodes(text_encoder.config.projection_dim, names=("source", "pitch", "speed"))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = step_rng(recipe.seed, step)
        said, shown, octaves = zip(*(draw_caption(rng) for _ in range(recipe.batch)), strict=True)
        return codes.loss(encode(list(said)), codes.sums(shown, octaves)), {}

    text_encoder.train()
    result = fit("audio-text", recipe, {"text_encoder": text_encoder}, loss, run, resume=resume)
    text_encoder.eval().requires_grad_(False)
    return result
