"""The saved form of a conversation: a ZIP file of one JSON document and lossless media named by sha256.

Such a file may come from anyone: nothing in it is unpacked to a path of its choosing, sizes are checked before
reading, media are decoded as uploads are, and every hash is checked.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..content import Media, Video, array_of, storable
from ..errors import LimitError, MediaError
from ..media import Limits, encode_lossless, read_exact
from ..media.decoding import sniff
from ..media.writing import replacing

DOCUMENT = "conversation.json"
_SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}
_FORMATS = {"image": "PNG", "audio": "wav", "video": "mov"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
FORMAT_VERSION = 1
_DOCUMENT_BYTES = 32_000_000
_TOTAL_BYTES = 2_000_000_000
_MEDIUM_BYTES = 1_000_000_000
_LIMITS = Limits(
    bytes=_MEDIUM_BYTES,
    pixels=200_000_000,
    side=65_536,
    audio_seconds=1e6,
    video_seconds=1e6,
    video_frames=100_000,
    sample_rate=2**31,
    decode_seconds=120,
    unpacked_bytes=_MEDIUM_BYTES,
)
"""Looser than for uploads: generated media and values made by programs are in here too."""


def check_version(document: Any) -> None:
    """Raises ValueError where there is no version, MediaError for one newer than this program."""
    version = document.get("version") if isinstance(document, Mapping) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"a conversation is a mapping with a version, not {str(document)[:100]!r}")
    if version > FORMAT_VERSION:
        raise MediaError(
            f"This conversation has format version {version}; this program reads up to {FORMAT_VERSION}. "
            "Update the program."
        )


def plain(value: Any) -> Any:
    """A copy of JSON-able facts with numpy's numbers as Python's."""
    return json.loads(json.dumps(value, default=_number))


def _number(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise ValueError(f"{value!r} cannot be saved as JSON")


def save(path: str | os.PathLike, document: Mapping[str, Any], media: Mapping[str, Media], generated: set[str]) -> None:
    """Writes the ZIP file atomically. ``generated``: hashes of the media to mark as AI-generated.

    Raises MediaError where the place cannot be written, LimitError for what ``load`` would refuse: a medium over 1 GB,
    media that take over 2 GB in memory together, words over 32 MB.
    """
    written = storable(json.dumps(document, ensure_ascii=False, indent=1)).encode()
    together = sum(array_of(medium).nbytes for medium in media.values())
    if together > _TOTAL_BYTES or len(written) > _DOCUMENT_BYTES:
        raise _too_large("This conversation", together + len(written))
    try:
        with (
            replacing(path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file,
        ):
            file.writestr(DOCUMENT, written)
            for digest, medium in media.items():
                if array_of(medium).nbytes > _MEDIUM_BYTES:
                    raise LimitError(f"A {medium.kind} of {array_of(medium).nbytes / 1e9:.1f} GB is too large to save.")
                suffix, data = encode_lossless(medium, digest in generated)
                stored = zipfile.ZIP_DEFLATED if suffix == ".wav" else zipfile.ZIP_STORED
                file.writestr(f"media/{digest}{suffix}", data, stored)
    except OSError as error:
        raise MediaError(f"The conversation could not be saved to {path}: {error}. Choose another place.") from error


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Media]]:
    """The JSON document and the media that it refers to, by sha256.

    Raises MediaError for a file that cannot be read, is not ours or damaged, LimitError for one that is too large.
    """
    try:
        with zipfile.ZipFile(path) as file:
            _check_sizes(path, file)
            document = json.loads(file.read(DOCUMENT))
            check_version(document)
            media, left = {}, _TOTAL_BYTES
            for part in _media_parts(document):
                media[part["sha256"]] = medium = _medium(path, file, part, left)
                left -= array_of(medium).nbytes
            return document, media
    except (LimitError, MediaError):
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{Path(path).name} was not found. Check its path.") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise not_a_conversation(path, str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise not_a_conversation(path, f"{type(error).__name__}: {error}") from error


def not_a_conversation(path: str | os.PathLike, reason: str) -> MediaError:
    return MediaError(
        f"{Path(path).name} is not a saved conversation, or it is damaged ({reason[:200]}). "
        "Choose a .zip file that was saved by this program."
    )


def _check_sizes(path: str | os.PathLike, file: zipfile.ZipFile) -> None:
    entries = file.infolist()
    total = sum(entry.file_size for entry in entries)
    document = next((entry.file_size for entry in entries if entry.filename == DOCUMENT), 0)
    if total > _TOTAL_BYTES or document > _DOCUMENT_BYTES:
        raise _too_large(Path(path).name, total)


def _too_large(name: str, size: int) -> LimitError:
    return LimitError(
        f"{name} unpacks to {size / 1e6:.0f} MB or more; a saved conversation may have at most "
        f"{_TOTAL_BYTES / 1e6:.0f} MB, {_DOCUMENT_BYTES / 1e6:.0f} MB of it words. Save a shorter one."
    )


def _media_parts(document: Any) -> list[dict[str, Any]]:
    parts = [part for turn in document["turns"] for part in turn["parts"] if part["type"] in _SUFFIXES]
    return list({part["sha256"]: part for part in parts}.values())


def _medium(path: str | os.PathLike, file: zipfile.ZipFile, part: dict[str, Any], left: int) -> Media:
    """One medium, of at most ``left`` bytes in memory: a few MB of silence or of one colour may stand for many GB."""
    digest, kind = part["sha256"], part["type"]
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a content hash")
    name = f"media/{digest}{_SUFFIXES[kind]}"
    data = file.read(name)  # zipfile stops at the stated size, which has been checked, and compares the checksum
    _, data_format = sniff(data[:4096])
    if data_format != _FORMATS[kind]:
        raise not_a_conversation(path, f"{name} looks like {data_format}")
    limits = replace(_LIMITS, unpacked_bytes=min(left, _LIMITS.unpacked_bytes))
    try:
        medium = read_exact(data, limits=limits, name=f"{Path(path).name}: {name}")
    except LimitError as error:
        if limits == _LIMITS:
            raise
        raise _too_large(Path(path).name, _TOTAL_BYTES) from error
    if kind == "video" and isinstance(medium, Video):
        medium = Video(medium.frames, float(part["fps"]))
    if medium.kind != kind or medium.sha256 != digest:
        raise not_a_conversation(path, f"{name} is not what the conversation refers to")
    return medium
