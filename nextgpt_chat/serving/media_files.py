"""The files that a browser is shown: each medium of one talk or page written once, where nobody can guess."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from pathlib import Path

import numpy as np

from ..content import Audio, Image, MediaPart
from ..media import write_audio, write_image, write_video

SHOWN_SIDE = 256
"""Clips with a shorter side below this many pixels are enlarged by a whole factor: players blur tiny ones."""
LARGEST_SHOWN = 1536
"""Longest side of the shown copy of a picture in pixels; the model sees the picture itself."""

LONGEST_NAME = 60


class MediaFiles:
    """Writes media into a folder of its own under ``root``, made with the first file, gone with :meth:`remove`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / secrets.token_urlsafe(16)
        self._paths: dict[tuple[str, bool, str], Path] = {}
        self._lock = threading.Lock()

    def path_of(self, part: MediaPart) -> Path:
        """A PNG, WAV or MP4 file that shows ``part``, marked as AI-generated where it is. Raises MediaError."""
        return self._path(part, "")

    def named_path_of(self, part: MediaPart, noun: str) -> Path:
        """As :meth:`path_of`, a file to be sent: called as the medium is, else by its caption, else ``noun``."""
        said = re.sub(r"[^\w ().-]+", " ", Path(part.name).stem or part.caption)
        return self._path(part, " ".join(said.split())[:LONGEST_NAME].strip(" .") or noun)

    def _path(self, part: MediaPart, name: str) -> Path:
        key = (part.media.sha256, part.generated, name)
        with self._lock:
            if key not in self._paths:
                token = self.folder / secrets.token_urlsafe(16)
                stem = token / name if name else token
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stem.parent.mkdir(exist_ok=True)
                self._paths[key] = _write(part, stem)
            return self._paths[key]

    def remove(self) -> None:
        """Deletes the folder and all in it."""
        with self._lock:
            self._paths.clear()
            shutil.rmtree(self.folder, ignore_errors=True)


def _write(part: MediaPart, stem: Path) -> Path:
    media = part.media
    if isinstance(media, Image):
        path = stem.with_name(stem.name + ".png")
        picture = media.to_pil()
        picture.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
        write_image(picture, path, ai_generated=part.generated)
    elif isinstance(media, Audio):
        path = stem.with_name(stem.name + ".wav")
        write_audio(media, path, ai_generated=part.generated)
    else:
        path = stem.with_name(stem.name + ".mp4")
        scale = max(1, int(np.ceil(SHOWN_SIDE / min(media.frames.shape[1:3]))))
        write_video(media, path, ai_generated=part.generated, scale=scale, smooth=True)
    return path
