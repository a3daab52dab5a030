"""A folder that is there whole or not at all: made beside its place, then moved into it."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..checkpoints.manifest import check_replaceable
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
    check_place(out, inputs)
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


def check_space(folder: Path, needed: int, what: str, instead: str = "choose another folder with --out") -> None:
    """Raises CheckpointError where ``needed`` bytes do not fit on the disk of ``folder`` (which need not exist).
    ``instead``: what else than freeing space helps."""
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    if needed * _MARGIN > free:
        raise CheckpointError(
            f"{what} takes {in_words(needed)}, but the disk of {place} has {in_words(free)} free. "
            f"Free some space, or {instead}."
        )


def in_words(size: float) -> str:
    """A number of bytes for people: 13.5 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def check_place(out: Path, inputs: Iterable[Path] = ()) -> None:
    """Raises CheckpointError where `whole_folder` would."""
    if not out.exists():
        return
    if not out.is_dir():
        raise CheckpointError(f"{out} is a file; give a folder with --out.")
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise CheckpointError(
                f"{path} lies inside {out}, which will be replaced. Move it elsewhere, or choose another --out."
            )
    check_replaceable(out)


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
