"""Sounds from conditioning (width,): AudioLDM's parts with a HiFi-GAN vocoder and our loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import PIL.Image
import torch

from ..content import Audio
from ..errors import LimitError
from . import mel as mel_scale
from . import sampling
from .base import Decoder, one_or_list
from .conditioner import encode_with_clap
from .sampling import Generators, OnStep, Seed, ShouldStop


class AudioDecoder(Decoder):
    """AudioLDM (Liu et al. 2023): the UNet is conditioned by one CLAP embedding (512,) in place of class labels."""

    kind = "audio"
    pipeline_class = "AudioLDMPipeline"
    required = (*Decoder.required, "vocoder")

    def __init__(self, *, vocoder: Any, **parts: Any) -> None:
        super().__init__(**parts)
        self.vocoder = vocoder

    @property
    def conditioning_shape(self) -> tuple[int]:
        return (self.text_encoder.config.projection_dim,)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.vocoder.config.sampling_rate

    @property
    def _frame_seconds(self) -> float:
        return math.prod(self.vocoder.config.upsample_rates) / self.rate

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """(B, 512) embeddings of the captions, of unit length."""
        return encode_with_clap(self.tokenizer, self.text_encoder, captions)

    def _encode_empty(self) -> torch.Tensor:
        # AudioLDM pads the empty prompt to as many tokens as the embedding is wide, not to the tokenizer's length.
        return encode_with_clap(self.tokenizer, self.text_encoder, [""], length=self.conditioning_shape[0])

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, timestep, encoder_hidden_states=None, class_labels=conditioning, return_dict=False)[0]

    def _latent_size(self, seconds: float | None) -> tuple[tuple[int, int], float]:
        """(mel frames, mel bins) in latents, and the seconds they are cut to."""
        factor = self.vae_scale_factor
        if seconds is None:
            size = self.unet.config.sample_size
            seconds = (size[0] if isinstance(size, (list, tuple)) else size) * factor * self._frame_seconds
        if seconds < factor * self._frame_seconds:
            raise LimitError(f"seconds is {seconds}; the shortest sound is {factor * self._frame_seconds:g} seconds.")
        frames = int(seconds / self._frame_seconds)
        return (math.ceil(frames / factor), self.vocoder.config.model_in_dim // factor), seconds

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
        seconds: float | None = None,
        on_step: OnStep | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Audio | list[Audio]:
        """Makes a sound of conditioning (1, 512) or (512,), a list of them for (B, 512); used as it is, unnormalised.

        ``seconds`` of sound, None = the UNet's own; ``latents`` is (B, C, mel frames / 4, mel bins / 4).
        The rest as in ``ImageDecoder.decode``. Raises LimitError for a sound that is too short.
        """
        size, seconds = self._latent_size(seconds)
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
        return one_or_list(self.decode_latents(finished, seconds=seconds, should_stop=should_stop))

    def decode_latents(
        self, latents: torch.Tensor, *, seconds: float | None = None, should_stop: ShouldStop | None = None
    ) -> list[Audio]:
        """Sounds of latents (B, C, frames, bins), cut to ``seconds`` (None = all of it)."""
        mel = self._decode_with_vae(latents, should_stop)[:, 0]
        sampling.check_stop(should_stop)
        return self.vocode(mel, seconds=seconds)

    def vocode(self, mel: torch.Tensor, *, seconds: float | None = None) -> list[Audio]:
        """Sounds of log-mel spectrograms (B, frames, bins), in the units the vocoder was trained on."""
        waves = waves_of(self.vocoder, mel)
        count = waves.shape[-1] if seconds is None else int(seconds * self.rate)
        samples = waves[:, :count].clamp(-1, 1).numpy()
        return [Audio(np.ascontiguousarray(one), self.rate) for one in samples]

    def _preview(self, latents: torch.Tensor) -> PIL.Image.Image | None:
        """A spectrogram in grey, time to the right and pitch upwards; None if the autoencoder is not a cheap one."""
        if type(self.vae).__name__ != "AutoencoderTiny":
            return None
        mel = self._decode_with_vae(latents)[0, 0]
        low, high = mel.min(), mel.max()
        grey = ((mel - low) / (high - low).clamp(min=1e-6) * 255).round().byte()
        return PIL.Image.fromarray(grey.T.flip(0).cpu().numpy()).convert("RGB")


@torch.no_grad()
def waves_of(vocoder: Any, mel: torch.Tensor) -> torch.Tensor:
    """What a vocoder makes of log-mel spectrograms (B, frames, bins): (B, n), on the CPU.

    Where its configuration has ``phase_rounds``, as nextgpt-mini's, so many are added (``mel.invert``).
    """
    waves = vocoder(mel.to(vocoder.device, vocoder.dtype)).float().cpu().reshape(len(mel), -1)
    rounds = getattr(vocoder.config, "phase_rounds", 0)
    return mel_scale.invert(mel.cpu(), waves, rounds) if rounds else waves
