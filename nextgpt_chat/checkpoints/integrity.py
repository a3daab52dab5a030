"""Are a checkpoint's files whole? Checksums, readable headers, complete shards. Loads no weights.

``checksums.json`` lists bytes and SHA-256 of every file but the two that people edit (manifest and model card).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .manifest import MANIFEST_FILE

CHECKSUMS_FILE = "checksums.json"
_UNLISTED = (CHECKSUMS_FILE, MANIFEST_FILE, "README.md")
_ADVICE = "Fetch the checkpoint again; `python -m nextgpt_chat doctor --checkpoint {folder}` lists every file at fault."
HASHED_AT_LOAD = 256_000_000
"""Bytes up to which a checkpoint's weights are hashed whenever it is loaded (a fraction of a second)."""


@dataclass(frozen=True)
class Finding:
    """One file (``path`` below the checkpoint) that is not as it should be."""

    path: str
    problem: str


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(folder: str | Path) -> None:
    """Lists the files of ``folder`` as they are now in its ``checksums.json``."""
    folder = Path(folder)
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in _UNLISTED and not _hidden(path, folder)
    }
    (folder / CHECKSUMS_FILE).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")


def verify(folder: str | Path, hashes: bool = True) -> list[Finding]:
    """Every file of a checkpoint's folder that is missing, truncated, corrupt or (``hashes``) changed."""
    folder = Path(folder)
    listed = _listed(folder)
    found = [Finding(CHECKSUMS_FILE, "is not readable; the other files were not compared")] if listed is None else []
    for name, facts in (listed or {}).items():
        path = folder / name
        if not path.is_file():
            found.append(Finding(name, "is missing"))
        elif path.stat().st_size != facts["bytes"] and (hashes or _is_weights(path)):
            found.append(Finding(name, f"has {path.stat().st_size} bytes instead of {facts['bytes']}"))
        elif hashes and sha256_of(path) != facts["sha256"]:
            found.append(Finding(name, "is corrupt: its SHA-256 is not the listed one"))
    known = {one.path for one in found}
    return [*found, *(one for one in _unreadable(folder) if one.path not in known)]


def check_files(folder: str | Path) -> None:
    """As `verify`, quickly enough for every start; raises CheckpointError that names the first file at fault.

    Text files may be edited by hand: they must only be readable. Weights are hashed up to ``HASHED_AT_LOAD``.
    """
    folder = Path(folder)
    found = verify(folder, hashes=False)
    if not found:
        weights = {name: facts for name, facts in (_listed(folder) or {}).items() if _is_weights(folder / name)}
        if sum(facts["bytes"] for facts in weights.values()) <= HASHED_AT_LOAD:
            wrong = (name for name, facts in weights.items() if sha256_of(folder / name) != facts["sha256"])
            found = [Finding(name, "is corrupt: its SHA-256 is not the listed one") for name in wrong]
    _raise(folder, found)


def check_hashes(folder: Path, hashes: Mapping[str, str], limit: int | None = None) -> None:
    """Raises CheckpointError where a file of ``folder`` is missing or does not have its SHA-256.

    With more than ``limit`` bytes in all, only missing files are noticed.
    """
    found = []
    sizes = [(folder / name).stat().st_size for name in hashes if (folder / name).is_file()]
    if limit is not None and sum(sizes) > limit:
        hashes = {name: digest for name, digest in hashes.items() if not (folder / name).is_file()}
    for name, digest in hashes.items():
        if not (folder / name).is_file():
            found.append(Finding(name, "is missing"))
        elif sha256_of(folder / name) != digest.lower():
            found.append(Finding(name, "is corrupt or another version: its SHA-256 is not the manifest's"))
    _raise(folder, found)


def _raise(folder: Path, found: list[Finding]) -> None:
    if found:
        more = f" {len(found) - 1} more files are at fault." if len(found) > 1 else ""
        raise CheckpointError(f"{folder / found[0].path} {found[0].problem}.{more} {_ADVICE.format(folder=folder)}")


def _listed(folder: Path) -> dict[str, dict[str, Any]] | None:
    """The list of files; empty where there is none, None where it cannot be used."""
    path = folder / CHECKSUMS_FILE
    if not path.exists():
        return {}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        usable = all(
            isinstance(facts["bytes"], int) and isinstance(facts["sha256"], str) and ".." not in Path(name).parts
            for name, facts in listed.items()
        )
        return listed if usable else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _unreadable(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or _hidden(path, folder) or name == CHECKSUMS_FILE:
            continue
        if path.suffix == ".json":
            yield from _unreadable_json(path, name, folder)
        elif path.suffix == ".safetensors" and (reason := _broken_header(path)):
            yield Finding(name, f"is truncated or corrupt ({reason})")


def _unreadable_json(path: Path, name: str, folder: Path) -> Iterator[Finding]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Finding(name, f"is not readable JSON ({error})")
        return
    if not name.endswith(".safetensors.index.json"):
        return
    weight_map = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(weight_map, dict):
        yield Finding(name, "is no index of shards: it lacks a weight_map")
        return
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:
            yield Finding(name, f"names {shard}, which is outside its folder")
        elif not (path.parent / shard).is_file():
            yield Finding((path.parent / shard).relative_to(folder).as_posix(), "is missing")


def _broken_header(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return None
    except (OSError, SafetensorError) as error:
        return str(error)


def _is_weights(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def weight_files(folders: Iterable[Path]) -> list[Path]:
    """Every safetensors file below some folders (or the files themselves)."""
    found: list[Path] = []
    for folder in folders:
        found += [folder] if folder.is_file() else sorted(folder.rglob("*.safetensors"))
    return found
