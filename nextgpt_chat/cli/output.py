"""What commands share: one-line messages, JSON alone on standard output, media files."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..content import Audio, Image, Media
from ..errors import NextGPTError
from ..media import write_audio, write_image, write_video

_SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}


def one_line(message: object) -> str:
    return " ".join(str(message).split())


def say(message: object) -> None:
    """One line for the user, on standard error."""
    print(f"nextgpt_chat: {one_line(message)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[TextIO]:
    """Gives the real standard output; while it lasts, what anything else prints there goes to standard error."""
    real = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield real


def print_json(value: Any, out: TextIO) -> None:
    print(json.dumps(value, ensure_ascii=False), file=out, flush=True)


class MediaFolder:
    """Writes made media under names of their own: ``image-1.png``, ``audio-1.wav``, …; never over another file.

    ``folder`` None: a new one below ``replies/`` in the current folder, made with the first medium.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._given = folder
        self._folder: Path | None = None

    def write(self, media: Media) -> str:
        """Returns the absolute path. Raises NextGPTError where the folder cannot be written."""
        try:
            path = self._free(media.kind)
            if isinstance(media, Image):
                write_image(media, path, ai_generated=True)
            elif isinstance(media, Audio):
                write_audio(media, path, ai_generated=True)
            else:
                write_video(media, path, ai_generated=True)
        except OSError as error:
            raise NextGPTError(
                f"{self._folder or self._given} cannot be written: {error}. Choose another --out."
            ) from error
        return str(path)

    def check(self) -> None:
        """Raises NextGPTError at once where ``--out`` cannot be a folder, before any work is done."""
        if self._given is not None:
            try:
                Path(self._given).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise NextGPTError(
                    f"{self._given} cannot be a folder for media: {error}. Choose another --out."
                ) from error

    def _free(self, kind: str) -> Path:
        if self._folder is None:
            self._folder = self._make()
        number = 1
        while (path := self._folder / f"{kind}-{number}{_SUFFIXES[kind]}").exists():
            number += 1
        return path

    def _make(self) -> Path:
        if self._given is not None:
            folder = Path(self._given)
            folder.mkdir(parents=True, exist_ok=True)
            return folder.resolve()
        stamp, number = time.strftime("%Y-%m-%d-%H%M%S"), 1
        while True:
            folder = Path("replies", stamp if number == 1 else f"{stamp}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder.resolve()
            except FileExistsError:
                number += 1
