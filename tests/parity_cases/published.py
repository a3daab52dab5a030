"""The golden weights, under their published names, in our model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nextgpt_chat.imagebind import ImageBind, ImageBindConfig, load_official
from nextgpt_chat.language_model import LanguageModel
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.projections import (
    InputProjection,
    OutputProjectionConfig,
    build_output_projection,
    rename_published,
)

from .comparing import CaseError
from .folder import GoldenFolder

WRAPPER = "base_model.model."  # what peft puts in front of a wrapped model's names


def load_imagebind(golden: GoldenFolder, sizes: Mapping[str, Any], weights: str) -> ImageBind:
    """The encoder of a weights file, sizes by the original's names; what they do not say is read from the shapes."""
    stem = weights.removesuffix(".safetensors")
    state = {name.removeprefix("sd."): tensor for name, tensor in golden.tensors(stem).items()}
    others = golden.json(f"{stem}.json").get("non_default_for_all", {}) if golden.has(f"{stem}.json") else {}
    kernel = state["modality_preprocessors.vision.rgbt_stem.proj.1.weight"].shape
    patches = state["modality_preprocessors.vision.pos_embedding_helper.pos_embed"].shape[1] - 1
    mlp, width = state["modality_trunks.vision.blocks.0.mlp.fc1.weight"].shape
    config = ImageBindConfig(
        embedding_dim=sizes["out_embed_dim"],
        mlp_ratio=mlp / width,
        image_size=math.isqrt(patches) * kernel[-1],
        patch_size=kernel[-1],
        frames_per_clip=kernel[2],
        vision_width=sizes["vision_embed_dim"],
        vision_depth=sizes["vision_num_blocks"],
        vision_heads=sizes["vision_num_heads"],
        audio_mel_bins=others.get("audio_num_mel_bins", 128),
        audio_target_length=others.get("audio_target_len", 204),
        audio_kernel=state["modality_preprocessors.audio.rgbt_stem.proj.weight"].shape[-1],
        audio_stride=others.get("audio_stride", 10),
        audio_width=sizes["audio_embed_dim"],
        audio_depth=sizes["audio_num_blocks"],
        audio_heads=sizes["audio_num_heads"],
        audio_drop_path=sizes.get("audio_drop_path", 0.0),
    )
    return load_official(state, config.without_text())


class PublishedWeights:
    """The weights that ``generation.json`` names: frozen LLaMA (``base.``), the checkpoint's own tensors (``delta.``,
    under the names of ``pytorch_model.pt``) and ImageBind (``sd.``)."""

    def __init__(self, golden: GoldenFolder) -> None:
        self.golden, self.facts = golden, golden.json("generation.json")
        names = self.facts["weights"]
        merged = {key: tensor for name in names for key, tensor in golden.tensors(name).items()}
        self.base = _below("base.", merged)
        self.delta = _below("delta.", merged)
        self.imagebind_file = next((name for name in names if "imagebind" in name), "imagebind_weights")

    @property
    def lora(self) -> dict[str, Any]:
        """Rank, alpha and targets, as arguments of ``LanguageModel.add_adapter``."""
        lora = self.facts["config"]["lora"]
        return {"rank": lora["lora_r"], "alpha": lora["lora_alpha"], "targets": tuple(lora["target"])}

    def imagebind(self) -> ImageBind:
        return load_imagebind(self.golden, self.facts["config"]["imagebind"], self.imagebind_file)

    def language_model(self) -> LanguageModel:
        """The LLaMA with the checkpoint's embedding and head rows, without LoRA."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = self.facts["config"]
        rope = {"rope_type": "default", "rope_theta": float(config.get("rope_theta", 10000))}
        network = LlamaForCausalLM(LlamaConfig(**{"rope_parameters": rope, **config["llama"]}))
        state = {**self.base, **{k: v for k, v in self._own("llama_model.").items() if "lora_" not in k}}
        network.load_state_dict(state)
        tokenizer = self.golden.tokenizer(self.facts["tokenizer"])
        return LanguageModel(network.eval(), tokenizer, self.golden.signal_tokens)

    def load_lora(self, language_model: LanguageModel) -> None:
        """Put the checkpoint's LoRA into an adapter that is there; its names are the same today."""
        state = {WRAPPER + k: v for k, v in self._own("llama_model.").items() if "lora_" in k}
        held = {name for name, _ in language_model.network.named_parameters() if "lora_" in name}
        if held != state.keys():
            odd = sorted(held ^ state.keys())
            raise CaseError(f"{len(odd)} LoRA tensors are not in both the folder and our adapter, {odd[0]} first")
        language_model.network.load_state_dict(state, strict=False)

    def model(self) -> NextGPTModel:
        """The whole model in eval mode, without ImageBind and LoRA."""
        language_model = self.language_model()
        projection = self._own("llama_proj.")
        out_dim, in_dim = projection["weight"].shape
        input_projection = InputProjection(in_dim, out_dim)
        input_projection.load_state_dict(projection)
        outputs = {
            kind: output_projection(state, len(language_model.signals.groups[kind]))
            for kind, state in output_states(self.delta).items()
        }
        return NextGPTModel(None, input_projection, language_model, outputs).eval()

    def _own(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(WRAPPER): v for k, v in _below(prefix, self.delta).items()}


def output_states(published: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Kind → state dict of its output projection, under our names, of a published file's tensors (or shapes)."""
    states: dict[str, dict[str, Any]] = {}
    for key, value in published.items():
        ours = re.fullmatch(r"output_projection\.(\w+?)\.(.+)", rename_published(key) or "")
        if ours:
            states.setdefault(ours[1], {})[ours[2]] = value
    return states


def output_projection(state: Mapping[str, Tensor], num_in: int, mode: str = "transformer", heads: int = 4) -> nn.Module:
    """An output projection in eval mode with these weights; strict about every name and shape."""
    config = OutputProjectionConfig.from_state(state, num_in=num_in, mode=mode, heads=heads)
    projection = build_output_projection(config)
    projection.load_state_dict(dict(state))
    return projection.eval()


def our_name(published: str) -> str:
    """Name in ``NextGPTModel`` of a tensor of the published file, adapters' names left out."""
    return rename_published(published) or (
        "language_model." + published.removeprefix("llama_model.").removeprefix(WRAPPER)
    )


def plain_name(ours: str) -> str:
    """A parameter's name in ``NextGPTModel`` without what wrappers and adapters add to it: the other side of
    ``our_name``."""
    name = ours.replace("language_model.network.", "language_model.").replace(WRAPPER, "")
    return re.sub(r"(\.token_adapter)?\.trainable_tokens_delta\.default$", ".weight", name)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}


def on_meta(shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors without content, of a list of shapes."""
    return {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
