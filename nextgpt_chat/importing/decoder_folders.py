"""Diffusers folders: which of their files are needed, and a copy of them with safetensors in place of pickles."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ..decoders import DECODERS
from ..decoders.folder import CLASSES, read_index
from ..errors import CheckpointError
from .published import Published
from .shards import Entry, write_tensors
from .tensors import TensorSource

_MODELS = ("unet", "vae", "text_encoder", "vocoder", "safety_checker")
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
# Half precision is what the original runs in, at half the bytes; pickles are converted where there is nothing else.
_ENDINGS = (".fp16.safetensors", ".safetensors", ".bin")
_SMALL = (".json", ".txt", ".model")


def needed_files(names: Iterable[str], kind: str, where: str) -> list[str]:
    """Of the files in a diffusers folder or repository those that our decoder of ``kind`` reads: one set of weights a
    component, not every precision. Raises CheckpointError for a component without weights."""
    names = sorted(names)
    components = {"scheduler", "tokenizer", *DECODERS[kind].required, *DECODERS[kind].optional}
    if "model_index.json" not in names:
        raise CheckpointError(f"{where} has no model_index.json; the {kind} decoder must be a diffusers folder.")
    chosen = ["model_index.json"]
    for component in sorted(components):
        inside = [name for name in names if PurePosixPath(name).parent.as_posix() == component]
        small = [n for n in inside if n.endswith(_SMALL) and ".index." not in n]
        if not inside and component in DECODERS[kind].optional:
            continue
        chosen += small
        if component in _MODELS:
            chosen += _weights(component, inside, where)
    return chosen


def folder_files(folder: Path) -> list[str]:
    """Relative names of all files below ``folder``."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def check_decoder(folder: Path, kind: str, published: Published) -> list[str]:
    """The needed files of a local decoder that fits the published output projection. Raises CheckpointError."""
    if not folder.is_dir():
        raise CheckpointError(f"The {kind} decoder {folder} does not exist. Give a diffusers folder.")
    names = needed_files(folder_files(folder), kind, str(folder))
    read_index(folder)
    config, key = read_config(folder / "unet"), "cross_attention_dim"
    if kind == "audio":
        key = "projection_class_embeddings_input_dim"
    made, taken = published.outputs[kind].out_dim, config.get(key)
    if taken != made:
        raise CheckpointError(
            f"The {kind} decoder {folder} takes conditioning of width {taken}; the published {kind} projection makes "
            f"{made}. Give the decoder it was trained with."
        )
    return names


def copy_decoder(folder: Path, names: Iterable[str], out: Path) -> None:
    """Copies the files ``names`` to ``out``; weights that are pickles become safetensors."""
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".bin":
            _convert(folder / name, target)
        else:
            shutil.copyfile(folder / name, target)
    index = read_index(out)
    # Components that were not copied (none that a decoder needs) are named no longer, so that diffusers opens it too.
    known = {name: [None, None] if name in CLASSES and not (out / name).is_dir() else v for name, v in index.items()}
    (out / "model_index.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def copied_bytes(folder: Path, names: Iterable[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)


def read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is not readable JSON ({error}). Download it again.") from error
    return config if isinstance(config, dict) else {}


def _weights(component: str, names: list[str], where: str) -> list[str]:
    for ending in _ENDINGS:
        for stem in _STEMS:
            whole = f"{component}/{stem}{ending}"
            if whole in names:
                return [whole]
            if ending == ".safetensors" and f"{whole}.index.json" in names:
                shard = re.compile(rf"{re.escape(component)}/{stem}-\d+-of-\d+\.safetensors")
                return [f"{whole}.index.json", *filter(shard.fullmatch, names)]
    raise CheckpointError(f"{where} has no weights in {component}/. Download the whole folder.")


def _convert(source: Path, target: Path) -> None:
    stem = "model" if target.stem == "pytorch_model" else target.stem
    with TensorSource(source, f"the {source.parent.name}") as tensors:
        entries = [
            Entry(name, fact.shape, lambda name=name: [tensors.get(name)], fact.dtype)
            for name, fact in tensors.facts.items()
        ]
        write_tensors(target.parent, stem, entries, max_shard=10**15)
