"""The files of the talks' media: each content once, lossless, named by its sha256; a copy for browsers where needed.

Knows no talk and no owner. A file is first written under a temporary name and put in its place within the database's
transaction that refers to it, so that no clean-up sees it as left over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from ..content import Audio, Image, Media, Video
from ..errors import LimitError, MediaError
from ..media import Limits, encode_lossless, write_audio, write_image, write_video
from ..media.decoding import Request, decode, to_grid
from .media_files import LARGEST_SHOWN, SHOWN_SIDE

_OLD_SECONDS = 3600.0  # a temporary file of this age belongs to nobody any more
_LIMITS = Limits(
    bytes=2**33,
    pixels=2**31,
    side=2**20,
    audio_seconds=1e6,
    video_seconds=1e6,
    video_frames=1_000_000,
    sample_rate=2**31,
    decode_seconds=120,
    unpacked_bytes=2**33,
)
"""For reading back: what is in the folder has passed its limits before it came in."""


@dataclass(frozen=True)
class StoredMedium:
    """What the database knows of a medium. ``fps``: of a clip, exactly; MP4 holds it only nearly."""

    sha256: str
    kind: str
    suffix: str
    fps: float | None
    generated: bool


@dataclass(frozen=True)
class Written:
    """A medium's file before it is in its place."""

    medium: StoredMedium
    temporary: Path
    size: int


class MediaFolder:
    """Media files in ``root/ab/<sha256>.<suffix>``. ``min_free_bytes``: room on the disk that is left to others."""

    def __init__(self, root: Path, min_free_bytes: int = 0) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes
        self._known: weakref.WeakValueDictionary[str, Media] = weakref.WeakValueDictionary()

    def write(self, media: Media, generated: bool) -> Written:
        """Encodes a medium without loss. Raises LimitError where the disk is too full, MediaError if it fails."""
        self._check_room(0)
        suffix, data = encode_lossless(media, generated)
        self._known[media.sha256] = media
        fps = float(media.fps) if isinstance(media, Video) else None
        stored = StoredMedium(media.sha256, media.kind, suffix, fps, generated)
        return Written(stored, self._temporary(data), len(data))

    def place(self, written: Written) -> None:
        """Puts a written file in its place; to be called within the transaction that stores its row."""
        with _storing():
            for copy in self._copies(written.medium):  # one made before the medium was marked as generated
                copy.unlink(missing_ok=True)
        self.move(written.temporary, self.path(written.medium))

    def drop(self, written: Written) -> None:
        """Removes the temporary file, where it is still there."""
        _drop(written.temporary)

    def path(self, medium: StoredMedium) -> Path:
        return self.root / medium.sha256[:2] / f"{medium.sha256}{medium.suffix}"

    def read(self, medium: StoredMedium) -> Media:
        """The same values that were written. Raises MediaError for a file that is not there or has changed."""
        known = self._known.get(medium.sha256)
        if known is not None:
            return known
        path = self.path(medium)
        try:
            media = _decode(path, medium)
        except MediaError:
            raise
        except Exception as error:  # the readers raise what they please on damaged files
            raise MediaError(f"The stored file {path} could not be read: {error}. Put back a backup of it.") from error
        if media.sha256 != medium.sha256:
            raise MediaError(f"The stored file {path} has been changed. Put back a backup of it.")
        self._known[medium.sha256] = media
        return media

    def shown(self, medium: StoredMedium) -> Path:
        """The file that a browser is given: the file itself where browsers show it well, else a copy of it, which
        may not be there yet (see :meth:`write_shown`)."""
        return next(iter(self._copies(medium)), self.path(medium))

    def _copies(self, medium: StoredMedium) -> list[Path]:
        return list(self.path(medium).parent.glob(f"{medium.sha256}.shown.*"))

    def needs_copy(self, medium: StoredMedium) -> bool:
        """Whether browsers need a copy that is not there: of clips (lossless H.264 does not play in them), large
        pictures and sounds off the 16-bit grid. Raises MediaError as :meth:`read` does."""
        if self.shown(medium) != self.path(medium):
            return False
        if medium.kind == "image":
            with PIL.Image.open(self.path(medium), formats=("PNG",)) as picture:  # reads the header only
                return max(picture.size) > LARGEST_SHOWN
        if medium.kind == "video":
            return True
        media = self.read(medium)
        return isinstance(media, Audio) and not np.array_equal(to_grid(media.samples), media.samples)

    def write_shown(self, medium: StoredMedium) -> tuple[Path, Path, int]:
        """(temporary path, its place, bytes) of a browser's copy; :meth:`move` puts it in its place."""
        self._check_room(0)
        media = self.read(medium)
        if isinstance(media, Image):
            picture = media.to_pil()
            picture.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
            suffix, data = ".png", write_image(picture, None, medium.generated)
        elif isinstance(media, Audio):
            suffix, data = ".wav", write_audio(media, None, medium.generated)
        else:
            scale = max(1, -(-SHOWN_SIDE // min(media.frames.shape[1:3])))
            suffix, data = ".mp4", write_video(media, None, medium.generated, scale=scale, smooth=True)
        place = self.path(medium).with_name(f"{medium.sha256}.shown{suffix}")
        return self._temporary(data or b""), place, len(data or b"")

    def move(self, temporary: Path, place: Path) -> None:
        """Raises LimitError where the disk does not take it."""
        with _storing():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(temporary, place)

    def remove(self, sha256: str) -> None:
        """Deletes a medium's file and its copy."""
        self._known.pop(sha256, None)
        for path in list((self.root / sha256[:2]).glob(f"{sha256}.*")):
            path.unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> list[int]:
        """Deletes files of no known sha256 and old temporary ones, to be called within a transaction; their sizes."""
        sizes = []
        for path in list(self.root.rglob("*")):
            if path.is_dir() or path.name.partition(".")[0] in known:
                continue
            facts = path.stat()
            if not path.name.endswith(".tmp") or time.time() - facts.st_mtime > _OLD_SECONDS:
                path.unlink(missing_ok=True)
                sizes.append(facts.st_size)
        return sizes

    def _check_room(self, size: int) -> None:
        with _storing():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free - size
        if free < self.min_free_bytes:
            raise LimitError(
                f"The server's disk is nearly full ({max(0, free) / 1e6:.0f} MB free; {self.min_free_bytes / 1e6:.0f} "
                "MB must stay free), so no more pictures, sounds or clips are kept. Delete old talks."
            )

    def _temporary(self, data: bytes) -> Path:
        self._check_room(len(data))
        path = self.root / f".{uuid.uuid4().hex}.tmp"
        try:
            with _storing(), os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except LimitError:
            _drop(path)
            raise
        return path


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LimitError(f"A medium could not be stored: {error}. Check the server's disk.") from error


def _drop(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # what is left over, a clean-up takes
        temporary.unlink(missing_ok=True)


def _decode(path: Path, medium: StoredMedium) -> Media:
    """As ``media.read_exact``, without its child process: these files are our own."""
    if not path.is_file():
        raise MediaError(f"The stored file {path} is missing. Put back a backup of it.")
    if medium.kind == "image":
        with PIL.Image.open(path, formats=("PNG",)) as picture:
            return Image(np.asarray(picture.convert("RGB")).copy())
    with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
        output = Path(folder, "content.raw")
        facts = decode(Request(str(path), path.name, str(output), _LIMITS, exact=True))
        array = np.fromfile(output, dtype=facts["dtype"]).reshape(facts["shape"])
    if medium.kind == "audio":
        return Audio(array, facts["rate"])
    return Video(array, float(medium.fps or facts["fps"]))
