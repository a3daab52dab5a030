"""An any-to-any multimodal chat: text, pictures, sounds and clips in and out (NExT-GPT, Wu et al., ICML 2024).

The public names. What needs a model library is imported at its first use, so that importing this package stays light:
the child process that decodes uploaded media imports it for every file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import AudioSettings, GenerationSettings, ImageSettings, TextSettings, VideoSettings
from .content import (
    Audio,
    Event,
    Failed,
    Finished,
    Image,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Reply,
    TextDelta,
    TextPart,
    Turn,
    Video,
)
from .errors import BusyError, CheckpointError, LimitError, MediaError, NextGPTError

if TYPE_CHECKING:
    from .conversation import Conversation
    from .pipeline import NextGPTPipeline

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "AudioSettings",
    "BusyError",
    "CheckpointError",
    "Conversation",
    "Event",
    "Failed",
    "Finished",
    "GenerationSettings",
    "Image",
    "ImageSettings",
    "LimitError",
    "MediaError",
    "MediaPart",
    "MediaProgress",
    "MediaReady",
    "MediaStarted",
    "NextGPTError",
    "NextGPTPipeline",
    "Notice",
    "Reply",
    "TextDelta",
    "TextPart",
    "TextSettings",
    "Turn",
    "Video",
    "VideoSettings",
]

_LATE = {"Conversation": ".conversation", "NextGPTPipeline": ".pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LATE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
