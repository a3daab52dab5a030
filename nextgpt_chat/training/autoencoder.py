"""The autoencoders: pictures and clip frames → latents (``vae``), mel spectrograms → latents (``audio-vae``).

Both are ``AutoencoderTiny``: without group normalisation absolute colours survive compression, which a KL autoencoder
of this size learns only after a very long time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from .loop import Recipe, fit, step_rng

LATENT_CHANNELS = {"picture": 12, "mel": 8}


def picture_autoencoder(channels: int = 48) -> AutoencoderTiny:
    """f8, 12 latent channels: (3, 128, 128) ↔ (12, 16, 16). More blocks at low resolution, where they are cheap."""
    return _autoencoder(3, channels, (1, 1, 2, 2), LATENT_CHANNELS["picture"])


def mel_autoencoder(channels: int = 32) -> AutoencoderTiny:
    """f8, 8 latent channels: (1, 200, 64) ↔ (8, 25, 8)."""
    return _autoencoder(1, channels, (1, 1, 2, 2), LATENT_CHANNELS["mel"])


def _autoencoder(colours: int, channels: int, blocks: tuple[int, ...], latent_channels: int) -> AutoencoderTiny:
    return AutoencoderTiny(
        in_channels=colours,
        out_channels=colours,
        encoder_block_out_channels=(channels,) * len(blocks),
        decoder_block_out_channels=(channels,) * len(blocks),
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks[::-1],
        latent_channels=latent_channels,
        upsampling_scaling_factor=2,
    )


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Finite differences down and across; their error keeps outlines crisp where plain losses blur them."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 + squared + edge error, values in [-1, 1]."""
    difference = (output - target).float()
    down, across = edges(difference)
    return difference.abs().mean() + difference.square().mean() + down.abs().mean() + across.abs().mean()


def train_autoencoder(
    name: str,
    vae: AutoencoderTiny,
    batch: Callable[[np.random.Generator, int], Tensor],
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = True,
    noise: float = 0.02,
) -> dict[str, float]:
    """Fit ``vae`` to what ``batch(rng, size)`` draws: (size, channels, height, width) in [-1, 1].

    ``noise`` on the latents makes the decoder tolerant of a sampler's small errors. Sets ``scaling_factor`` so that
    latents have unit variance.
    """
    vae.to(memory_format=torch.channels_last)
    device = next(vae.parameters()).device

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x = batch(step_rng(recipe.seed, step), recipe.batch).to(device, memory_format=torch.channels_last)
        latents = vae.encoder(x)
        spread = latents.float().square().mean()
        noisy = latents + noise * torch.randn_like(latents) * spread.detach().sqrt()
        output = vae.decoder(noisy)
        value = reconstruction_loss(output, x)
        # Latents beyond ±3 would be squashed by the decoder's own clamp.
        outside = torch.relu(latents.float().abs() - 2.5).square().mean()
        return value + 0.1 * outside, {"spread": float(spread.detach())}

    result = fit(name, recipe, {"vae": vae}, loss, run, resume=resume)
    vae.register_to_config(scaling_factor=1.0 / latent_spread(vae, batch(step_rng(recipe.seed, -1 % 2**31), 64)))
    return result


@torch.no_grad()
def latent_spread(vae: nn.Module, x: Tensor) -> float:
    """Standard deviation of the latents of ``x``."""
    device = next(vae.parameters()).device
    return float(vae.encoder(x.to(device)).float().std())
