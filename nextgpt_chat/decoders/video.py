"""Clips from conditioning (tokens, width): Zeroscope's parts (UNet3DConditionModel) and our loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch

from ..content import Video
from ..errors import LimitError
from .base import CrossAttentionDecoder, one_or_list
from .pixels import to_pil
from .sampling import Generators, OnStep, Seed, ShouldStop
from .temporal import fast_temporal_convolutions


class VideoDecoder(CrossAttentionDecoder):
    """Text-to-video diffusion (ModelScope, Wang et al. 2023) with cross-attention to (77, 1024) states."""

    kind = "video"
    pipeline_class = "TextToVideoSDPipeline"

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        fast_temporal_convolutions(self.unet)

    def decode(
        self,
        conditioning: torch.Tensor,
        *,
        steps: int,
        guidance_scale: float,
        seed: Seed | None = None,
        generator: Generators | None = None,
        latents: torch.Tensor | None = None,
        scheduler: str = "dpm++",
        frames: int = 16,
        fps: float = 8.0,
        width: int | None = None,
        height: int | None = None,
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Video | list[Video]:
        """Makes a clip of conditioning (1, 77, 1024) or (77, 1024), a list of them for (B, 77, 1024).

        ``frames`` are made, to be played at ``fps`` a second; ``latents`` is (B, C, frames, height / 8, width / 8).
        The rest as in ``ImageDecoder.decode``.
        """
        if frames < 1:
            raise LimitError(f"frames is {frames}; a clip has at least 1.")
        size = self._size_in_latents(width, height)
        finished = self._sample(
            conditioning,
            (self.unet.config.in_channels, frames, *size),
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            generator=generator,
            latents=latents,
            scheduler=scheduler,
            on_step=on_step,
            should_stop=should_stop,
        )
        return one_or_list(self.decode_latents(finished, fps=fps, should_stop=should_stop))

    def decode_latents(
        self, latents: torch.Tensor, *, fps: float = 8.0, should_stop: ShouldStop | None = None
    ) -> list[Video]:
        """Clips of latents (B, C, frames, h, w)."""
        batch, frames = len(latents), latents.shape[2]
        pixels = self._decode_with_vae(latents.transpose(1, 2).flatten(0, 1), should_stop)
        levels = _truncated(pixels.unflatten(0, (batch, frames)))
        return [Video(np.ascontiguousarray(clip), fps) for clip in levels]

    def _preview(self, latents: torch.Tensor) -> PIL.Image.Image:
        """The middle frame."""
        return to_pil(self._rough_pixels(latents[:, :, latents.shape[2] // 2]))


def _truncated(pixels: torch.Tensor) -> np.ndarray:
    """uint8 (B, frames, H, W, 3) of (B, frames, 3, H, W) in [-1, 1]; cut, not rounded, as the original's clips are."""
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).byte().movedim(2, -1).cpu().numpy()
