"""A checkpoint's folder to a NextGPTModel, and the memory that it takes."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..decoders import DECODERS
from ..errors import CheckpointError
from ..imagebind import ImageBind, load_imagebind
from ..known_world import KnownWorld
from ..language_model import LanguageModel
from ..language_model.quantization import quantize
from ..model import NextGPTModel
from ..projections import (
    InputProjectionConfig,
    OutputProjectionConfig,
    build_input_projection,
    build_output_projection,
)
from .devices import choose_device, choose_dtype
from .finding import component_folder
from .integrity import check_files
from .manifest import Manifest
from .offloading import OffloadedDecoder, OffloadedEncoder, out_of_memory_in_words
from .planning import PLANS, MemoryPlan

PROJECTIONS_FILE = "projections.safetensors"


def load_model(
    folder: str | Path,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    kinds: Collection[str] | None = None,
    *,
    local_files_only: bool = False,
    trainable_adapter: bool = False,
    plan: MemoryPlan | None = None,
) -> tuple[NextGPTModel, Manifest]:
    """The model of a checkpoint's folder, in eval mode, frozen, and its manifest.

    ``kinds``: the decoders to load (None = all; output projections are always loaded). ``plan``: fewer bits for the
    language model, parts that wait in main memory (None = neither); ``dtype`` is the precision of everything else.
    Raises CheckpointError that names the file or component which is missing, corrupt or does not fit.
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    check_files(folder)
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    places = part_folders(folder, manifest, kinds, local_files_only)
    plan = plan or PLANS["fp32" if dtype == torch.float32 else "bf16"]
    with quiet(), out_of_memory_in_words(plan.name):
        model = _build(folder, manifest, places, device, dtype, trainable_adapter, plan)
    for name in ("input_projection", "output_projection"):
        getattr(model, name).to("cpu" if plan.language_model_on_cpu else device, dtype)
    model.eval()
    if not trainable_adapter:
        model.requires_grad_(False)
    return model, manifest


def _build(
    folder: Path,
    manifest: Manifest,
    places: dict[str, Path],
    device: torch.device,
    dtype: torch.dtype,
    trainable_adapter: bool,
    plan: MemoryPlan,
) -> NextGPTModel:
    waiting = torch.device("cpu") if plan.offload else device
    language_model = LanguageModel.from_folder(
        places["language_model"],
        places.get("adapter"),
        signal_tokens=manifest.signals,
        device="cpu" if plan.bits is not None or plan.language_model_on_cpu else device,
        dtype=dtype,
        trainable=trainable_adapter,
    )
    if plan.bits is not None:
        quantize(language_model.network, plan.bits, device)
        language_model.network.to(device)
    imagebind = load_imagebind(places["imagebind"], dtype, waiting)
    inputs, outputs = _projections(folder, manifest, imagebind, language_model)
    decoders = {
        kind: DECODERS[kind].from_folder(places[f"{kind}_decoder"], waiting, dtype)
        for kind in manifest.kinds
        if f"{kind}_decoder" in places
    }
    for kind, decoder in decoders.items():
        config = outputs[kind].config
        made = (config.out_dim,) if config.num_out == 1 else (config.num_out, config.out_dim)
        if made != decoder.conditioning_shape:
            raise CheckpointError(
                f"The {kind} decoder of {folder} takes conditioning {decoder.conditioning_shape}, its output "
                f"projection makes {made}. They do not belong together; fetch or import the checkpoint again."
            )
    if not plan.offload:
        return NextGPTModel(imagebind, inputs, language_model, outputs, decoders)
    visiting = {kind: OffloadedDecoder(decoder, device) for kind, decoder in decoders.items()}
    return NextGPTModel(OffloadedEncoder(imagebind, device), inputs, language_model, outputs, visiting)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries' progress bars and remarks on configurations off: a dozen small parts are loaded in a second."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    bars = [part for part in (of_diffusers, of_transformers) if part.is_progress_bar_enabled()]
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for part in bars:
        part.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for part in bars:
            part.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def load_known_world(folder: str | Path, manifest: Manifest) -> KnownWorld | None:
    """The reference for unknown media, if the manifest names one."""
    return None if manifest.unknown_media is None else KnownWorld.load(Path(folder, manifest.unknown_media.reference))


def part_folders(
    folder: Path, manifest: Manifest, kinds: Collection[str] | None = None, local_files_only: bool = False
) -> dict[str, Path]:
    """Folder of every part that the checkpoint has, by name. Raises CheckpointError for one that is missing."""
    wanted = ["language_model", "imagebind"]
    wanted += [f"{kind}_decoder" for kind in manifest.kinds if kinds is None or kind in kinds]
    if "adapter" in manifest.components or (folder / "adapter").is_dir():
        wanted.insert(1, "adapter")
    places = {}
    for part in wanted:
        places[part] = component_folder(folder, manifest.component(part), local_files_only)
        if not places[part].is_dir() and "sources" in manifest.extra:
            raise CheckpointError(
                f"The weights of {manifest.name} are not here yet ({places[part]} is missing). Fetch them with "
                f"`python -m nextgpt_chat download {folder.name}`, or convert your own copies with `import-checkpoint`."
            )
        if not places[part].is_dir():
            raise CheckpointError(
                f"{places[part]} is missing: {manifest.name} needs its {part.replace('_', ' ')}. "
                "Fetch the checkpoint again, or train that part."
            )
    return places


# --- projections -----------------------------------------------------------------------------------------------


def read_projections(folder: Path) -> dict[str, Tensor]:
    """The tensors of ``projections.safetensors`` or of the shards that its index names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / PROJECTIONS_FILE
    index = folder / f"{PROJECTIONS_FILE}.index.json"
    names = [path]
    if index.is_file():
        names = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    state: dict[str, Tensor] = {}
    for name in names:
        if not name.is_file():
            raise CheckpointError(f"{name} is missing. Fetch the checkpoint again.")
        try:
            state |= load_file(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{name} could not be read: {error}. Fetch the checkpoint again.") from error
    return state


def _projections(
    folder: Path, manifest: Manifest, imagebind: ImageBind, language_model: LanguageModel
) -> tuple[torch.nn.Module, dict[str, Any]]:
    state, where = read_projections(folder), folder / PROJECTIONS_FILE
    inputs = _input_projection(manifest, imagebind.config.embedding_dim, language_model.width)
    _fill(inputs, _below(state, "input_projection."), where, "input_projection")
    outputs = {}
    for kind in manifest.kinds:
        name = f"output_projection.{kind}"
        own = _below(state, name + ".")
        try:
            config = OutputProjectionConfig.from_state(
                own,
                num_in=manifest.signal_tokens[kind],
                mode=manifest.output_mode(kind),
                heads=manifest.output_heads(kind),
            )
            outputs[kind] = build_output_projection(config)
        except (KeyError, ValueError, AssertionError) as error:
            raise CheckpointError(
                f"{where} holds no {manifest.output_mode(kind)} projection under {name} ({error!r}). "
                "Compare the manifest's projections and output_config, or fetch the checkpoint again."
            ) from error
        for key, has, needs in (
            ("output_tokens", config.num_out, manifest.output_tokens[kind]),
            ("signal_tokens", config.num_in, manifest.signal_tokens[kind]),
            ("language model width", config.in_dim, language_model.width),
        ):
            if has != needs:
                raise CheckpointError(f"{where}: {name} is made for {key} {has}, but the checkpoint has {needs}.")
        _fill(outputs[kind], own, where, name)
    return inputs, outputs


def _input_projection(manifest: Manifest, in_dim: int, out_dim: int) -> torch.nn.Module:
    sizes = {key: tuple(v) if isinstance(v, (list, tuple)) else v for key, v in manifest.input_config.items()}
    try:
        return build_input_projection(InputProjectionConfig(in_dim, out_dim, manifest.projections["input"], **sizes))
    except ValueError as error:
        raise CheckpointError(f"The manifest of {manifest.name} has an unusable input_config: {error}.") from error


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _fill(module: torch.nn.Module, state: dict[str, Tensor], where: Path, name: str) -> None:
    try:
        module.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{where} does not fit {name}: {reason}. Fetch the checkpoint again.") from error


# --- memory ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComponentSize:
    """``parameters`` of a component, its ``disk_bytes``, and ``memory_bytes`` in the precision it would be used in."""

    name: str
    parameters: int
    disk_bytes: int
    memory_bytes: int


def memory_plan(folder: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"):
    """Sizes of every component that is on this machine, read from the headers of its files: list[ComponentSize]."""
    from safetensors import safe_open

    from .integrity import weight_files

    folder = Path(folder)
    manifest = Manifest.load(folder)
    width = choose_dtype(dtype, choose_device(device)).itemsize
    places = {name: [path] for name, path in part_folders(folder, manifest, local_files_only=True).items()}
    places["projections"] = sorted(folder.glob("projections*.safetensors"))
    plan = []
    for name, paths in places.items():
        files = weight_files(paths)
        parameters = 0
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                parameters += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        disk = sum(file.stat().st_size for file in files)
        plan.append(ComponentSize(name, parameters, disk, parameters * width))
    return plan
