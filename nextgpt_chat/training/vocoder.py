"""The HiFi-GAN vocoder, trained by spectral losses alone (Kong et al. 2020, without the discriminators).

The world's sounds are tones and shaped noise, for which several STFT resolutions are enough of a teacher.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from ..decoders import mel
from ..picturebook import play
from . import between, worlddata
from .loop import Recipe, fit, step_rng

RESOLUTIONS = ((2048, 240), (1024, 120), (512, 50), (128, 16))
"""(window, hop) in samples of the spectral losses."""
PIECE_FRAMES = 64


def build_vocoder(channels: int = 128) -> SpeechT5HifiGan:
    """Mel (B, frames, 64) → waves (B, frames · 160); ``AudioDecoder.vocode`` mends their phases."""
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=mel.BINS,
            sampling_rate=mel.RATE,
            upsample_initial_channel=channels,
            upsample_rates=[5, 4, 4, 2],
            upsample_kernel_sizes=[11, 8, 8, 4],
            resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3], [1, 3]],
            normalize_before=False,
            phase_rounds=16,
        )
    )


def spectral_loss(output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Mean over resolutions of spectral convergence and log-magnitude error, plus the log-mel error."""
    losses = []
    for fft, hop in RESOLUTIONS:
        made, wanted = mel.magnitudes(output, fft, hop), mel.magnitudes(target, fft, hop)
        convergence = (made - wanted).square().sum((1, 2)).sqrt() / (wanted.square().sum((1, 2)).sqrt() + 1.0)
        losses.append(convergence.mean() + (made.clamp(min=1e-4).log() - wanted.clamp(min=1e-4).log()).abs().mean())
    error = (mel.log_mel(output) - mel.log_mel(target)).abs().mean()
    return torch.stack(losses).mean() + 4 * error, {"log-mel error": float(error.detach()) * mel.SPREAD}


def training_wave(rng: np.random.Generator, between_share: float) -> np.ndarray:
    """A sound of the training values, or with this probability one at a pitch between the words."""
    value, seed = worlddata.pick(worlddata.sounds(), rng), worlddata.new_seed(rng)
    if rng.random() < between_share:
        return between.render_between(value, seed, rng)[0].samples
    return play(value, seed)


def train_vocoder(
    name: str,
    vocoder: SpeechT5HifiGan,
    recipe: Recipe,
    run: Path,
    *,
    between_share: float = 0.0,
    resume: bool = True,
    after: Path | None = None,
) -> dict[str, float]:
    """Fit ``vocoder`` to half-second pieces of sounds; ``name``, ``run``, ``resume`` and ``after`` are as in
    ``loop.fit``.

    ``between_share``: of sounds between the words (held-out log-mel error 0.90 without, 0.71 after a second run).
    """
    device = next(vocoder.parameters()).device

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = step_rng(recipe.seed, step)
        waves = np.stack([training_wave(rng, between_share) for _ in range(recipe.batch)])
        waves = torch.from_numpy(waves).to(device)
        spectrum = mel.log_mel(waves)
        starts = rng.integers(0, spectrum.shape[1] - PIECE_FRAMES + 1, recipe.batch)
        pieces = torch.stack([s[a : a + PIECE_FRAMES] for s, a in zip(spectrum, starts, strict=True)])
        length = PIECE_FRAMES * mel.HOP
        wanted = torch.stack([w[a * mel.HOP : a * mel.HOP + length] for w, a in zip(waves, starts, strict=True)])
        return spectral_loss(vocoder(pieces).float(), wanted)

    vocoder.train()
    result = fit(name, recipe, {"vocoder": vocoder}, loss, run, resume=resume, after=after)
    vocoder.eval()
    return result
