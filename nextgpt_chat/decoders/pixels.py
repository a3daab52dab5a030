"""Latents and decoded tensors to 8-bit pixels, and cheap previews.

An autoencoder that is too slow to run at every step is previewed by a linear map from latent to colour: the latents of
Stable Diffusion's autoencoder are, roughly, a linear code of the local mean colour. The map is fitted to the
autoencoder at hand, so no table of factors is tied to one checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch


@torch.no_grad()
def fit_rgb_projection(vae: Any, scale_factor: int, side: int = 16, patch: int = 4, samples: int = 4) -> torch.Tensor:
    """Least-squares (C + 1, 3) map from scaled latents to the mean colour of the pixels each stands for.

    The autoencoder decodes ``samples`` random latents of ``side`` × ``side``, constant over patches: about a quarter
    of the work of one 512 × 512 picture, once.
    """
    channels = vae.config.latent_channels
    generator = torch.Generator("cpu").manual_seed(0)
    coarse = torch.randn((samples, channels, side // patch, side // patch), generator=generator)
    latents = coarse.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    pixels = vae.decode(latents.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample.float().cpu()
    colours = torch.nn.functional.avg_pool2d(pixels, scale_factor)
    inputs = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1).movedim(1, -1).flatten(0, -2)
    return torch.linalg.lstsq(inputs, colours.movedim(1, -1).flatten(0, -2)).solution


def project_to_rgb(latents: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """(B, 3, h, w) in about [-1, 1] of scaled latents (B, C, h, w), on the CPU."""
    inputs = latents.detach().float().cpu().movedim(1, -1)
    return (inputs @ projection[:-1] + projection[-1]).movedim(-1, 1)


def rounded(pixels: torch.Tensor) -> np.ndarray:
    """uint8 (B, H, W, 3) of (B, 3, H, W) in [-1, 1], to the nearest level."""
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().byte().movedim(1, -1).cpu().numpy()


def to_pil(pixels: torch.Tensor) -> PIL.Image.Image:
    """A Pillow picture of (3, H, W) in [-1, 1]."""
    return PIL.Image.fromarray(rounded(pixels[None])[0])
