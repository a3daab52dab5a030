"""Sizes and clip sampling of an ImageBind, and their JSON form (``config.json``)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class ImageBindConfig:
    """Everything that the network and its preprocessing depend on; the defaults are the published "huge" values.

    Lengths are pixels, samples or mel cells unless the name says seconds. ``text_depth`` 0 leaves the text tower
    out (the chat needs only the vision and audio towers).
    """

    embedding_dim: int = 1024
    mlp_ratio: float = 4.0

    image_size: int = 224
    patch_size: int = 14
    frames_per_clip: int = 2
    vision_width: int = 1280
    vision_depth: int = 32
    vision_heads: int = 16

    audio_rate: int = 16000
    audio_mel_bins: int = 128
    audio_target_length: int = 204
    audio_mean: float = -4.268
    audio_std: float = 9.138
    audio_kernel: int = 16
    audio_stride: int = 10
    audio_width: int = 768
    audio_depth: int = 12
    audio_heads: int = 12
    audio_drop_path: float = 0.1

    text_vocab_size: int = 49408
    text_context: int = 77
    text_width: int = 1024
    text_depth: int = 24
    text_heads: int = 16

    audio_clip_seconds: float = 2.0
    audio_clips: int = 3
    video_clip_seconds: float = 2.0
    video_clips: int = 5
    video_crops: int = 3

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        for tower in ("vision", "audio", "text"):
            width, heads = getattr(self, f"{tower}_width"), getattr(self, f"{tower}_heads")
            if heads < 1 or width % heads:
                raise ValueError(f"{tower}_width {width} is not a multiple of {tower}_heads {heads}")
        if self.video_crops not in (1, 3):
            raise ValueError(f"video_crops is {self.video_crops}; it must be 1 (centre) or 3 (both ends too)")
        for name in ("audio_clips", "video_clips", "frames_per_clip", "audio_stride", "embedding_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def vision_patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def audio_grid(self) -> tuple[int, int]:
        """Patches along frequency and time."""
        sizes = (self.audio_mel_bins, self.audio_target_length)
        return tuple((size - self.audio_kernel) // self.audio_stride + 1 for size in sizes)  # type: ignore[return-value]

    @classmethod
    def huge(cls) -> ImageBindConfig:
        """The published model, ``imagebind_huge.pth``."""
        return cls()

    @classmethod
    def mini(cls, text_vocab_size: int = 512) -> ImageBindConfig:
        """nextgpt-mini's encoder. With these clip times a 2-second clip of 8 frames is seen as the frame pairs
        (0, 3), (1, 4), (2, 5) and (3, 6), which tells every motion of the picture book from every other.
        """
        return cls(
            embedding_dim=256,
            image_size=112,
            vision_width=160,
            vision_depth=4,
            vision_heads=5,
            audio_stride=16,
            audio_width=160,
            audio_depth=4,
            audio_heads=5,
            text_vocab_size=text_vocab_size,
            text_width=160,
            text_depth=3,
            text_heads=5,
            video_clip_seconds=1.0,
            video_clips=4,
        )

    def without_text(self) -> ImageBindConfig:
        """The same encoder without its text tower."""
        return dataclasses.replace(self, text_depth=0)

    def to_dict(self) -> dict[str, int | float]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, int | float]) -> ImageBindConfig:
        """Raises CheckpointError for names that are missing or unknown, or values that cannot be built."""
        known = {f.name for f in dataclasses.fields(cls)}
        if missing := sorted(known - data.keys()):
            raise CheckpointError(f"The ImageBind configuration lacks {', '.join(missing)}.")
        if unknown := sorted(data.keys() - known):
            raise CheckpointError(f"The ImageBind configuration has unknown entries: {', '.join(unknown)}.")
        try:
            return cls(**data)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"The ImageBind configuration cannot be used: {error}.") from error

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` into an existing folder."""
        Path(folder, CONFIG_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> ImageBindConfig:
        """Read ``config.json``; raises CheckpointError when it is absent or unusable."""
        path = Path(folder, CONFIG_FILE)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} could not be read as JSON: {error}.") from error
        if not isinstance(data, dict):
            raise CheckpointError(f"{path} must hold a JSON object.")
        return cls.from_dict(data)
