"""Media to files: PNG, 16-bit WAV and browser-playable MP4, marked when a model made them; and lossless forms."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from ..content import Audio, Image, Media, Video
from ..errors import MediaError
from . import ffmpeg
from .decoding import sniff, to_grid, to_int16

GENERATED = "AI-generated"
SOFTWARE = "NExT-GPT chat"
_ENCODE_SECONDS = 600.0

PathLike = str | os.PathLike | None


def write_image(image: Image | PIL.Image.Image, path: PathLike, ai_generated: bool) -> bytes | None:
    """Writes a PNG; returns its bytes instead where ``path`` is None. Lossless."""
    picture = image.to_pil() if isinstance(image, Image) else image
    facts = PIL.PngImagePlugin.PngInfo()
    facts.add_text("Software", SOFTWARE)
    if ai_generated:
        facts.add_text("Comment", GENERATED)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=facts)
    return _deliver(buffer.getvalue(), path)


def write_audio(audio: Audio, path: PathLike, ai_generated: bool) -> bytes | None:
    """Writes a mono 16-bit WAV at the sound's own rate; returns its bytes where ``path`` is None.

    Lossless for samples on the 16-bit grid, which is where ``read_media`` puts them.
    """
    return _deliver(_wave(audio, to_int16(audio.samples), "PCM_16", ai_generated), path)


def write_video(
    video: Video, path: PathLike, ai_generated: bool, *, scale: int = 1, smooth: bool = False
) -> bytes | None:
    """Writes an MP4 that browsers play: H.264, yuv420p, index first; returns its bytes where ``path`` is None.

    ``scale``: whole factor to enlarge small clips by for showing (``smooth``: Lanczos instead of nearest). Odd sizes
    are padded to even ones by repeating the last row or column, as yuv420p needs.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    height, width = video.frames.shape[1:3]
    frames = np.pad(video.frames, ((0, 0), (0, height * scale % 2), (0, width * scale % 2), (0, 0)), mode="edge")
    # (Padding comes before scaling: a side is odd in the end only for an odd factor, and one more row makes it even.)
    size = f"scale=iw*{scale}:ih*{scale}:flags={'lanczos' if smooth else 'neighbor'}," if scale > 1 else ""
    # Tagged BT.709 on purpose: untagged clips are shown in other colours from player to player.
    matrix = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
    data = _mp4(
        frames,
        video.fps,
        [
            *("-vf", size + matrix, "-c:v", "libx264", "-crf", "16", "-preset", "medium"),
            *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        ],
        ai_generated,
    )
    return _deliver(data, path)


def encode_lossless(media: Media, ai_generated: bool = False) -> tuple[str, bytes]:
    """(suffix, bytes) of a file from which ``read_exact`` gives back exactly the same array.

    PNG; 16-bit WAV, or 32-bit float WAV for samples off the 16-bit grid; H.264 without loss in RGB. A clip's rate is
    kept only as nearly as MP4 holds it.
    """
    if isinstance(media, Image):
        return ".png", write_image(media, None, ai_generated) or b""
    if isinstance(media, Audio):
        # Compared by bytes: -0.0 equals 0.0, but would come back as another content.
        if to_grid(media.samples).tobytes() == media.samples.tobytes():
            return ".wav", write_audio(media, None, ai_generated) or b""
        return ".wav", _wave(media, media.samples, "FLOAT", ai_generated)
    options = ["-c:v", "libx264rgb", "-qp", "0", "-preset", "veryfast"]
    return ".mp4", _mp4(media.frames, media.fps, options, ai_generated)


def read_metadata(source: str | os.PathLike | bytes) -> dict[str, str]:
    """The text tags of a PNG, WAV or MP4 file that we wrote, names in lower case (``comment``, ``software``)."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    _, file_format = sniff(data[:4096])
    if file_format == "PNG":
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return {key.lower(): value for key, value in picture.text.items()}
    if file_format == "wav":
        import soundfile

        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return {key: value for key, value in file.copy_metadata().items() if value}
    with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
        clip, text = Path(folder, "input"), Path(folder, "tags")
        clip.write_bytes(data)
        arguments = ffmpeg.input_arguments(clip, file_format)
        ffmpeg.run([*arguments, "-f", "ffmetadata", "-y", f"file:{text}"], seconds=20)
        lines = text.read_text(encoding="utf-8").splitlines()[1:]
    return {key.lower(): value for key, _, value in (line.partition("=") for line in lines)}


def _wave(audio: Audio, samples: np.ndarray, subtype: str, ai_generated: bool) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", audio.rate, 1, subtype, format="WAV") as file:
        file.software = SOFTWARE
        if ai_generated:
            file.comment = GENERATED
        file.write(samples)
    return buffer.getvalue()


def _mp4(frames: np.ndarray, fps: float, options: list[str], ai_generated: bool) -> bytes:
    rate = Fraction(fps).limit_denominator(1001 * 60) or Fraction(1, 1001)
    tags = ["-metadata", f"comment={GENERATED}"] if ai_generated else []
    with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
        clip = Path(folder, "clip.mp4")
        done = ffmpeg.run(
            [
                *("-protocol_whitelist", "file,pipe", "-f", "rawvideo", "-pix_fmt", "rgb24"),
                *("-video_size", f"{frames.shape[2]}x{frames.shape[1]}", "-framerate", str(rate), "-i", "pipe:0"),
                *options,
                # bitexact: the same clip gives the same file on every day
                *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "2"),
                *(*tags, "-movflags", "+faststart", "-f", "mp4", "-y", f"file:{clip}"),
            ],
            seconds=_ENCODE_SECONDS,
            stdin=np.ascontiguousarray(frames).data.cast("B"),
        )
        if done.status or not clip.exists():
            raise MediaError(
                f"A clip of {len(frames)} frames, {frames.shape[2]} × {frames.shape[1]} pixels, could not be written "
                f"as MP4: {done.log.strip().splitlines()[-1:] or 'ffmpeg said nothing'}. Check the free disk space."
            )
        return clip.read_bytes()


def _deliver(data: bytes, path: PathLike) -> bytes | None:
    if path is None:
        return data
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return None


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path next to ``path`` that takes its place at the end, or vanishes on an error: readers never
    see half a file."""
    target = Path(path)
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
