"""The files that a browser is shown: each medium of one session written once, under a name nobody can guess."""

from __future__ import annotations

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


class MediaFiles:
    """Writes media into a folder of its own under ``root``, made with the first file, gone with :meth:`remove`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / secrets.token_urlsafe(16)
        self._paths: dict[tuple[str, bool], Path] = {}
        self._lock = threading.Lock()

    def path_of(self, part: MediaPart) -> Path:
        """A PNG, WAV or MP4 file that shows ``part``, marked as AI-generated where it is. Raises MediaError."""
        key = (part.media.sha256, part.generated)
        with self._lock:
            if key not in self._paths:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._paths[key] = self._write(part)
            return self._paths[key]

    def _write(self, part: MediaPart) -> Path:
        stem = self.folder / secrets.token_urlsafe(16)
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

    def remove(self) -> None:
        """Deletes the folder and all in it."""
        with self._lock:
            self._paths.clear()
            shutil.rmtree(self.folder, ignore_errors=True)
