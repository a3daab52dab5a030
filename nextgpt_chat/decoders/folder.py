"""Diffusers folders: read the components named in ``model_index.json``, and write folders diffusers opens too."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError

# The classes a decoder may be made of, by component. What is not listed is never constructed.
CLASSES = {
    "unet": ("UNet2DConditionModel", "UNet3DConditionModel"),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": ("CLIPTextModel", "ClapTextModelWithProjection"),
    "tokenizer": (
        "CLIPTokenizer",
        "CLIPTokenizerFast",
        "RobertaTokenizer",
        "RobertaTokenizerFast",
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
    ),
    "vocoder": ("SpeechT5HifiGan",),
    "safety_checker": ("StableDiffusionSafetyChecker",),
    "feature_extractor": ("CLIPImageProcessor", "CLIPFeatureExtractor", "CLIPImageProcessorPil"),
}


def read_index(folder: Path) -> dict[str, Any]:
    """``model_index.json`` as a dictionary. Raises CheckpointError if it is missing or not JSON."""
    path = folder / "model_index.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; a decoder is a diffusers folder. Download it again.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}). Download it again.") from error


_FINER = {"vocoder": torch.float16}
"""In place of bfloat16, which has as many bytes and fewer digits: what nextgpt-mini's vocoder makes then differs from
float32's by 20 to 43 dB less than the sound, in float16 by 39 to 57 (nine sounds)."""


def read_components(
    folder: Path, required: tuple[str, ...], optional: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """The built components by name; an optional one that the folder does not have is left out.

    Models are frozen, in eval mode, in ``dtype`` on ``device``, a vocoder in float16 in place of bfloat16. Raises
    CheckpointError naming the component at fault.
    """
    index = read_index(folder)
    parts = {}
    for name in (*required, *optional):
        library, class_name = (*index.get(name, (None, None)), None, None)[:2]
        if class_name is None:
            if name in required:
                raise CheckpointError(f"{folder / 'model_index.json'} names no {name}, which this decoder needs.")
            continue
        own = _FINER.get(name, dtype) if dtype == torch.bfloat16 else dtype
        component = _component(folder / name, name, library, class_name, own)
        if isinstance(component, torch.nn.Module):
            component = torch.nn.Module.to(component, device=device, dtype=own).eval().requires_grad_(False)
            if name == "vae" and device.type == "cpu":
                # Measured on one core: an AutoencoderTiny decodes in 0.7 of the time; the UNets gain nothing.
                component = component.to(memory_format=torch.channels_last)
        parts[name] = component
    return parts


def _component(folder: Path, name: str, library: str, class_name: str, dtype: torch.dtype) -> Any:
    cls = model_class(name, class_name)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing, though model_index.json names it. Download it again.")
    options: dict[str, Any] = {"local_files_only": True}
    is_model = issubclass(cls, torch.nn.Module)
    if is_model:
        options |= {"torch_dtype" if library == "diffusers" else "dtype": dtype, "output_loading_info": True}
        files = [file.name for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern)]
        if files and all(".fp16" in name for name in files):
            options["variant"] = "fp16"
    try:
        loaded = cls.from_pretrained(str(folder), **options)
    except Exception as error:  # the libraries raise many kinds; all mean that the files do not make this component
        raise CheckpointError(f"{folder} does not load as {class_name} ({error}). Download it again.") from error
    if not is_model:
        return loaded
    model, info = loaded
    lacking = sorted(map(str, [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())]))
    if lacking:
        raise CheckpointError(f"{folder} lacks {len(lacking)} weights of its {class_name}, for example {lacking[0]}.")
    return model


def model_class(name: str, class_name: str) -> type:
    """The class of a component. Raises CheckpointError for one that is not supported."""
    import diffusers
    import transformers

    if name == "scheduler":
        cls = getattr(diffusers, class_name, None) if class_name.isidentifier() else None
        if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
            raise CheckpointError(f"The scheduler is {class_name!r}, which is no scheduler of diffusers.")
        return cls
    if class_name not in CLASSES[name]:
        raise CheckpointError(f"The {name} is {class_name!r}; supported are {', '.join(CLASSES[name])}.")
    if name == "safety_checker":
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        return StableDiffusionSafetyChecker
    if name == "feature_extractor":
        # The plain class wants torchvision; its twin does the same with Pillow.
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        return CLIPImageProcessorPil
    return getattr(diffusers if name in ("unet", "vae") else transformers, class_name)


def write_components(
    folder: Path,
    pipeline_class: str,
    parts: dict[str, Any],
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_size: str = "10GB",
) -> None:
    """Writes a folder that ``pipeline_class`` of diffusers opens; None parts are named and left out.

    ``dtype``: cast floating-point weights on their way to disk (the models in memory stay as they are).
    """
    import diffusers

    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"_class_name": pipeline_class, "_diffusers_version": diffusers.__version__}
    for name, part in parts.items():
        index[name] = [None, None] if part is None else list(_library_and_class(name, part))
        if isinstance(part, torch.nn.Module):
            _for_disk(part, dtype).save_pretrained(
                str(folder / name), safe_serialization=True, max_shard_size=max_shard_size
            )
        elif part is not None:
            part.save_pretrained(str(folder / name))
    text = json.dumps(index | (extra or {}), indent=2, sort_keys=True) + "\n"
    (folder / "model_index.json").write_text(text, encoding="utf-8")


def _for_disk(model: torch.nn.Module, dtype: torch.dtype | None) -> Any:
    """The model itself, or a copy in ``dtype`` and in the plain memory layout that safetensors wants."""
    if dtype in (None, model.dtype) and all(weight.is_contiguous() for weight in model.state_dict().values()):
        return model
    return torch.nn.Module.to(copy.deepcopy(model), dtype=dtype, memory_format=torch.contiguous_format)


def _library_and_class(name: str, part: Any) -> tuple[str, str]:
    if name == "safety_checker":
        return "stable_diffusion", type(part).__name__
    if name == "feature_extractor":
        return "transformers", "CLIPImageProcessor"
    return ("diffusers" if name in ("unet", "vae", "scheduler") else "transformers"), type(part).__name__
