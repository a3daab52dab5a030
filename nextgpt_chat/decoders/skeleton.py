"""A decoder from its configurations alone: on the meta device for counting, or with random weights for measuring.

Reads no weights. Knows which passes of a decoder are its heaviest; what they cost is counted elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ..errors import CheckpointError
from . import folder
from .audio import AudioDecoder
from .base import Decoder
from .image import ImageDecoder
from .video import VideoDecoder

_DECODERS: dict[str, type[Decoder]] = {"image": ImageDecoder, "audio": AudioDecoder, "video": VideoDecoder}
_MODELS = ("unet", "vae", "text_encoder", "vocoder", "safety_checker")
_VAE_BATCH = 8  # latents at once, as in Decoder._decode_with_vae

Configs = Mapping[str, Mapping[str, Any]]


def read_configs(path: Path) -> dict[str, dict[str, Any]]:
    """The configurations of the models in a diffusers folder, each with its class as ``_class_name``. Raises
    CheckpointError."""
    index, found = folder.read_index(path), {}
    for name in _MODELS:
        class_name = (*index.get(name, ()), None, None)[1]
        if class_name is None:
            continue
        file = path / name / "config.json"
        try:
            found[name] = json.loads(file.read_text(encoding="utf-8")) | {"_class_name": class_name}
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{file} is not readable JSON ({error}). Download it again.") from error
    return found


def build_skeleton(
    kind: str, configs: Configs, device: str | torch.device = "meta", dtype: torch.dtype = torch.bfloat16
) -> Decoder:
    """A decoder of ``kind`` with untrained models, without tokenizer and scheduler.

    ``configs``: component → its configuration with ``_class_name``. Raises CheckpointError for one that is missing or
    cannot be built.
    """
    decoder = _DECODERS[kind]
    parts: dict[str, Any] = dict.fromkeys(decoder.required)
    for name in (*decoder.required, *decoder.optional):
        if name not in _MODELS or (name in decoder.optional and name not in configs):
            continue
        try:
            with torch.device(device):
                made = _model(name, configs[name]).eval().requires_grad_(False)
            parts[name] = torch.nn.Module.to(made, dtype=dtype)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"The {kind} decoder's {name} cannot be built from its sizes ({error!r}).") from error
    if parts.get("safety_checker") is not None:
        parts["feature_extractor"] = SimpleNamespace()
    built = decoder(**parts)
    built.check()
    return built


def _model(name: str, config: Mapping[str, Any]) -> Any:
    cls = folder.model_class(name, config["_class_name"])
    if hasattr(cls, "from_config"):
        return cls.from_config(dict(config))
    values = {key: value for key, value in config.items() if key != "_class_name"}
    return cls(cls.config_class.from_dict(values))


def heaviest_passes(decoder: Decoder, settings: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """What a medium costs most memory for, by name: one guided step of the UNet, the autoencoder, the vocoder.

    ``settings``: the medium's own, as in ``GenerationSettings``. The passes make their inputs on the default device,
    in the default dtype.
    """
    unet, vae = decoder.unet, decoder.vae
    frames = settings.get("frames") or 1
    if isinstance(decoder, AudioDecoder):
        size, _ = decoder._latent_size(settings.get("seconds"))
        conditioning: tuple[int, ...] = decoder.conditioning_shape
    else:
        size = decoder._size_in_latents(settings.get("width"), settings.get("height"))
        conditioning = (decoder.text_encoder.config.max_position_embeddings, unet.config.cross_attention_dim)
    batch = 2 if (settings.get("guidance_scale") or 0) > 1 else 1
    latents = (batch, unet.config.in_channels, *((frames,) if isinstance(decoder, VideoDecoder) else ()), *size)
    passes: dict[str, Callable[[], Any]] = {
        "unet": lambda: decoder._predict(
            torch.empty(latents), torch.empty((), dtype=torch.long), torch.empty(batch, *conditioning)
        ),
        "vae": lambda: vae.decode(torch.empty(min(frames, _VAE_BATCH), vae.config.latent_channels, *size))[0].float(),
    }
    if isinstance(decoder, AudioDecoder):
        mel = (1, size[0] * decoder.vae_scale_factor, decoder.vocoder.config.model_in_dim)
        passes["vocoder"] = lambda: decoder.vocoder(torch.empty(mel)).float()
    return passes
