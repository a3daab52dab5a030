"""Writing safetensors as a stream: a few megabytes are in memory, whatever the shards weigh.

The format is a length, a JSON header and the tensors' bytes, so that shapes and dtypes are all that must be known
before the first tensor is read. Readers see ordinary safetensors files with the usual index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError

MAX_SHARD = 2_000_000_000
"""Bytes of the largest weight file, unless one tensor is larger."""

_CHUNK = 2_000_000  # elements that are converted at a time
_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Entry:
    """One tensor to be written. ``read`` gives it as one or several tensors of ``shape``: they are added up, in
    ``dtype``, piece by piece."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Sequence[Tensor]]
    dtype: torch.dtype = torch.float16

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def total_bytes(entries: Iterable[Entry]) -> int:
    return sum(entry.bytes for entry in entries)


def plan_shards(entries: Sequence[Entry], max_shard: int = MAX_SHARD) -> list[list[Entry]]:
    """Entries in their order, as many in a shard as fit."""
    shards: list[list[Entry]] = [[]]
    for entry in entries:
        if shards[-1] and total_bytes(shards[-1]) + entry.bytes > max_shard:
            shards.append([])
        shards[-1].append(entry)
    return shards


def write_tensors(
    folder: Path,
    stem: str,
    entries: Sequence[Entry],
    max_shard: int = MAX_SHARD,
    done: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Writes ``stem.safetensors`` into ``folder``, or shards with their index. ``done(n, of)`` follows each tensor.

    Raises CheckpointError for a tensor that is not of its announced shape or holds values that are no numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(entries, max_shard)
    weight_map, count = {}, 0
    for number, shard in enumerate(shards, 1):
        suffix = f"-{number:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        path = folder / f"{stem}{suffix}.safetensors"
        with path.open("wb") as file:
            file.write(_header(shard))
            for entry in shard:
                _write(file, entry)
                count += 1
                done(count, len(entries))
        weight_map |= {entry.name: path.name for entry in shard}
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_bytes(entries)}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _header(shard: Iterable[Entry]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in shard:
        end = offset + entry.bytes
        header[entry.name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(file: BinaryIO, entry: Entry) -> None:
    tensors = entry.read()
    for tensor in tensors:
        if tuple(tensor.shape) != entry.shape:
            raise CheckpointError(f"{entry.name} is {tuple(tensor.shape)}, but {entry.shape} was announced.")
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    for start in range(0, math.prod(entry.shape), _CHUNK):
        piece = flat[0][start : start + _CHUNK].to(entry.dtype)
        for other in flat[1:]:
            piece = piece + other[start : start + _CHUNK].to(entry.dtype)
        if piece.is_floating_point() and not torch.isfinite(piece).all():
            raise CheckpointError(
                f"{entry.name} holds values that are no numbers in {str(entry.dtype).removeprefix('torch.')}: the "
                "file it comes from is corrupt, or belongs to another model. Download it again."
            )
        file.write(memoryview(piece.contiguous().view(torch.uint8).numpy()))
