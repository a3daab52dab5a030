"""An untrained checkpoint around parts of one's own choice: a causal LM, an ImageBind, diffusion decoders.

What joins them is new and knows nothing: signal tokens, input and output projections, LoRA. Training stages 1 to 3
(`training.stages` with a base) teach it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoints import Component, Manifest, load_model, shipped_checkpoints, verify, write_checksums
from ..checkpoints.finding import component_folder
from ..content import MEDIA_KINDS
from ..decoders import DECODERS
from ..errors import CheckpointError
from ..imagebind import ImageBindConfig
from ..projections import (
    INPUT_MODES,
    OUTPUT_MODES,
    InputProjectionConfig,
    OutputProjectionConfig,
    build_input_projection,
    build_output_projection,
)
from ..tokens import SignalTokens
from .downloading import fetch_model_folder
from .fetching import Progress
from .media_encoder import imagebind_config, imagebind_entries
from .own_decoders import OwnDecoder, find_decoder
from .own_language_model import check_language_model, open_language_model
from .placing import check_space, whole_folder
from .shards import MAX_SHARD, write_tensors
from .tensors import TensorSource

MINI = "nextgpt-mini"
PUBLISHED_SIZES = {"transformer": (512, 4, 4, 2048), "qformer": (768, 2, 12, 3072), "linear": (0, 0, 1, 0)}
"""Output mode → hidden width, layers, heads and feed-forward width, as the paper's code has them."""


@dataclass(frozen=True)
class OwnSources:
    """``llm`` and ``decoders`` (kind → …): folders or hub repositories; ``imagebind``: a folder of ours, or the
    published file; None = the one that came with nextgpt-mini."""

    llm: str
    decoders: Mapping[str, str]
    imagebind: str | None = None


@dataclass(frozen=True)
class OwnChoices:
    """What joins the parts. ``output_sizes``: hidden width, layers, heads, feed-forward width (None = the paper's)."""

    input_projection: str = "linear"
    output_projection: str = "transformer"
    output_sizes: tuple[int, int, int, int] | None = None
    lora_rank: int = 32
    template: str = "clean"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, modes in (("input_projection", INPUT_MODES), ("output_projection", OUTPUT_MODES)):
            if getattr(self, name) not in modes:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(modes)}")
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank is {self.lora_rank}; it must be at least 1")


def new_checkpoint(
    sources: OwnSources,
    out: str | Path,
    choices: OwnChoices = OwnChoices(),
    progress: Progress = lambda what, done, of: None,
) -> Manifest:
    """Writes the untrained checkpoint ``out``, whole or not at all, and opens every part of it once.

    Raises CheckpointError: for parts that do not exist or do not fit, or an ``out`` that is there already.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists; it is left alone. Choose a new folder with --out, or move it away.")
    if not sources.decoders:
        raise CheckpointError("A checkpoint makes media: give at least one of --image, --audio and --video.")
    imagebind = _find_imagebind(sources.imagebind)
    llm = fetch_model_folder(sources.llm, None, progress)[0]
    check_language_model(llm)
    kinds = [kind for kind in MEDIA_KINDS if kind in sources.decoders]
    decoders = {kind: find_decoder(sources.decoders[kind], kind, progress) for kind in kinds}
    inputs = [llm, imagebind, *(one.folder for one in decoders.values())]
    weights = sum(path.stat().st_size for path in (*llm.glob("*.safetensors"), *llm.glob("*.bin")))
    check_space(out, weights + sum(one.bytes for one in decoders.values()), "The checkpoint")
    with whole_folder(out, inputs) as folder:
        manifest = _write(folder, out.name, sources, choices, llm, imagebind, decoders, progress)
        _verify(folder, manifest, progress)
        write_checksums(folder)
    return manifest


def _write(
    folder: Path,
    name: str,
    sources: OwnSources,
    choices: OwnChoices,
    llm: Path,
    imagebind: Path,
    decoders: Mapping[str, OwnDecoder],
    progress: Progress,
) -> Manifest:
    progress("ImageBind", 0, 1)
    media_width = _write_imagebind(imagebind, folder / "imagebind")
    signals = SignalTokens(**{kind: SignalTokens().count(kind) if kind in decoders else 0 for kind in MEDIA_KINDS})
    progress("language model", 0, 1)
    language_model = open_language_model(llm, signals, rank=choices.lora_rank, seed=choices.seed)
    width, family = language_model.width, type(language_model.causal).__name__
    language_model.save(folder / "language_model", folder / "adapter", None, f"{MAX_SHARD // 10**6}MB")
    del language_model
    for kind, decoder in decoders.items():
        progress(f"{kind} decoder", 0, 1)
        decoder.write(folder)
    with torch.random.fork_rng():
        torch.manual_seed(choices.seed)
        inputs, outputs = _projections(choices, media_width, width, signals, decoders)
    _write_projections(inputs, outputs, folder)
    components = {part: Component(part) for part in ("language_model", "adapter", "imagebind")}
    components |= {f"{kind}_decoder": decoder.component for kind, decoder in decoders.items()}
    manifest = Manifest(
        name=name,
        template=choices.template,
        modalities=("text", *decoders),
        signal_tokens={kind: signals.count(kind) for kind in decoders},
        output_tokens={kind: decoder.tokens for kind, decoder in decoders.items()},
        projections={"input": choices.input_projection, "output": choices.output_projection},
        input_config=inputs.config.sizes(),
        output_config={k: {"mode": one.config.mode, "heads": one.config.heads} for k, one in outputs.items()},
        components=components,
        summary=f"{name} is untrained: it joins parts that do not know each other yet. Train its stages 1 to 3 first.",
        extra={"untrained": True, "made_from": _names(sources, llm, family)},
    )
    manifest = Manifest.from_dict(manifest.to_dict())  # what is written can be read
    manifest.save(folder)
    return manifest


# --- parts -----------------------------------------------------------------------------------------------------


def _find_imagebind(given: str | None) -> Path:
    if given is None:
        shipped = shipped_checkpoints().get(MINI)
        if shipped is None or not (shipped / "imagebind").is_dir():
            raise CheckpointError(
                "Give an ImageBind with --imagebind: a folder of this program's, or imagebind_huge.pth. "
                f"(Without it, the one of {MINI} is taken, which is not in this copy of the program.)"
            )
        return shipped / "imagebind"
    path = Path(given)
    if not path.exists():
        raise CheckpointError(f"The ImageBind {path} does not exist. Give a folder of this program's, or the .pth.")
    if path.is_dir():
        ImageBindConfig.load(path)
        if not any(path.glob("model*.safetensors")):
            raise CheckpointError(f"{path} has no model.safetensors, so it is no ImageBind folder of this program.")
    return path


def _write_imagebind(source: Path, folder: Path) -> int:
    """Copies a folder, or converts a published file; returns the width of its embeddings."""
    folder.mkdir()
    if source.is_dir():
        for path in (source / "config.json", *source.glob("model*.safetensors*")):
            shutil.copyfile(path, folder / path.name)
        return ImageBindConfig.load(folder).embedding_dim
    with TensorSource(source, str(source)) as tensors:
        config, _ = imagebind_config(tensors.shapes, str(source))
        write_tensors(folder, "model", imagebind_entries(tensors, config, str(source)), MAX_SHARD)
    config.save(folder)
    return config.embedding_dim


def _projections(
    choices: OwnChoices, media_width: int, width: int, signals: SignalTokens, decoders: Mapping[str, OwnDecoder]
) -> tuple[Any, dict[str, Any]]:
    config = InputProjectionConfig(media_width, width)
    if choices.input_projection == "grouping":
        config = InputProjectionConfig.grouping(media_width, width)
    mode = choices.output_projection
    sizes = choices.output_sizes or PUBLISHED_SIZES[mode]
    outputs = {}
    for kind, decoder in decoders.items():
        count = signals.count(kind)
        try:
            outputs[kind] = build_output_projection(
                OutputProjectionConfig(width, decoder.width, count, decoder.tokens, mode, *sizes)
            )
        except (AssertionError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"The output projection cannot have the sizes {sizes}: {error}.") from error
    return build_input_projection(config), outputs


def _write_projections(inputs: nn.Module, outputs: Mapping[str, nn.Module], folder: Path) -> None:
    from huggingface_hub import save_torch_state_dict

    state = {f"input_projection.{key}": value for key, value in inputs.state_dict().items()}
    for kind, projection in outputs.items():
        state |= {f"output_projection.{kind}.{key}": value for key, value in projection.state_dict().items()}
    half = {key: value.detach().half().contiguous() for key, value in state.items()}
    save_torch_state_dict(half, folder, filename_pattern="projections{suffix}.safetensors", max_shard_size=MAX_SHARD)


def _names(sources: OwnSources, llm: Path, family: str) -> dict[str, str]:
    """Which parts it was made of; of local ones only the folder's name, which tells nothing about a machine."""
    given = {"language_model": sources.llm, "imagebind": sources.imagebind or f"{MINI}/imagebind"}
    given |= {f"{kind}_decoder": text for kind, text in sources.decoders.items()}
    return {part: Path(text).name if Path(text).exists() else text for part, text in given.items()} | {"class": family}


# --- verification ----------------------------------------------------------------------------------------------


def _verify(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Opens everything as a later user will, one decoder at a time. Raises CheckpointError."""
    if problems := verify(folder, hashes=False):
        raise CheckpointError(f"What was written is not whole: {problems[0].path} {problems[0].problem}.")
    for number, kinds in enumerate(((), *((kind,) for kind in manifest.kinds))):
        progress("opening it", number, 1 + len(manifest.kinds))
        if not kinds:
            shapes = _shapes(load_model(folder, "cpu", "bfloat16", kinds)[0])
            continue
        (kind,) = kinds
        component = manifest.component(f"{kind}_decoder")
        decoder = DECODERS[kind].from_folder(component_folder(folder, component), "cpu", torch.bfloat16)
        if decoder.conditioning_shape != shapes[kind]:
            raise CheckpointError(
                f"The {kind} decoder takes conditioning {decoder.conditioning_shape}, not {shapes[kind]} as its "
                "configuration says. Give another one."
            )
    progress("opening it", 1, 1)


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    configs = {kind: one.config for kind, one in model.output_projection.items()}
    return {k: (c.out_dim,) if c.num_out == 1 else (c.num_out, c.out_dim) for k, c in configs.items()}
