"""What the three decoders share: parts, folder, conditioning, the way from conditioning to latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import PIL.Image
import torch

from ..content import Media
from ..errors import CheckpointError, LimitError
from . import folder, sampling
from .conditioner import encode_with_clip, max_tokens
from .pixels import fit_rgb_projection, project_to_rgb
from .sampling import Generators, OnStep, Seed, ShouldStop


class Decoder(ABC):
    """A UNet, an autoencoder, a scheduler and a text encoder that together turn conditioning into media.

    The parts are received, never fetched, and are used in the mode (train or eval), device and precision they are in.
    """

    kind: ClassVar[str]
    pipeline_class: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = ("unet", "vae", "scheduler", "tokenizer", "text_encoder")
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, unet: Any, vae: Any, scheduler: Any, tokenizer: Any, text_encoder: Any) -> None:
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self._empty: torch.Tensor | None = None
        self._rgb_projection: torch.Tensor | None = None

    # -- folder and device ---------------------------------------------------------------------------------------

    @classmethod
    def from_folder(
        cls, path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Reads a diffusers folder. Raises CheckpointError naming the file or component at fault."""
        parts = folder.read_components(Path(path), cls.required, cls.optional, torch.device(device), dtype)
        decoder = cls(**parts)
        decoder.check()
        return decoder

    def save_folder(self, path: str | Path, *, dtype: torch.dtype | None = None, max_shard_size: str = "10GB") -> None:
        """Writes a folder that this class and diffusers' own pipeline open.

        ``dtype``: precision on disk (None = as in memory); ``max_shard_size``: as in diffusers, e.g. ``"9MB"``.
        """
        parts = {name: getattr(self, name) for name in (*self.required, *self.optional)}
        folder.write_components(Path(path), self.pipeline_class, parts, self._index_extra(), dtype, max_shard_size)

    def _index_extra(self) -> dict[str, Any]:
        """More entries of ``model_index.json``."""
        return {}

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moves and casts every model, in place."""
        for model in self.modules():
            torch.nn.Module.to(model, device=device, dtype=dtype)  # the plain method: diffusers' own warns of casts
        self._empty = self._rgb_projection = None
        return self

    def modules(self) -> list[torch.nn.Module]:
        """The models among the parts."""
        parts = (getattr(self, name) for name in (*self.required, *self.optional))
        return [part for part in parts if isinstance(part, torch.nn.Module)]

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def check(self) -> None:
        """Raises CheckpointError if the parts do not fit each other."""
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise CheckpointError(
                f"The {self.kind} decoder's unet takes {self.unet.config.in_channels} latent channels, its vae makes "
                f"{self.vae.config.latent_channels}."
            )

    # -- conditioning --------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def conditioning_shape(self) -> tuple[int, ...]:
        """Shape of one sample's conditioning, without the batch axis."""

    @abstractmethod
    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """Conditioning (B, *conditioning_shape) of some captions."""

    @abstractmethod
    def _encode_empty(self) -> torch.Tensor: ...

    def empty_conditioning(self) -> torch.Tensor:
        """Conditioning (1, *conditioning_shape) of the empty prompt, computed once: the other side of guidance."""
        if self._empty is None:
            self._empty = self._encode_empty()
        return self._empty

    # -- from conditioning to latents ----------------------------------------------------------------------------

    @cached_property
    def vae_scale_factor(self) -> int:
        """Pixels (or mel frames) along one side of a latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @abstractmethod
    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def decode_latents(self, latents: torch.Tensor, *, should_stop: ShouldStop | None = None, **facts: Any) -> list:
        """Finished media, one for each of the latents (B, …), which are scaled as the UNet sees them."""

    def _sample(
        self,
        conditioning: torch.Tensor,
        latent_shape: tuple[int, ...],
        *,
        steps: int,
        guidance_scale: float,
        seed: Seed | None,
        generator: Generators | None,
        latents: torch.Tensor | None,
        scheduler: str,
        on_step: OnStep | None,
        should_stop: ShouldStop | None,
    ) -> torch.Tensor:
        """Latents (B, *latent_shape) for conditioning (B, *conditioning_shape) or (*conditioning_shape)."""
        conditioning = self._batched(conditioning)
        batch = len(conditioning)
        generator = sampling.get_generators(seed, generator, batch)
        if latents is None:
            if generator is None:
                raise ValueError("give a seed, a generator or latents: randomness is explicit here")
            latents = sampling.get_noise((batch, *latent_shape), generator)
        elif latents.shape != (batch, *latent_shape):
            raise ValueError(f"latents must be {(batch, *latent_shape)}, not {tuple(latents.shape)}")
        with torch.no_grad():
            return sampling.denoise(
                self._predict,
                sampling.make_scheduler(self.scheduler, scheduler),
                latents.to(device=self.device, dtype=self.dtype),
                conditioning,
                empty=self.empty_conditioning().to(conditioning) if guidance_scale > 1 else None,
                steps=steps,
                guidance_scale=guidance_scale,
                generator=generator,
                on_step=on_step,
                should_stop=should_stop,
            )

    def _batched(self, conditioning: torch.Tensor) -> torch.Tensor:
        shape = self.conditioning_shape
        if conditioning.shape == shape:
            conditioning = conditioning[None]
        if conditioning.shape[1:] != shape or not len(conditioning):
            raise ValueError(f"conditioning must be (B, {', '.join(map(str, shape))}), not {tuple(conditioning.shape)}")
        return conditioning.to(device=self.device, dtype=self.dtype)

    def _size_in_latents(self, width: int | None, height: int | None) -> tuple[int, int]:
        """(height, width) in latents of a size in pixels; None is the UNet's own. Raises LimitError for a misfit."""
        size = self.unet.config.sample_size
        own_height, own_width = size if isinstance(size, (list, tuple)) else (size, size)
        factor = self.vae_scale_factor
        for name, pixels in (("width", width), ("height", height)):
            if pixels is not None and (pixels < factor or pixels % factor):
                near = max(factor, round(pixels / factor) * factor)
                raise LimitError(f"{name} is {pixels} pixels; it must be a multiple of {factor}, for example {near}.")
        return (own_height if height is None else height // factor), (own_width if width is None else width // factor)

    @torch.no_grad()
    def _decode_with_vae(
        self, latents: torch.Tensor, should_stop: ShouldStop | None = None, chunk: int = 8
    ) -> torch.Tensor:
        """(B, channels, H, W) float32 in about [-1, 1] of latents (B, C, h, w), ``chunk`` at a time to bound memory."""
        pieces = []
        for piece in latents.split(chunk):
            sampling.check_stop(should_stop)
            pieces.append(self.vae.decode(piece.to(self.vae.dtype) / self.vae.config.scaling_factor).sample.float())
        return torch.cat(pieces)

    # -- preview -------------------------------------------------------------------------------------------------

    def preview(self, latents: torch.Tensor) -> PIL.Image.Image | None:
        """A rough picture of the first of some (unfinished) latents, at a small part of the cost of a step."""
        with torch.no_grad():
            return self._preview(latents[:1])

    @abstractmethod
    def _preview(self, latents: torch.Tensor) -> PIL.Image.Image | None: ...

    def _rough_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """(3, h, w) in about [-1, 1] of latents (1, C, h, w); an AutoencoderTiny is cheap enough to decode in full."""
        if type(self.vae).__name__ == "AutoencoderTiny":
            return self._decode_with_vae(latents)[0]
        if self._rgb_projection is None:
            self._rgb_projection = fit_rgb_projection(self.vae, self.vae_scale_factor)
        return project_to_rgb(latents, self._rgb_projection)[0]


class CrossAttentionDecoder(Decoder):
    """A decoder whose UNet attends to the states (tokens, width) of a CLIP text encoder, or to what stands for them."""

    @property
    def conditioning_shape(self) -> tuple[int, int]:
        return max_tokens(self.tokenizer, self.text_encoder), self.unet.config.cross_attention_dim

    def encode_text(self, captions: list[str], *, keep_end: bool = False) -> torch.Tensor:
        """(B, 77, width) states of the captions; ``keep_end`` as in ``conditioner.encode_with_clip``."""
        return encode_with_clip(self.tokenizer, self.text_encoder, captions, keep_end=keep_end)

    def _encode_empty(self) -> torch.Tensor:
        return self.encode_text([""])

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, timestep, encoder_hidden_states=conditioning, return_dict=False)[0]


def one_or_list(media: list[Any]) -> Media | list[Media]:
    """A batch of one is given back as the medium itself."""
    return media[0] if len(media) == 1 else media
