"""Named tensors of foreign weight files, read one at a time. Knows no model.

PyTorch's pickles are read with ``weights_only=True`` (no code in them can run) and mapped, safetensors are mapped:
nothing is in memory before it is asked for.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import CheckpointError

# Mapped pages that were read count as this process's memory; a new mapping forgets them.
REMAP_AFTER = 64_000_000
_NAMES = ("model.safetensors", "pytorch_model.bin")
_STARTS = {b"version https://git-lfs": "is a Git LFS pointer, not the file itself", b"<": "is a web page, not weights"}


@dataclass(frozen=True)
class Facts:
    """What is known of a tensor without reading it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path


class TensorSource:
    """The tensors of one file or of a folder with shards. ``facts``: name → shape, dtype, file.

    ``what`` is the user's word for it in messages. One file is open at a time; ``get`` gives a tensor that belongs to
    it. Raises CheckpointError for what is missing, truncated, corrupt, or holds anything but tensors.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = Path(path), what
        self.files = weight_files(self.path, what)
        self._open: Path | None = None
        self._tensors: Mapping[str, Any] = {}
        self._read = 0
        self.facts: dict[str, Facts] = {}
        for file in self.files:
            check_whole(file, what)
            self._use(file)
            with _readable(file, what):
                self.facts |= {name: Facts(*self._fact(name), file) for name in self._tensors.keys()}  # noqa: SIM118
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self.facts

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: fact.shape for name, fact in self.facts.items()}

    def get(self, name: str) -> Tensor:
        """One tensor, on the CPU, as stored. Let go of it before asking for many more."""
        fact = self.facts[name]
        size = math.prod(fact.shape) * fact.dtype.itemsize
        if self._read + size > REMAP_AFTER:
            self.close()
        self._use(fact.file)
        with _readable(fact.file, self.what):
            tensor = self._tensors.get_tensor(name) if _is_safe(fact.file) else self._tensors[name]
        self._read += size
        return tensor.detach()

    def close(self) -> None:
        self._open, self._tensors, self._read = None, {}, 0

    def _use(self, file: Path) -> None:
        if self._open == file:
            return
        self.close()
        with _readable(file, self.what):
            self._tensors = _open_safe(file) if _is_safe(file) else _open_pickle(file, self.what)
        self._open = file

    def _fact(self, name: str) -> tuple[tuple[int, ...], torch.dtype]:
        if _is_safe(self._open):
            part = self._tensors.get_slice(name)
            return tuple(part.get_shape()), _SAFE_DTYPES[part.get_dtype()]
        tensor = self._tensors[name]
        return tuple(tensor.shape), tensor.dtype


def facts_of(file: Path) -> dict[str, Facts]:
    """What is in one weight file. Raises CheckpointError."""
    with TensorSource(file, file.name) as source:
        return source.facts


_SAFE_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def weight_files(path: Path, what: str) -> list[Path]:
    """The weight file, or the shards of a folder, safetensors before pickles. Raises CheckpointError."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CheckpointError(f"{what}: {path} does not exist. Give the file or folder that holds the weights.")
    for name in _NAMES:
        index = path / f"{name}.index.json"
        if index.is_file():
            return _shards(index, what)
        if (path / name).is_file():
            return [path / name]
    raise CheckpointError(
        f"{what}: {path} holds no weights ({', '.join(_NAMES)}, or their index). Download the whole folder."
    )


def check_whole(file: Path, what: str) -> None:
    """Raises CheckpointError for a file that was cut off in its download, or is something else altogether."""
    try:
        with file.open("rb") as opened:
            start = opened.read(64)
    except OSError as error:
        raise CheckpointError(f"{what}: {file} could not be read: {error}.") from error
    if not start:
        raise CheckpointError(f"{what}: {file} is empty. Download it again.")
    for sign, complaint in _STARTS.items():
        if start.lstrip().startswith(sign):
            raise CheckpointError(f"{what}: {file} {complaint}. Download it again.")
    if not start.startswith(b"PK\x03\x04"):
        return
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{what}: {file} is truncated: it begins like PyTorch's files, but its end is missing "
            f"({file.stat().st_size} bytes are there). Download it again."
        )
    try:
        _check_sums(file)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise CheckpointError(f"{what}: {file} is corrupt ({error}). Download it again.") from error


def _check_sums(file: Path) -> None:
    """Compares every entry with the checksum in its directory (0: the writer computed none)."""
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.CRC:
                with archive.open(entry) as data:
                    while data.read(1 << 22):
                        pass


def _shards(index: Path, what: str) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{what}: {index} is no index of shards ({error!r}). Download it again.") from error
    if stray := [name for name in names if Path(name).name != name]:
        raise CheckpointError(f"{what}: {index} names {stray[0]}, which is outside its folder.")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(
            f"{what}: {missing[0]} is missing in {index.parent} ({len(missing)} of {len(names)} shards are). "
            "Download the whole folder."
        )
    return [index.parent / name for name in names]


def _is_safe(file: Path | None) -> bool:
    return file is not None and file.suffix == ".safetensors"


def _open_safe(file: Path) -> Any:
    from safetensors import safe_open

    return safe_open(file, framework="pt").__enter__()


def _open_pickle(file: Path, what: str) -> Mapping[str, Tensor]:
    # PyTorch's format from before 1.6 is no archive and cannot be mapped.
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{what}: {file} holds a {type(state).__name__}, not named tensors.")
    if strange := [str(name) for name, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{what}: {file} holds more than tensors: {', '.join(sorted(strange)[:3])}.")
    return state


@contextmanager
def _readable(file: Path, what: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported" in reason or "GLOBAL" in reason or "REDUCE" in reason or "not an allowed" in reason:
            raise CheckpointError(
                f"{what}: {file} is refused: it is a pickle with code or objects in it, and weights need neither. "
                "Nothing of it was run. Get the file from its authors; if it is your own, save a plain dictionary of "
                "tensors, or safetensors."
            ) from error
        raise CheckpointError(
            f"{what}: {file} is no file of weights ({' '.join(reason.split())[:160]}). Download it again."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{what}: {file} could not be read ({reason}): truncated or corrupt. Download it again."
        ) from error
