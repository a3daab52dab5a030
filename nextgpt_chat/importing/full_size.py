"""The full-size model without its weights: every module on the meta device, built from the manifest alone.

For counting parameters and for comparing names and shapes with the published files, on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..checkpoints import Manifest
from ..errors import CheckpointError
from ..imagebind import ImageBind, ImageBindConfig
from ..projections import InputProjection, OutputProjectionConfig, build_output_projection
from .published import EMBEDDING, HEAD, published_name


def blueprint(manifest: Manifest) -> dict[str, nn.Module]:
    """Modules by part: language_model (a peft model around the causal LM), imagebind, input_projection and
    output_projection.KIND, with the sizes in the manifest's ``extra.sizes``. Raises CheckpointError without those."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        sizes: Mapping[str, Any] = manifest.extra["sizes"]
        config = AutoConfig.for_model(**sizes["language_model"])
        lora = LoraConfig(
            r=sizes["adapter"]["rank"],
            lora_alpha=sizes["adapter"]["alpha"],
            target_modules=list(sizes["adapter"]["targets"]),
            task_type="CAUSAL_LM",
        )
        imagebind = ImageBindConfig(**sizes["imagebind"])
        outputs = {
            kind: OutputProjectionConfig(
                config.hidden_size,
                sizes["conditioning"][kind],
                manifest.signal_tokens[kind],
                manifest.output_tokens[kind],
                manifest.output_mode(kind),
                heads=manifest.output_heads(kind),
            )
            for kind in manifest.kinds
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The manifest of {manifest.name} has no usable extra.sizes ({error!r}).") from error
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            "language_model": get_peft_model(AutoModelForCausalLM.from_config(config), lora),
            "imagebind": ImageBind(imagebind),
            "input_projection": InputProjection(imagebind.embedding_dim, config.hidden_size),
        }
        parts |= {f"output_projection.{kind}": build_output_projection(one) for kind, one in outputs.items()}
    return parts


def published_shapes(parts: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """What the authors' file holds of such a model: their names → shapes."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in parts["language_model"].state_dict().items():
        if ".lora_" in name:
            found[published_name("adapter", name.replace(".default.", "."))] = tuple(tensor.shape)
        elif (plain := name.removeprefix("base_model.model.")) in (EMBEDDING, HEAD):
            found[published_name("language_model", plain)] = tuple(tensor.shape)
    for part, module in parts.items():
        if part.endswith("_projection") or part.startswith("output_projection."):
            for name, tensor in module.state_dict().items():
                found[published_name("projections", f"{part}.{name}")] = tuple(tensor.shape)
    return found
