"""Running imageio-ffmpeg's bundled ffmpeg, and reading what it says about a file (there is no ffprobe)."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import MediaError

_LOG_BYTES = 200_000
_INPUT_STREAM = re.compile(r"^  Stream #0:(\d+)\S*: (Video|Audio): (.*)$", re.MULTILINE)
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_BEGINNING = re.compile(r"^  Duration: .*, start: (-?\d+\.\d+)", re.MULTILINE)
_STREAM_START = re.compile(r", start (-?\d+\.\d+)")
_ESTIMATED = "Estimating duration from bitrate"
_SIZE = re.compile(r", (\d+)x(\d+)(?= |,|$)")
_PIXEL = re.compile(r"\bSAR (\d+):(\d+)")
_FPS = re.compile(r", (\d+(?:\.\d+)?) fps\b")
_NTSC = {printed: round(printed) * 1000 / 1001 for printed in (23.98, 29.97, 47.95, 59.94, 119.88)}


def executable() -> str:
    """Path of ffmpeg. Raises MediaError when the package brought none for this machine."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MediaError(
            "ffmpeg was not found, so clips and compressed sounds cannot be read or written. "
            "Install it again with: pip install --force-reinstall imageio-ffmpeg"
        ) from error


@dataclass(frozen=True)
class Finished:
    """What a run of ffmpeg left: exit status, the start of its log, its progress report (last value of each key)."""

    status: int
    log: str
    progress: dict[str, str]


def run(arguments: list[str], *, seconds: float, stdin: bytes | None = None) -> Finished:
    """ffmpeg with ``arguments``; outputs must be files, as standard output carries the progress report.

    Raises subprocess.TimeoutExpired after ``seconds``. The log goes through a file: a corrupt clip fills any pipe.
    """
    command = [executable(), "-hide_banner", "-nostats", "-progress", "pipe:1", *arguments]
    feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    with tempfile.TemporaryFile() as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, timeout=seconds, check=False, **feed)
        log.seek(0)
        text = log.read(_LOG_BYTES).decode("utf-8", "replace")
    pairs = (line.split("=", 1) for line in done.stdout.decode("utf-8", "replace").splitlines() if "=" in line)
    return Finished(done.returncode, text, {key: value.strip() for key, value in pairs})


def input_arguments(path: str | Path, demuxer: str) -> list[str]:
    """``-i`` for one local file: the demuxer is forced, so that no playlist or script can name other files, and
    ``file:`` keeps a name like ``concat:…`` or ``-x`` from meaning anything."""
    return [
        *("-nostdin", "-protocol_whitelist", "file,pipe", "-threads", "2"),
        *("-f", demuxer, "-i", f"file:{Path(path).absolute()}"),
    ]


@dataclass(frozen=True)
class VideoStream:
    """``width`` and ``height`` as coded (before rotation); ``fps``: None where the file states none; ``start``: seconds
    after the file's beginning; ``pixel``: width of a pixel by its height."""

    index: int
    width: int
    height: int
    fps: float | None
    start: float
    pixel: float


@dataclass(frozen=True)
class Probe:
    """A file's header. ``seconds``: of its longest stream; None where it is not stated (recordings made in a browser)
    or only guessed from the first bit rates."""

    seconds: float | None
    video: VideoStream | None
    audio_index: int | None
    log: str


def probe(path: str | Path, demuxer: str, *, seconds: float) -> Probe:
    """The streams of a file, decoding nothing but what ffmpeg needs to know the format. Cover art is no video."""
    log = run(input_arguments(path, demuxer), seconds=seconds).log
    duration = _DURATION.search(log)
    length = None
    if duration and _ESTIMATED not in log:
        hours, minutes, rest = duration.groups()
        length = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    video, audio_index = None, None
    for index, kind, facts in _INPUT_STREAM.findall(log):
        if kind == "Audio" and audio_index is None:
            audio_index = int(index)
        size = _SIZE.search(facts)
        if kind == "Video" and video is None and size and "attached pic" not in facts:
            start = _number(_STREAM_START, facts) - _number(_BEGINNING, log)
            coded = (int(index), int(size[1]), int(size[2]))
            video = VideoStream(*coded, _printed_fps(facts), max(0.0, start), _pixel_shape(facts))
    return Probe(length, video, audio_index, log)


def output_size(log: str) -> tuple[int, int] | None:
    """(width, height) of the frames that a decoding run wrote."""
    _, _, output = log.partition("\nOutput #0")
    size = _SIZE.search(output)
    return (int(size[1]), int(size[2])) if size else None


def out_seconds(done: Finished) -> float | None:
    """The time at which the output ends, from the beginning of the input; None where ffmpeg does not say."""
    try:
        return int(done.progress["out_time_us"]) / 1e6
    except (KeyError, ValueError):
        return None


def _printed_fps(facts: str) -> float | None:
    value = _number(_FPS, facts)
    # ffmpeg prints two decimals; the broadcast rates are the usual ones that do not fit into them.
    return _NTSC.get(value, value) or None


def _pixel_shape(facts: str) -> float:
    """The container's, printed after the stream's own, is what ffmpeg goes by."""
    shapes = [int(width) / int(height) for width, height in _PIXEL.findall(facts) if int(width) and int(height)]
    return shapes[-1] if shapes else 1.0


def _number(pattern: re.Pattern[str], text: str) -> float:
    found = pattern.search(text)
    return float(found[1]) if found else 0.0
