"""``read_media``: anything a user may hand over to an Image, Audio or Video, or a clear refusal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ..content import Audio, Image, Media, Video
from ..errors import LimitError, MediaError
from .decoding import NEXT_STEP
from .limits import Limits
from .pictures import rgb_pixels

Source = str | os.PathLike | bytes | PIL.Image.Image | Image | Audio | Video

_START_SECONDS = 10.0  # for the child to start on a busy machine, on top of its time for decoding


def read_media(source: Source, *, limits: Limits | None = None, name: str = "") -> Media:
    """A file's content as arrays; its kind is found by decoding it, never by its name.

    ``source``: a path, the bytes of a file, a PIL picture, or media values (returned as they are). ``name`` is what
    messages call it. The file itself is only ever read, and decoded in a child process with a time limit.

    - Picture (PNG, JPEG, WebP, GIF with one frame): Image; upright by its EXIF orientation, transparency on white.
    - Sound (WAV, FLAC, OGG, MP3, M4A, and WebM or MP4 without pictures): Audio; channels averaged, own rate kept,
      samples on the 16-bit grid.
    - Clip (MP4, WebM, MOV, GIF with several frames): Video; every frame, the file's average rate, its sound left
      out. Large ones are scaled down (see Limits).

    Raises MediaError for what cannot be read or holds no numbers, LimitError for what is too large, ValueError for
    another type.
    """
    limits = limits or Limits()
    if isinstance(source, Audio) and not np.isfinite(source.samples).all():
        raise MediaError(
            f"{_label(name or 'The sound')} has samples that are no numbers (NaN or infinity). Send others, in [-1, 1]."
        )
    if isinstance(source, (Image, Audio, Video)):
        return source
    if isinstance(source, PIL.Image.Image):
        label = _label(name or "The picture")
        limits.check_size(label, *source.size)
        if source.mode == "F":
            raise MediaError(f"{label} has floating-point values, whose range nobody says. Convert it to 'L' or 'RGB'.")
        try:
            return Image(rgb_pixels(source))
        except Exception as error:  # opened lazily, and damaged: Pillow raises SyntaxError, struct.error, ...
            raise MediaError(f"{label} could not be read: {error}. Send another one.") from error
    return _read(source, limits, name, exact=False)


def read_exact(source: str | os.PathLike | bytes, *, limits: Limits, name: str = "") -> Media:
    """Reads what :func:`encode_lossless` wrote: samples are not rounded and may be none, clips not shrunk."""
    return _read(source, limits, name, exact=True)


def _read(source: Any, limits: Limits, name: str, exact: bool) -> Media:
    if isinstance(source, (bytes, bytearray, memoryview)):
        label = _label(name or "The file")
        _check_length(label, len(source), limits)
        with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
            path = Path(folder, "input")
            path.write_bytes(source)
            return _decode_in_child(path, label, limits, exact)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"media are read from paths, bytes, PIL pictures or media values, not {type(source)!r}")
    path = Path(source)
    label = _label(name or path.name or str(path))
    try:
        if path.is_dir():
            raise MediaError(f"{label} is a folder. Choose a file in it.")
        if not path.exists():
            raise MediaError(f"{label} was not found. Check its path.")
        if not path.is_file():
            raise MediaError(f"{label} is not an ordinary file. {NEXT_STEP}")
        _check_length(label, path.stat().st_size, limits)
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise MediaError(f"{label} cannot be opened ({error}). Check its path and permissions.") from error
    return _decode_in_child(path.absolute(), label, limits, exact)


def _check_length(label: str, size: int, limits: Limits) -> None:
    if not size:
        raise MediaError(f"{label} is empty (0 bytes). {NEXT_STEP}")
    limits.check_bytes(label, size)


def _label(name: str) -> str:
    """A name fit for a message: one short line."""
    line = "".join(letter if letter.isprintable() else "?" for letter in name)
    return line if len(line) <= 80 else f"{line[:50]}…{line[-20:]}"


def _decode_in_child(path: Path, label: str, limits: Limits, exact: bool) -> Media:
    with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
        output = Path(folder, "content.raw")
        request = {"path": str(path), "name": label, "output": str(output), "limits": asdict(limits), "exact": exact}
        said = _run_worker(request, label, limits.decode_seconds)
        result_file = output.with_name("result.json")
        if not result_file.exists():
            cause = RuntimeError(said[-2000:] or "the decoding process ended without a result")
            raise MediaError(f"{label} could not be decoded: the decoder stopped. {NEXT_STEP}") from cause
        result = json.loads(result_file.read_text(encoding="utf-8"))
        if "error" in result:
            raise (LimitError if result["error"] == "limit" else MediaError)(result["message"])
        array = np.fromfile(output, dtype=result["dtype"]).reshape(-1)
        array = array[: int(np.prod(result["shape"]))].reshape(result["shape"])
    if result["kind"] == "image":
        return Image(array)
    return Audio(array, result["rate"]) if result["kind"] == "audio" else Video(array, float(result["fps"]))


def _run_worker(request: dict[str, Any], label: str, seconds: float) -> str:
    """Runs the worker on one request; returns what it wrote on standard error."""
    package = __package__.split(".")[0]
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{package}.media.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # so that the worker's own ffmpeg can be ended with it
    )
    try:
        _, said = process.communicate(json.dumps(request).encode(), timeout=seconds + _START_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LimitError(
            f"{label} took longer than {seconds:g} seconds to decode and was left out. Send a smaller or shorter one."
        ) from error
    finally:
        if process.poll() is None:
            _kill(process)
    return said.decode("utf-8", "replace")


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.communicate()
