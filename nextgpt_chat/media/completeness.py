"""How many bytes a file lacks by its own account: the lengths that its boxes, elements or chunks state."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_EBML_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
_BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide uuid sidx ssix mfra meta udta pdin pnot emsg prft junk PICT".split()
)
_NO_LENGTH = 0x7FFF0000  # programs that write to a pipe state a length from here on


def missing_bytes(path: Path, demuxer: str) -> int | None:
    """0 for a whole file, None where it does not state its length (live recordings, other formats than MP4, MOV,
    Matroska, WebM and WAV)."""
    read_end = {"mov": _end_of_boxes, "matroska": _end_of_segment, "wav": _end_of_samples}.get(demuxer)
    if read_end is None:
        return None
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = read_end(file, size)
    return None if end is None else max(0, end - size)


def _end_of_boxes(file: BinaryIO, size: int) -> int | None:
    position, seen = 0, set[bytes]()
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind not in _BOXES:  # after the last box padding and tags, which players ignore; before it, who knows
            return position if {b"moov", b"mdat"} <= seen or b"moof" in seen else None
        seen.add(kind)
        if length == 1:
            extended = file.read(8)
            length = struct.unpack(">Q", extended)[0] if len(extended) == 8 else 16
        elif length == 0:  # to the end of the file
            return None
        if length < 8:
            return position
        position += length
    return position


def _end_of_segment(file: BinaryIO, size: int) -> int | None:
    """Matroska is one header and one segment, in which everything is."""
    while file.tell() < size:
        kind, length = _variable(file, keep_marker=True), _variable(file)
        if length is None or kind not in (_EBML_HEADER, _SEGMENT):
            return None
        if kind == _SEGMENT:
            return file.tell() + length
        file.seek(length, os.SEEK_CUR)
    return None


def _end_of_samples(file: BinaryIO, size: int) -> int | None:
    """Of a WAV's data chunk: what comes after it is tags, and the length of the whole is often a few bytes wrong."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        position += 8 + length
        if name == b"data":
            return position if length < _NO_LENGTH else None
        position += length % 2
    return None


def _variable(file: BinaryIO, *, keep_marker: bool = False) -> int | None:
    """An EBML number, whose first byte's leading zeros say how many bytes follow; None for the one of all ones, which
    stands for an unknown length. With its marker it is an element's name."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    if keep_marker:
        return value
    ones = (1 << 7 * (more + 1)) - 1
    return None if value & ones == ones else value & ones
