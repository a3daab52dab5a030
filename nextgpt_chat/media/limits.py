"""How large a file may be, in every sense; and the words in which a broken limit is told."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import LimitError


@dataclass(frozen=True)
class Limits:
    """What :func:`~nextgpt_chat.media.read_media` accepts; larger files raise LimitError.

    ``clip_side`` and ``clip_bytes`` refuse nothing: frames whose shorter side is over ``clip_side`` pixels, or
    clips that would take over ``clip_bytes`` in memory, are scaled down while they are decoded.
    """

    bytes: int = 20_000_000
    """Size of the file."""
    pixels: int = 25_000_000
    """Width × height of a picture or of a clip's frames, as the header states them."""
    side: int = 16_384
    """Longest side of a picture or frame in pixels."""
    audio_seconds: float = 300.0
    video_seconds: float = 60.0
    video_frames: int = 1800
    sample_rate: int = 192_000
    """Samples a second of a sound."""
    decode_seconds: float = 20.0
    """Time the decoding may take."""
    clip_side: int = 512
    clip_bytes: int = 512_000_000
    unpacked_bytes: int = 1_000_000_000
    """Memory that the content of any file may take."""

    @property
    def most_frames(self) -> int:
        """``video_frames``, and one in a hundred more: at 30 a second, a clip of "60 s" has 1801."""
        return self.video_frames + self.video_frames // 100

    def check_bytes(self, name: str, size: int) -> None:
        if size > self.bytes:
            raise LimitError(
                f"{name} is {size / 1e6:.1f} MB; a file may have at most {self.bytes / 1e6:g} MB. "
                "Send a smaller or shorter one."
            )

    def check_size(self, name: str, width: int, height: int) -> None:
        """For pictures and frames, before their pixels are decoded."""
        if width * height > self.pixels:
            raise LimitError(
                f"{name} is {width} × {height} pixels ({width * height / 1e6:.1f} megapixels); at most "
                f"{self.pixels / 1e6:g} megapixels are read. Send a smaller copy."
            )
        if max(width, height) > self.side:
            raise LimitError(
                f"{name} is {width} × {height} pixels; a side may have at most {self.side} pixels. Send a smaller copy."
            )

    def check_sound(self, name: str, seconds: float, rate: int) -> None:
        if rate > self.sample_rate:
            raise LimitError(
                f"{name} has {rate} samples a second; at most {self.sample_rate} are read. Save it at 48000."
            )
        self._check_seconds(name, seconds, self.audio_seconds, "a sound")

    def check_clip(self, name: str, seconds: float, frames: int) -> None:
        self._check_seconds(name, seconds, self.video_seconds, "a clip")
        if frames > self.most_frames:
            raise LimitError(
                f"{name} has more than {self.video_frames} frames, the most that a clip may have. "
                "Send a shorter piece of it, or save it with fewer frames a second."
            )

    def check_unpacked(self, name: str, size: int, limit: int | None = None) -> None:
        """``size``: bytes of the content in memory, as far as they have been counted. ``limit``: for unpacked_bytes."""
        limit = self.unpacked_bytes if limit is None else limit
        if size > limit:
            raise LimitError(
                f"{name} takes {size / 1e6:.1f} MB of memory or more; at most {limit / 1e6:.1f} MB are taken. "
                "Send a smaller or shorter one."
            )

    @staticmethod
    def _check_seconds(name: str, seconds: float, limit: float, thing: str) -> None:
        if seconds > limit + 0.5:  # encoders pad: a file of "60 s" often states 60.02 s
            long = f"{seconds:.1f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
            raise LimitError(
                f"{name} is {long} long or longer; {thing} may last at most {limit:g} seconds. "
                "Send a shorter piece of it."
            )
