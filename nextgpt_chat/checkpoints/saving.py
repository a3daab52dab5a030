"""A NextGPTModel to a checkpoint's folder: half precision, sharded, all or nothing."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..known_world import KnownWorld
from ..model import NextGPTModel
from .integrity import write_checksums
from .manifest import Manifest, check_replaceable

MAX_SHARD = "9MB"


def save_model(
    model: NextGPTModel,
    manifest: Manifest,
    folder: str | Path,
    dtype: torch.dtype | None = torch.float16,
    max_shard: str = MAX_SHARD,
    *,
    known_world: KnownWorld | None = None,
    card: str | None = None,
) -> Manifest:
    """Writes a whole checkpoint to ``folder``, beside it first and then in its place. Returns the manifest as written.

    ``dtype``: precision on disk (None = as in memory); ``max_shard``: the largest weight file. ``card``: text of
    README.md (None keeps the one that is there). An existing checkpoint is replaced, except its .gitignore. Raises
    CheckpointError for a folder that holds anything else or cannot be written, ValueError for a model without all parts
    of ``manifest``.
    """
    folder = Path(folder)
    manifest = _as_built(model, manifest, known_world)
    check_replaceable(folder)
    old_card = folder / "README.md"
    if card is None and old_card.is_file():
        card = old_card.read_text(encoding="utf-8")
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        aside.mkdir(parents=True)
        _write(model, manifest, aside, dtype, max_shard, known_world, card)
        if (folder / ".gitignore").is_file():
            shutil.copyfile(folder / ".gitignore", aside / ".gitignore")
        _replace(aside, folder)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written: {error}. Check the place and its free space.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest


def _as_built(model: NextGPTModel, manifest: Manifest, known_world: KnownWorld | None) -> Manifest:
    """The manifest with what the model itself knows, and with every component in the folder."""
    missing = [kind for kind in manifest.kinds if kind not in model.decoders or kind not in model.output_projection]
    if missing or model.imagebind is None:
        raise ValueError(f"the model lacks {', '.join(missing) or 'ImageBind'}, which the manifest says it has")
    configs = {kind: model.output_projection[kind].config for kind in manifest.kinds}
    if manifest.unknown_media is not None and known_world is None:
        raise ValueError("the manifest names unknown_media; give the known_world that belongs to it")
    inputs, tokens = model.input_projection.config, model.language_model.signal_tokens
    parts = ["language_model", "imagebind", *(f"{kind}_decoder" for kind in manifest.kinds)]
    if _has_adapter(model):
        parts.insert(1, "adapter")
    written = replace(
        manifest,
        signal_tokens={kind: tokens.count(kind) for kind in manifest.kinds},
        output_tokens={kind: config.num_out for kind, config in configs.items()},
        projections={"input": inputs.mode, "output": next((c.mode for c in configs.values()), "transformer")},
        input_config=inputs.sizes(),
        output_config={kind: {"mode": config.mode, "heads": config.heads} for kind, config in configs.items()},
        components={
            part: replace(manifest.component(part), path=part, repo=None, revision=None, sha256={}) for part in parts
        },
    )
    return Manifest.from_dict(written.to_dict())  # what is written can be read


def _write(
    model: NextGPTModel,
    manifest: Manifest,
    folder: Path,
    dtype: torch.dtype | None,
    max_shard: str,
    known_world: KnownWorld | None,
    card: str | None,
) -> None:
    adapter = folder / "adapter" if _has_adapter(model) else None
    model.language_model.save(folder / "language_model", adapter, dtype, max_shard)
    (folder / "imagebind").mkdir()
    imagebind: Any = model.imagebind
    imagebind.config.save(folder / "imagebind")
    _write_tensors(imagebind.state_dict(), folder / "imagebind", "model{suffix}.safetensors", dtype, max_shard)
    state = {f"input_projection.{key}": value for key, value in model.input_projection.state_dict().items()}
    for kind in manifest.kinds:
        own = model.output_projection[kind].state_dict()
        state |= {f"output_projection.{kind}.{key}": value for key, value in own.items()}
    _write_tensors(state, folder, "projections{suffix}.safetensors", dtype, max_shard)
    for kind in manifest.kinds:
        model.decoders[kind].save_folder(folder / f"{kind}_decoder", dtype=dtype, max_shard_size=max_shard)
    if manifest.unknown_media is not None and known_world is not None:
        known_world.save(folder / manifest.unknown_media.reference)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    manifest.save(folder)
    write_checksums(folder)


def _write_tensors(
    state: dict[str, Tensor], folder: Path, pattern: str, dtype: torch.dtype | None, max_shard: str
) -> None:
    from huggingface_hub import save_torch_state_dict

    cast = {
        key: value.detach().to("cpu", dtype if dtype is not None and value.is_floating_point() else None).contiguous()
        for key, value in state.items()
    }
    save_torch_state_dict(cast, folder, filename_pattern=pattern, max_shard_size=max_shard)


def _has_adapter(model: NextGPTModel) -> bool:
    return any("lora_" in name for name, _ in model.language_model.network.named_parameters())


def _replace(new: Path, folder: Path) -> None:
    """Puts ``new`` in the place of ``folder``; the old one goes only when the new one stands."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
