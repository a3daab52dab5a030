"""A folder that is there whole or not at all: made beside its place, then moved into it."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..checkpoints.integrity import CHECKSUMS_FILE
from ..checkpoints.manifest import MANIFEST_FILE, PARTS, holds_something_else
from ..errors import CheckpointError

LOCK_FILE = "sources.lock.json"
CARRIED = ("README.md", ".gitignore", LOCK_FILE)
"""Files of the folder that is replaced which stay, unless the new one brings its own."""

_MARGIN = 1.02


@contextlib.contextmanager
def whole_folder(out: Path, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Gives an empty folder to write into, which takes the place of ``out`` if the block ends without an error.

    After an error or an interrupt, ``out`` is as it was and nothing else is left. Raises CheckpointError where ``out``
    is no checkpoint's folder, holds files of other kinds or one of ``inputs``, or cannot be written.
    """
    out = Path(out)
    _check_place(out, inputs)
    aside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new")
    made = [folder for folder in aside.parents if not folder.exists()]
    try:
        aside.mkdir(parents=True)
        yield aside
        for name in CARRIED:
            if (out / name).is_file() and not (aside / name).exists():
                shutil.copyfile(out / name, aside / name)
        _swap(aside, out)
    except OSError as error:
        raise CheckpointError(f"{out} could not be written: {error}. Check the place and its free space.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if not out.exists():
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises CheckpointError where ``needed`` bytes do not fit on the disk of ``folder`` (which need not exist)."""
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    if needed * _MARGIN > free:
        raise CheckpointError(
            f"{what} takes {in_words(needed)}, but the disk of {place} has {in_words(free)} free. "
            "Free some space, or choose another folder with --out."
        )


def in_words(size: float) -> str:
    """A number of bytes for people: 13.5 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def _check_place(out: Path, inputs: Iterable[Path]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise CheckpointError(f"{out} is a file; give a folder with --out.")
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise CheckpointError(
                f"{path} lies inside {out}, which will be replaced. Move it elsewhere, or choose another --out."
            )
    if holds_something_else(out):
        raise CheckpointError(f"{out} exists and is no checkpoint; it is left alone. Choose a new or empty folder.")
    names = sorted(path.name for path in out.iterdir())
    ours = {MANIFEST_FILE, CHECKSUMS_FILE, *CARRIED, *PARTS}
    if strange := [name for name in names if name not in ours and not name.startswith(("projections", ".", "known_"))]:
        raise CheckpointError(
            f"{out} holds {strange[0]}, which is no part of a checkpoint and would be lost. Move it elsewhere."
        )


def _swap(new: Path, out: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
