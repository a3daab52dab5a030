"""A scripted pipeline for tests of everything around the model: the contract's events, with picture-book media."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from nextgpt_chat.content import (
    MEDIA_KINDS,
    Audio,
    Event,
    Failed,
    Finished,
    Image,
    Media,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Part,
    Reply,
    TextDelta,
    TextPart,
    Video,
)
from nextgpt_chat.conversation import REMADE, find_generated
from nextgpt_chat.picturebook import CLIP_FPS, SAMPLE_RATE, Clip, Scene, Sound, animate, draw, play

_SCENE = Scene("car", "red", "big", "middle", "grass")


class FakePipeline:
    """Answers by the words asked: "draw", "sound", "clip", "crash", "forget", "fail", "many words", "markup".

    ``steps`` denoising steps of ``pause`` seconds for each medium. ``seen`` lists (settings, seed, modalities, last
    user turn) of each turn; ``running`` is the largest number of turns made at once; ``steps_done`` counts steps.
    """

    name = "fake-checkpoint"
    summary = "A scripted stand-in: words, pictures, sounds and clips."
    licence = "test licence 1.0"
    modalities = ("text", "image", "audio", "video")

    def __init__(self, steps: int = 4, pause: float = 0.01) -> None:
        self.steps = steps
        self.pause = pause
        self.defaults: dict[str, Any] = {"text": {"temperature": 0.4}, "image": {"steps": 12}}
        self.seen: list[tuple] = []
        self.running = 0
        self.most_running = 0
        self.steps_done = 0

    def stream(self, conv, *, settings=None, seed=None, modalities=None, cancel=None) -> Iterator[Event]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield from self._stream(conv, settings, seed, modalities, cancel or threading.Event())
        finally:
            self.running -= 1

    def remake(self, conv, part_id, *, settings=None, seed=None, cancel=None) -> Iterator[Event]:
        _, first = find_generated(conv.turns, part_id)
        self.seen.append((settings, seed, {first.kind}, first))
        made = yield from self._make(first.kind, seed, cancel or threading.Event(), settings, first)
        yield Finished(Reply((made,) if made else (), seed, {}, made is None))

    def _stream(self, conv, settings, seed, modalities, cancel) -> Iterator[Event]:
        turn = conv.turns[-1]
        self.seen.append((settings, seed, modalities, turn))
        seed = 7 if seed is None else seed
        asked, parts, notices = turn.text.lower(), [], []
        if "crash" in asked:
            raise RuntimeError("secret detail of the crash")
        if "forget" in asked:
            notices.append("The oldest turns were left out.")
            yield Notice(notices[-1])
        answer = self._answer(turn)
        said = ""
        for word in answer.split(" "):
            if cancel.is_set():
                break
            said += f"{word} "
            yield TextDelta(f"{word} ")
            time.sleep(self.pause)
        parts.append(TextPart(said.strip()))
        for kind in _kinds(asked) if modalities is None else [one for one in MEDIA_KINDS if one in modalities]:
            if cancel.is_set():
                break
            if "fail" in asked:
                yield MediaStarted("failing", kind, "a red car")
                yield Failed("failing", f"There was not enough memory for the {kind}. Ask for it alone.")
                continue
            part = yield from self._make(kind, seed, cancel)
            parts += [part] if part is not None else []
        cancelled = cancel.is_set()
        conv.add_assistant(tuple(parts), cancelled=cancelled)
        yield Finished(Reply(tuple(parts), seed, {"text": 0.1}, cancelled, tuple(notices)))

    def _answer(self, turn) -> str:
        if "many words" in turn.text:
            return " ".join(f"word{i}" for i in range(200))
        if "markup" in turn.text:
            return "a **bold** <script>alert(1)</script> ![x](http://evil.example/x.png) end"
        if turn.media:
            return "I got " + ", ".join(part.kind for part in turn.media) + "."
        return f"You said: {turn.text}"

    def _make(self, kind: str, seed: int, cancel: threading.Event, settings=None, first=None) -> Iterator[Event]:
        details = {"seed": seed, "steps": 4, "guidance_scale": 3.0, "conditioning": "signal"}
        if first is not None:
            details |= {"steps": getattr(settings, kind).steps, "conditioning": settings.conditioning}
            details[REMADE] = first.id
        caption = f"a red car ({kind})"
        part = MediaPart(_medium(kind, seed), caption, generated=True, details=details, took=1.25)
        yield MediaStarted(part.id, kind, part.caption)
        preview = draw(_SCENE, seed)
        for step in range(1, self.steps + 1):
            if cancel.is_set():
                return None
            time.sleep(self.pause)
            self.steps_done += 1
            yield MediaProgress(part.id, step, self.steps, preview if kind == "image" else None)
        yield MediaReady(part.id, part)
        return part


def _kinds(asked: str) -> list[str]:
    words = {"image": ("draw", "picture of"), "audio": ("sound of", "hear"), "video": ("clip of",)}
    return [kind for kind, names in words.items() if any(name in asked for name in names)]


def _medium(kind: str, seed: int) -> Media:
    if kind == "image":
        return Image(np.array(draw(_SCENE, seed).convert("RGB")))
    if kind == "audio":
        return Audio(np.asarray(play(Sound("car", "normal", "normal"), seed), dtype=np.float32), SAMPLE_RATE)
    return Video(np.asarray(animate(Clip(_SCENE, "moves right"), seed)), CLIP_FPS)


def media_of(parts: tuple[Part, ...]) -> list[str]:
    """The kinds of the media among some parts."""
    return [part.kind for part in parts if isinstance(part, MediaPart)]
