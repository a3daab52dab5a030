"""Reading and writing ImageBind folders (config.json + safetensors) and the published ``imagebind_huge.pth``."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from .config import ImageBindConfig
from .model import ImageBind

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_UNUSED = ("depth", "thermal", "imu")
_PARTS = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")


def save_imagebind(model: ImageBind, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write ``config.json`` and ``model.safetensors`` (in ``dtype``) into ``folder``, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save(folder)
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_imagebind(
    folder: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", text: bool = True
) -> ImageBind:
    """Read a folder that ``save_imagebind`` wrote (or one sharded with an index), in eval mode.

    ``text=False`` leaves the text tower on disk. Raises CheckpointError when files are absent, corrupt or unfitting.
    """
    folder = Path(folder)
    config = ImageBindConfig.load(folder)
    state: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            state.update(load_file(path))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} could not be read: {error}. Download or build it again.") from error
    return _built(config if text else config.without_text(), state, str(folder), dtype, device)


def load_official(
    source: str | Path | Mapping[str, Tensor],
    config: ImageBindConfig | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> ImageBind:
    """The model of a published state dict or its file (``imagebind_huge.pth``), in eval mode.

    ``config`` defaults to ``ImageBindConfig.huge()``; give ``.without_text()`` to spare the text tower. Depth, thermal
    and IMU entries are ignored; anything else that is missing, unknown or misshapen raises CheckpointError.
    """
    if isinstance(source, Mapping):
        return _built(config or ImageBindConfig.huge(), source, "the ImageBind state dict", dtype, device)
    try:
        # Files of PyTorch's old format cannot be mapped.
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{source} could not be read as a PyTorch state dict: {error}") from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{source} holds a {type(state).__name__}, not a state dict.")
    return _built(config or ImageBindConfig.huge(), state, str(source), dtype, device)


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    if not index.exists():
        return [folder / WEIGHTS_FILE]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{index} could not be read as a shard index: {error!r}.") from error
    if stray := [name for name in names if Path(name).name != name]:
        raise CheckpointError(f"{index} names files outside its folder: {', '.join(stray)}.")
    return [folder / name for name in names]


def _built(
    config: ImageBindConfig,
    state: Mapping[str, Tensor],
    what: str,
    dtype: torch.dtype,
    device: str | torch.device,
) -> ImageBind:
    with torch.device("meta"):
        model = ImageBind(config)
    unused = _UNUSED if config.text_depth else (*_UNUSED, "text")
    ignored = tuple(f"{part}.{modality}." for part in _PARTS for modality in unused)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(ignored)}
    expected = model.state_dict()
    _refuse(what, "lacks", expected.keys() - state.keys())
    _refuse(what, "has unknown entries", state.keys() - expected.keys())
    _refuse(
        what,
        "has misshapen entries",
        (
            f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if state[name].shape != tensor.shape
        ),
    )
    state = {name: tensor.detach().to(device, dtype) for name, tensor in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _refuse(what: str, complaint: str, names: Iterable[str]) -> None:
    if listed := sorted(names):
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise CheckpointError(f"{what} {complaint}: {', '.join(listed[:3])}{more}. It does not fit this ImageBind.")
