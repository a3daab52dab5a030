"""One untrusted file to one raw array on disk: what the worker process does.

The kind of a file is found in its first bytes and by decoding, never in its name.
"""

from __future__ import annotations

import math
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ..errors import LimitError, MediaError
from . import ffmpeg
from .completeness import missing_bytes
from .limits import Limits
from .pictures import gif_frames, gif_milliseconds, rgb_pixels

NEXT_STEP = (
    "Send a PNG, JPEG, WebP or GIF picture, a WAV, FLAC, OGG, MP3, M4A or WebM sound, or an MP4, WebM, MOV or GIF clip."
)
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_BLOCK = 65_536
_UNKNOWN_LENGTH = 2**48  # soundfile states a huge number of frames for a stream without a length


@dataclass(frozen=True)
class Request:
    """``exact``: keep samples and sizes as they are (files that :func:`encode_lossless` wrote)."""

    path: str
    name: str
    output: str
    limits: Limits
    exact: bool = False


def decode(request: Request) -> dict[str, Any]:
    """Decodes ``request.path`` into the raw file ``request.output``.

    Returns ``{"kind", "shape", "dtype"}`` and ``rate`` or ``fps``. Raises MediaError or LimitError.
    """
    return _Decoder(request).decode()


class _Decoder:
    def __init__(self, request: Request) -> None:
        self.path, self.name, self.output = Path(request.path), request.name, Path(request.output)
        self.limits, self.exact = request.limits, request.exact
        self.deadline = time.monotonic() + request.limits.decode_seconds

    def decode(self) -> dict[str, Any]:
        try:
            return self._decode()
        except subprocess.TimeoutExpired as error:
            raise self._too_slow() from error

    def _decode(self) -> dict[str, Any]:
        with self.path.open("rb") as file:
            head = file.read(4096)
        decoder, file_format = sniff(head)
        if decoder == "picture":
            return self._picture(file_format)
        if decoder == "sound":
            return self._sound(file_format)
        if decoder == "container":
            return self._container(file_format)
        raise MediaError(
            f"{self.name} is not a picture, sound or clip that can be read (it looks like {file_format}). {NEXT_STEP}"
        )

    def _broken(self, thing: str, reason: str) -> MediaError:
        return MediaError(
            f"{self.name} could not be read as a {thing}: {reason}. The file may be damaged or incomplete; "
            "open it in another program and save or export it again."
        )

    def _seconds_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self._too_slow()
        return left

    def _too_slow(self) -> LimitError:
        return LimitError(
            f"{self.name} took longer than {self.limits.decode_seconds:g} seconds to decode and was left out. "
            "Send a smaller or shorter one."
        )

    # Pictures and GIFs

    def _picture(self, file_format: str) -> dict[str, Any]:
        PIL.Image.MAX_IMAGE_PIXELS = None  # our own limit is checked instead, on the header
        try:
            with PIL.Image.open(self.path, formats=(file_format,)) as picture:
                self.limits.check_size(self.name, *picture.size)
                self.limits.check_unpacked(self.name, 3 * picture.width * picture.height)
                if file_format == "GIF" and getattr(picture, "is_animated", False):
                    return self._animation(picture)
                pixels = rgb_pixels(picture)
        except LimitError:
            raise
        except Exception as error:  # Pillow's readers raise what they please on damaged files
            raise self._broken(f"{file_format} picture", str(error) or type(error).__name__) from error
        pixels.tofile(self.output)
        return {"kind": "image", "shape": pixels.shape, "dtype": "uint8"}

    def _animation(self, gif: PIL.Image.Image) -> dict[str, Any]:
        frames, shown = 0, 0
        for frames in range(1, gif.n_frames + 1):
            shown += gif_milliseconds(gif, frames - 1)
            self.limits.check_size(self.name, *gif.size)  # grown by a frame that sticks out, not decoded yet
            self.limits.check_clip(self.name, shown / 1000, frames)
            self._seconds_left()
        factor = self._shrink(*gif.size, frames)
        size = (max(1, round(gif.width * factor)), max(1, round(gif.height * factor)))
        with self.output.open("wb") as file:
            for pixels in gif_frames(gif, frames, size):
                self._seconds_left()
                file.write(pixels.tobytes())
        return {"kind": "video", "shape": (frames, size[1], size[0], 3), "dtype": "uint8", "fps": frames * 1000 / shown}

    # Sounds

    def _sound(self, demuxer: str) -> dict[str, Any]:
        import soundfile

        self._check_end("sound", demuxer)
        try:
            return self._samples(self.path)
        except soundfile.SoundFileError:
            return self._container(demuxer)  # a codec that libsndfile does not know, or Ogg with pictures in it

    def _samples(self, path: Path) -> dict[str, Any]:
        import soundfile

        with soundfile.SoundFile(path) as file:
            length = file.frames if 0 <= file.frames < _UNKNOWN_LENGTH else 0
            self._check_samples(length, file.samplerate)
            count = 0
            with self.output.open("wb") as output:
                while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                    count += len(block)
                    self._check_samples(count, file.samplerate)
                    mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64)
                    output.write((mono if self.exact else to_grid(mono)).astype(np.float32).tobytes())
                    self._seconds_left()
            if not count and not self.exact:
                raise self._broken("sound", "there is not one sample in it")
            return {"kind": "audio", "shape": (count,), "dtype": "float32", "rate": file.samplerate}

    def _check_samples(self, count: int, rate: int) -> None:
        self.limits.check_sound(self.name, count / rate, rate)
        self.limits.check_unpacked(self.name, np.dtype(np.float32).itemsize * count)

    # Through ffmpeg

    def _container(self, demuxer: str) -> dict[str, Any]:
        unstated = self._check_end("clip", demuxer) is None
        header = ffmpeg.probe(self.path, demuxer, seconds=self._seconds_left())
        if header.video is not None:
            facts, read = self._clip(demuxer, header, header.video)
        elif header.audio_index is not None:
            facts, read = self._track(demuxer, header)
        else:
            raise self._broken("clip or sound", _last_line(header.log, str(self.path)))
        only_one = header.video is None or header.audio_index is None  # else the length may be the other's
        if unstated and only_one and header.seconds and read < 0.75 * header.seconds - 0.5:
            thing = "clip" if header.video is not None else "sound"
            raise self._broken(thing, f"only {read:.1f} of its {header.seconds:.1f} seconds are there")
        return facts

    def _check_end(self, thing: str, demuxer: str) -> int | None:
        missing = missing_bytes(self.path, demuxer)
        if missing:
            raise self._broken(thing, f"its end is missing (at least {missing} bytes)")
        return missing

    def _track(self, demuxer: str, header: ffmpeg.Probe) -> tuple[dict[str, Any], float]:
        """The sound, and at how many seconds it ends."""
        self.limits.check_sound(self.name, header.seconds or 0.0, 1)
        wave = self.output.with_suffix(".wav")
        done = ffmpeg.run(
            [
                *ffmpeg.input_arguments(self.path, demuxer),
                *("-map", f"0:{header.audio_index}", "-t", str(self.limits.audio_seconds + 1), "-vn", "-sn", "-dn"),
                *("-c:a", "pcm_f32le", "-fs", "1000000000", "-f", "wav", "-y", f"file:{wave}"),
            ],
            seconds=self._seconds_left(),
        )
        try:
            if done.status or not wave.exists():
                raise self._broken("sound", _last_line(done.log, str(self.path)))
            facts = self._samples(wave)
        finally:
            wave.unlink(missing_ok=True)
        return facts, facts["shape"][0] / facts["rate"]

    def _clip(self, demuxer: str, header: ffmpeg.Probe, stream: ffmpeg.VideoStream) -> tuple[dict[str, Any], float]:
        """The clip, and at how many seconds its picture ends: that may begin after the sound does."""
        limits, most = self.limits, self.limits.most_frames
        limits.check_size(self.name, stream.width, stream.height)
        limits.check_clip(self.name, header.seconds or 0.0, 0)
        stated = math.ceil((header.seconds or 0) * (stream.fps or 0))
        shrunk = round(1.05 * limits.clip_bytes)  # sides are rounded to whole pixels
        ceiling = limits.unpacked_bytes if self.exact else min(shrunk, limits.unpacked_bytes)
        for frames in sorted({min(stated or most, most), most}):  # the stated rate may be far too low
            done = self._write_frames(demuxer, stream, frames, ceiling + 1)
            written = self.output.stat().st_size if self.output.exists() else 0
            if written <= ceiling or self.exact:
                break
        limits.check_unpacked(self.name, written, ceiling)
        size = ffmpeg.output_size(done.log)
        frame_bytes = size[0] * size[1] * 3 if size else 0
        count = written // frame_bytes if frame_bytes else 0
        if done.status or not count:
            raise self._broken("clip", _last_line(done.log, str(self.path)))
        assert size is not None
        fps, end = _rate(stream, count, ffmpeg.out_seconds(done))
        limits.check_clip(self.name, end, count)
        return {"kind": "video", "shape": (count, size[1], size[0], 3), "dtype": "uint8", "fps": fps}, end

    def _write_frames(self, demuxer: str, stream: ffmpeg.VideoStream, frames: int, most_bytes: int) -> ffmpeg.Finished:
        """Writes the output, shrunk so that ``frames`` of them fit; ends with the frame that reaches ``most_bytes``."""
        limits = self.limits
        # Pixels are made square by shrinking their longer side, so that no stated shape makes a frame larger.
        factor = self._shrink(stream.width * min(1, stream.pixel), stream.height * min(1, 1 / stream.pixel), frames)
        # Both sides by the same factor, so it holds whichever way the player is told to turn the frames.
        width, height = (f"max(1\\,round({side}*{factor:.6f}))" for side in ("iw*min(1\\,sar)", "ih*min(1\\,1/sar)"))
        scale = f"scale=w={width}:h={height}:flags=bicubic+accurate_rnd+full_chroma_int"
        return ffmpeg.run(
            [
                *ffmpeg.input_arguments(self.path, demuxer),
                *("-map", f"0:{stream.index}", "-an", "-sn", "-dn", "-t", str(limits.video_seconds + 1)),
                *("-frames:v", str(limits.most_frames + 1), "-fps_mode", "passthrough"),
                *("-vf", f"{scale},format=rgb24,setsar=1", "-fs", str(most_bytes)),
                *("-f", "rawvideo", "-threads", "1", "-y", f"file:{self.output}"),
            ],
            seconds=self._seconds_left(),
        )

    def _shrink(self, width: float, height: float, frames: int) -> float:
        """The factor that makes a clip small enough to keep in memory; 1 for most."""
        if self.exact:
            return 1.0
        limits = self.limits
        by_side = limits.clip_side / min(width, height)
        by_bytes = math.sqrt(limits.clip_bytes / (width * height * 3 * max(1, frames)))
        return min(1.0, by_side, by_bytes)


def to_grid(samples: np.ndarray) -> np.ndarray:
    """Samples rounded to those that a 16-bit file can hold (whole 32768ths), so that writing and reading again
    gives the same array and the same content hash. Float32, in [-1, 1); not-a-number becomes silence."""
    return (to_int16(samples) / np.float32(32768)).astype(np.float32)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """int16 of samples in [-1, 1]; louder ones are clipped."""
    clean = np.nan_to_num(np.asarray(samples, np.float64), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(np.rint(clean * 32768), -32768, 32767).astype(np.int16)


def sniff(head: bytes) -> tuple[str, str]:
    """("picture", Pillow's format), ("sound" or "container", ffmpeg's demuxer), or ("none", what it looks like)."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "picture", "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "picture", "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "picture", "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture", "WEBP"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "sound", "wav"
    if head.startswith(b"fLaC"):
        return "sound", "flac"
    if head.startswith(b"OggS"):
        return "sound", "ogg"
    if head.startswith(b"ID3"):
        return "sound", "mp3"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return "none", "an HEIC or AVIF photo, which has to be saved as JPEG first"
    if head[4:8] in _MOV_BOXES:
        return "container", "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "container", "matroska"
    if len(head) > 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return ("container", "aac") if head[1] & 0xF6 == 0xF0 else ("sound", "mp3")
    return "none", _looks_like(head)


def _looks_like(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in head.lower():
        return "an SVG drawing"
    if start.startswith((b"#EXTM3U", b"ffconcat")):
        return "a playlist"
    if start.startswith(b"%PDF"):
        return "a PDF document"
    if start.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    printable = sum(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return "text" if printable == len(head) else "another kind of data"


def _rate(stream: ffmpeg.VideoStream, frames: int, end: float | None) -> tuple[float, float]:
    """(frames a second, the second at which the picture ends). ``end``: the time stamp that the decoding ended at.

    The printed rate is exact where frames come evenly. In WebM and Matroska it is only the rate that they mostly come
    at, and a screen recorder leaves out those in which nothing moves.
    """
    length = (end or 0.0) - stream.start
    if length <= 0:
        fps = stream.fps or 25.0
        return fps, stream.start + frames / fps
    average = frames / length
    if stream.fps and abs(average - stream.fps) <= 0.1 * stream.fps:
        average = stream.fps
    return average, stream.start + length


def _last_line(log: str, path: str) -> str:
    """ffmpeg's own last words, without our paths and addresses."""
    lines = [line.split("] ", 1)[-1].strip() for line in log.splitlines() if line.strip()]
    lines = [line for line in lines if line and not line.startswith(("At least one output", "Conversion failed"))]
    last = lines[-1].replace(f"file:{path}", "the file").replace(path, "the file") if lines else "nothing to decode"
    return last.removeprefix("Error opening input files: ").rstrip(".")[:200] or "nothing to decode"
