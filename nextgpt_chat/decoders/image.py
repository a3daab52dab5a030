"""Pictures from conditioning (tokens, width): Stable Diffusion's parts and our loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch

from ..content import Image
from .base import CrossAttentionDecoder, one_or_list
from .pixels import rounded, to_pil
from .sampling import Generators, OnStep, Seed, ShouldStop

_MOSAIC = 12
"""Squares along a preview's longer side, where a safety checker has not seen the picture yet."""


@dataclass(frozen=True, eq=False)
class FlaggedImage(Image):
    """An all-black picture in place of one that the checkpoint's safety checker refused."""

    notice: ClassVar[str] = "The checkpoint's safety checker blacked this picture out. Try other words or another seed."


class ImageDecoder(CrossAttentionDecoder):
    """Latent diffusion (Rombach et al. 2022) with cross-attention to (77, 768) states, or whatever the folder has."""

    kind = "image"
    pipeline_class = "StableDiffusionPipeline"
    optional = ("safety_checker", "feature_extractor")

    def __init__(self, *, safety_checker: Any = None, feature_extractor: Any = None, **parts: Any) -> None:
        if safety_checker is not None and feature_extractor is None:
            raise ValueError("a safety checker needs its feature extractor")
        super().__init__(**parts)
        self.safety_checker, self.feature_extractor = safety_checker, feature_extractor

    def _index_extra(self) -> dict[str, Any]:
        return {"requires_safety_checker": self.safety_checker is not None}

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
        width: int | None = None,
        height: int | None = None,
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Image | list[Image]:
        """Makes a picture of conditioning (1, 77, 768) or (77, 768), a list of them for (B, 77, 768).

        ``seed``: one number for the batch or one for each sample; else a ``generator`` or the initial noise
        ``latents`` (B, C, height / 8, width / 8). ``guidance_scale`` up to 1 means none. ``width`` and ``height`` in
        pixels, None = the UNet's own. ``on_step`` and ``should_stop`` as in ``sampling.denoise``.
        Raises Cancelled, LimitError (a size that does not fit) and ValueError.
        """
        size = self._size_in_latents(width, height)
        finished = self._sample(
            conditioning,
            (self.unet.config.in_channels, *size),
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            generator=generator,
            latents=latents,
            scheduler=scheduler,
            on_step=on_step,
            should_stop=should_stop,
        )
        return one_or_list(self.decode_latents(finished, should_stop=should_stop))

    def decode_latents(self, latents: torch.Tensor, *, should_stop: ShouldStop | None = None) -> list[Image]:
        """Pictures of latents (B, C, h, w), past the safety checker if there is one."""
        pictures = [Image(pixels) for pixels in rounded(self._decode_with_vae(latents, should_stop))]
        if self.safety_checker is None:
            return pictures
        return [
            FlaggedImage(np.zeros_like(picture.pixels)) if flagged else picture
            for picture, flagged in zip(pictures, self._flags(pictures), strict=True)
        ]

    @torch.no_grad()
    def _flags(self, pictures: list[Image]) -> list[bool]:
        inputs = self.feature_extractor([picture.to_pil() for picture in pictures], return_tensors="pt")
        checker = self.safety_checker
        # The checker blackens the arrays it is given; ours stay, so it gets throw-away ones.
        throw_away = [np.zeros(1) for _ in pictures]
        return list(checker(clip_input=inputs.pixel_values.to(checker.device, checker.dtype), images=throw_away)[1])

    def _preview(self, latents: torch.Tensor) -> PIL.Image.Image:
        """With a safety checker only a mosaic: what it may refuse must not be seen on the way there."""
        picture = to_pil(self._rough_pixels(latents))
        if self.safety_checker is None:
            return picture
        scale = _MOSAIC / max(picture.size)
        squares = [max(1, round(side * scale)) for side in picture.size]
        return picture.resize(squares, PIL.Image.Resampling.BOX).resize(picture.size, PIL.Image.Resampling.NEAREST)
