"""A language model that says what a test tells it to."""

from __future__ import annotations

import torch
from tiny import tiny_audio, tiny_image, tiny_video

from nextgpt_chat.content import (
    Audio,
    Failed,
    Image,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Video,
)
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.language_model import Ended, SignalGroup, TextPiece

MEDIA = {"image": tiny_image(), "audio": tiny_audio(), "video": tiny_video()}
TYPES = {"image": Image, "audio": Audio, "video": Video}


def asked(text="draw a red car", *files):
    conv = Conversation()
    conv.add_user(text, list(files))
    return conv


def kinds(parts):
    return [part.kind for part in parts if isinstance(part, MediaPart)]


def script(monkeypatch, pipe, *steps):
    """The language model says exactly this: words, the names of media, exceptions."""

    def reply_steps(prompt, settings, *, should_stop, **rest):
        pipe.model.embed_segments(prompt.segments)
        for step in steps:
            if should_stop():
                yield Ended("cancelled", ())
                return
            if isinstance(step, Exception):
                raise step
            if step in TYPES:
                width = len(pipe.model.language_model.signals.groups[step])
                generator = torch.Generator().manual_seed(len(step))
                states = torch.randn(2, 1, width, 64, generator=generator)
                yield SignalGroup(step, states[0], states[1])
            else:
                yield TextPiece(step)
        yield Ended("cancelled" if should_stop() else "stop", ())

    monkeypatch.setattr(pipe.model, "reply_steps", reply_steps)


def facts(event):
    """An event without its random id."""
    if isinstance(event, (MediaStarted, MediaProgress, MediaReady, Failed)):
        return (type(event).__name__, *[getattr(event, n) for n in ("kind", "step", "media") if hasattr(event, n)])
    return event
