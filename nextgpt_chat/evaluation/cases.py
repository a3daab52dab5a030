"""The values that are asked for, and the judges by kind of medium."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cache

import numpy as np

from ..picturebook import animate, draw, is_held_out, play, values
from ..picturebook.values import Clip, Scene, Sound, Value
from .judge_clip import judge_clip
from .judge_picture import judge_picture
from .judge_sound import judge_sound

NAMES = {"image": "picture", "audio": "sound", "video": "clip"}
"""What rows call each kind of medium."""
ATTRIBUTES = {
    "image": ("thing", "colour", "place", "position", "size"),
    "audio": ("source", "pitch", "speed"),
    "video": ("thing", "colour", "motion"),
}
"""What is judged of each kind. A clip's place, position and size are not: its thing moves."""


def attributes(value: Value) -> dict[str, str]:
    """The value's words by attribute, all of them; a clip's together with its scene's."""
    if isinstance(value, Clip):
        return {**asdict(value.scene), "motion": value.motion}
    return asdict(value)


def judged(kind: str, value: Value) -> dict[str, str]:
    """Those of the value's words that are judged in a medium of this kind."""
    words = attributes(value)
    return {name: words[name] for name in ATTRIBUTES[kind]}


@cache
def pool(kind: str, held_out: bool = True) -> tuple[Value, ...]:
    """Every value of a kind on one side of the split."""
    if kind == "audio":
        every = (Sound(*words) for words in itertools.product(values.SOUNDS, values.PITCHES, values.SPEEDS))
    else:
        looks = itertools.product(values.THINGS, values.COLOURS, values.SIZES, values.POSITIONS, values.PLACES)
        every = (Scene(*words) for words in looks)
        if kind == "video":
            every = (Clip(scene, motion) for scene in every for motion in values.MOTIONS)
    return tuple(value for value in every if is_held_out(value) == held_out)


def choose(kind: str, n: int, seed: int = 0, held_out: bool = True) -> list[Value]:
    """``n`` values of a kind, each once before any comes twice."""
    everything = list(pool(kind, held_out))
    random.Random(f"{kind} {seed}").shuffle(everything)
    return [everything[i % len(everything)] for i in range(n)]


def render(value: Value, seed: int) -> np.ndarray:
    """A true rendering: uint8 (h, w, 3), float32 (samples,) or uint8 (frames, h, w, 3)."""
    if isinstance(value, Scene):
        return np.asarray(draw(value, seed))
    return play(value, seed) if isinstance(value, Sound) else animate(value, seed)


def judge(kind: str, medium: np.ndarray, rate: int = values.SAMPLE_RATE) -> dict[str, str]:
    """The judged attributes of a medium given as an array (``rate``: of a sound, Hz)."""
    judges: dict[str, Callable[[], Value]] = {
        "image": lambda: judge_picture(medium),
        "audio": lambda: judge_sound(medium, rate),
        "video": lambda: judge_clip(medium),
    }
    return attributes(judges[kind]())
