"""Values that travel through the whole system: media, parts, turns, events, replies.

Nothing here opens a file or knows a model. Media are plain arrays with a content hash, so that the
same picture is recognised wherever it comes from.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import PIL.Image

Modality = Literal["text", "image", "audio", "video"]
MEDIA_KINDS: tuple[str, ...] = ("image", "audio", "video")
MODALITIES: tuple[str, ...] = ("text", *MEDIA_KINDS)


def _digest(array: np.ndarray, *facts: Any) -> str:
    head = "|".join(str(fact) for fact in (array.dtype.str, array.shape, *facts))
    return hashlib.sha256(head.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Media:
    """What images, sounds and clips share: equality and hash by content."""

    kind: ClassVar[str]

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the decoded content (not of a file), the key of every cache."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.sha256 == other.sha256  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.sha256)


@dataclass(frozen=True, eq=False)
class Image(_Media):
    """A picture: ``pixels`` uint8 (height, width, 3), RGB."""

    pixels: np.ndarray
    kind: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"pixels must be uint8 (height, width, 3), not {self.pixels.dtype} {self.pixels.shape}")

    @classmethod
    def from_pil(cls, picture: PIL.Image.Image) -> Image:
        return cls(np.asarray(picture.convert("RGB")).copy())

    def to_pil(self) -> PIL.Image.Image:
        return PIL.Image.fromarray(self.pixels)

    @cached_property
    def sha256(self) -> str:
        return _digest(self.pixels)


@dataclass(frozen=True, eq=False)
class Audio(_Media):
    """A sound: ``samples`` float32 (n,) mono in [-1, 1], ``rate`` in Hz."""

    samples: np.ndarray
    rate: int
    kind: ClassVar[str] = "audio"

    def __post_init__(self) -> None:
        if self.samples.dtype != np.float32 or self.samples.ndim != 1:
            raise ValueError(f"samples must be float32 (n,), not {self.samples.dtype} {self.samples.shape}")
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, not {self.rate}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @cached_property
    def sha256(self) -> str:
        return _digest(self.samples, self.rate)


@dataclass(frozen=True, eq=False)
class Video(_Media):
    """A clip without sound: ``frames`` uint8 (frames, height, width, 3), RGB, ``fps`` frames a second."""

    frames: np.ndarray
    fps: float
    kind: ClassVar[str] = "video"

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise ValueError(
                f"frames must be uint8 (frames, height, width, 3), not {self.frames.dtype} {self.frames.shape}"
            )
        if not len(self.frames) or self.fps <= 0:
            raise ValueError(f"a clip needs frames and a positive fps, not {len(self.frames)} and {self.fps}")

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    @cached_property
    def sha256(self) -> str:
        return _digest(self.frames, float(self.fps))


Media = Image | Audio | Video


def storable(text: str) -> str:
    """Lone surrogates, which are no text to tokenizers, files and SQLite, become question marks."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class TextPart:
    """Words, exactly as typed or produced (signal tokens are never in here)."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", storable(self.text))


@dataclass(frozen=True)
class MediaPart:
    """A medium in a turn.

    ``details`` holds JSON-able facts about a generated medium (seed, steps, guidance_scale, seconds);
    ``name`` is the uploaded file's own name, for showing only; ``took``: seconds that making it took, None = unknown.
    """

    media: Media
    caption: str = ""
    name: str = ""
    generated: bool = False
    details: dict[str, Any] = field(default_factory=dict, hash=False)
    id: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)
    took: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("caption", "name"):
            object.__setattr__(self, name, storable(getattr(self, name)))

    @property
    def kind(self) -> str:
        return self.media.kind


Part = TextPart | MediaPart


@dataclass(frozen=True)
class Turn:
    """What one side said: parts in their order. ``cancelled`` marks a reply that was stopped half-way."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]
    cancelled: bool = False

    def __post_init__(self) -> None:
        if self.role not in ("user", "assistant"):
            raise ValueError(f"role must be 'user' or 'assistant', not {self.role!r}")

    @property
    def text(self) -> str:
        return text_of(self.parts)

    @property
    def media(self) -> tuple[MediaPart, ...]:
        return tuple(part for part in self.parts if isinstance(part, MediaPart))


def array_of(medium: Media) -> np.ndarray:
    """What a medium is made of: ``pixels``, ``samples`` or ``frames``."""
    if isinstance(medium, Image):
        return medium.pixels
    return medium.samples if isinstance(medium, Audio) else medium.frames


def text_of(parts: Iterable[Part]) -> str:
    """The words of some parts, joined as one string."""
    pieces = [part.text.strip() for part in parts if isinstance(part, TextPart)]
    return " ".join(piece for piece in pieces if piece)


@dataclass(frozen=True)
class Reply:
    """A finished (or cancelled) reply. ``timings`` in seconds by stage; ``notices`` are sentences for the user."""

    parts: tuple[Part, ...]
    seed: int
    timings: dict[str, float] = field(default_factory=dict)
    cancelled: bool = False
    notices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return text_of(self.parts)

    def _media(self, kind: type) -> list[Any]:
        return [part.media for part in self.parts if isinstance(part, MediaPart) and isinstance(part.media, kind)]

    @property
    def images(self) -> list[PIL.Image.Image]:
        return [image.to_pil() for image in self._media(Image)]

    @property
    def audios(self) -> list[Audio]:
        return self._media(Audio)

    @property
    def videos(self) -> list[Video]:
        return self._media(Video)


@dataclass(frozen=True)
class TextDelta:
    """More words of the reply; whole UTF-8 characters only."""

    text: str


@dataclass(frozen=True)
class MediaStarted:
    """A medium's signal tokens are complete and its decoder starts. ``id`` is the later MediaPart's id."""

    id: str
    kind: str
    caption: str


@dataclass(frozen=True)
class MediaProgress:
    """Denoising step ``step`` of ``steps`` is done (1-based); ``preview`` is a rough picture, if cheap."""

    id: str
    step: int
    steps: int
    preview: PIL.Image.Image | None = None


@dataclass(frozen=True)
class MediaReady:
    """A medium is made. ``part`` is what stands in the conversation."""

    id: str
    part: MediaPart

    @property
    def media(self) -> Media:
        return self.part.media


@dataclass(frozen=True)
class Notice:
    """A sentence for the user that is not part of the reply (for example: the oldest turns were left out)."""

    message: str


@dataclass(frozen=True)
class Failed:
    """One medium (``id``) could not be made; the reply goes on. The message is fit for the user."""

    id: str
    message: str


@dataclass(frozen=True)
class Finished:
    """The last event of every stream."""

    reply: Reply


Event = TextDelta | MediaStarted | MediaProgress | MediaReady | Notice | Failed | Finished
