"""A checkpoint without its weights: every part on the meta device, from its configurations or from its manifest alone.

For counting parameters and for comparing names and shapes with the published files, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..decoders.base import Decoder
from ..decoders.skeleton import build_skeleton, read_configs
from ..errors import CheckpointError
from ..imagebind import ImageBind, ImageBindConfig
from ..projections import (
    InputProjectionConfig,
    OutputProjectionConfig,
    build_input_projection,
    build_output_projection,
)
from .finding import component_folder
from .manifest import Manifest


def blueprint(manifest: Manifest) -> dict[str, nn.Module]:
    """Modules by part: language_model (a peft model around the causal LM), imagebind, input_projection and
    output_projection.KIND, with the sizes in the manifest's ``extra.sizes``. Raises CheckpointError without those."""
    from transformers import AutoConfig

    try:
        sizes: Mapping[str, Any] = manifest.extra["sizes"]
        config = AutoConfig.for_model(**sizes["language_model"])
        imagebind = ImageBindConfig(**sizes["imagebind"])
        parts: dict[str, nn.Module] = {
            "language_model": language_model_blueprint(config, sizes.get("adapter")),
            "imagebind": imagebind_blueprint(imagebind),
        }
        parts |= projections_blueprint(manifest, config.hidden_size, imagebind.embedding_dim, sizes["conditioning"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The manifest of {manifest.name} has no usable extra.sizes ({error!r}).") from error
    return parts


def language_model_blueprint(config: Any, adapter: Mapping[str, Any] | None) -> nn.Module:
    """A causal LM of transformers, with LoRA where ``adapter`` names ``rank``, ``alpha`` and ``targets``."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(config)
        if adapter is None:
            return causal
        targets = adapter["targets"]
        lora = LoraConfig(
            r=adapter["rank"],
            lora_alpha=adapter["alpha"],
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(causal, lora)


def imagebind_blueprint(config: ImageBindConfig) -> ImageBind:
    with torch.device("meta"):
        return ImageBind(config)


def projections_blueprint(
    manifest: Manifest, width: int, media_width: int, conditioning: Mapping[str, int]
) -> dict[str, nn.Module]:
    """input_projection and output_projection.KIND; ``conditioning``: kind → width of its decoder's conditioning."""
    outputs = {
        kind: OutputProjectionConfig(
            width,
            conditioning[kind],
            manifest.signal_tokens[kind],
            manifest.output_tokens[kind],
            manifest.output_mode(kind),
            heads=manifest.output_heads(kind),
        )
        for kind in manifest.kinds
    }
    sizes = {key: tuple(v) if isinstance(v, (list, tuple)) else v for key, v in manifest.input_config.items()}
    inputs = InputProjectionConfig(media_width, width, manifest.projections["input"], **sizes)
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"input_projection": build_input_projection(inputs)}
        return parts | {f"output_projection.{kind}": build_output_projection(one) for kind, one in outputs.items()}


class Skeleton:
    """The parts of the checkpoint in ``folder``, each from its own configuration where that is on this machine, else
    from the manifest's ``extra.sizes``. Every method raises CheckpointError where neither is."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.load(self.folder)

    def place(self, part: str) -> Path | None:
        """Where a part's files are on this machine; None = not here."""
        try:
            place = component_folder(self.folder, self.manifest.component(part), local_files_only=True)
        except CheckpointError:
            return None
        return place if place.is_dir() else None

    def language_model(self) -> nn.Module:
        """The causal LM, with its LoRA if there is one."""
        from transformers import AutoConfig

        place = self.place("language_model")
        if place is None:
            return self._from_manifest("language_model")
        try:
            config = AutoConfig.from_pretrained(place, local_files_only=True)
            return language_model_blueprint(config, self._adapter())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{place} has no usable configuration ({error}). Fetch the checkpoint again."
            ) from error

    def imagebind(self) -> ImageBind:
        place = self.place("imagebind")
        if place is None:
            return self._from_manifest("imagebind")  # type: ignore[return-value]
        return imagebind_blueprint(ImageBindConfig.load(place))

    def projections(self) -> int:
        """Parameters of all projections: their files say it, whatever their kind."""
        from safetensors import SafetensorError, safe_open

        files = sorted(self.folder.glob("projections*.safetensors"))
        if not files:
            parts = blueprint(self.manifest)
            return sum(count(part) for name, part in parts.items() if "projection" in name)
        total = 0
        for file in files:
            try:
                with safe_open(file, framework="pt") as tensors:
                    total += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise CheckpointError(f"{file} could not be read: {error}. Fetch the checkpoint again.") from error
        return total

    def decoder(self, kind: str) -> Decoder:
        """Without tokenizer and scheduler."""
        return build_skeleton(kind, self.decoder_configs(kind))

    def decoder_configs(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """Component → configuration with its class as ``_class_name``."""
        place = self.place(f"{kind}_decoder")
        if place is not None:
            return read_configs(place)
        configs = self.manifest.extra.get("sizes", {}).get("decoders", {}).get(kind)
        if not isinstance(configs, Mapping):
            raise CheckpointError(
                f"The sizes of {self.manifest.name}'s {kind} decoder are not known: it is not on this machine, and "
                f"the manifest has no extra.sizes.decoders.{kind}. Fetch the checkpoint first."
            )
        return configs

    def _adapter(self) -> dict[str, Any] | None:
        from peft import LoraConfig

        place = self.place("adapter")
        if place is None or not (place / "adapter_config.json").is_file():
            return None
        config = LoraConfig.from_pretrained(str(place))
        return {"rank": config.r, "alpha": config.lora_alpha, "targets": config.target_modules}

    def _from_manifest(self, part: str) -> nn.Module:
        return blueprint(self.manifest)[part]


def count(module: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(one.numel() for one in module.parameters())
