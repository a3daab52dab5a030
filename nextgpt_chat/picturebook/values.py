"""The frozen values of the picture-book world, and which of them are held out from training.

A value is a handful of words. Everything else in the world (pictures, clips, sounds, captions,
dialogues) is a pure function of a value and a seed.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import astuple, dataclass

SOUNDING_THINGS = ("bird", "bell", "car", "boat", "clock", "drum", "train", "dog", "frog", "phone")
SILENT_THINGS = ("ball", "star", "heart", "house", "tree", "flower", "fish")
WEATHER = ("rain", "wind", "waves")

THINGS = SOUNDING_THINGS + SILENT_THINGS
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")
SIZES = ("small", "medium", "big")
POSITIONS = ("left", "middle", "right")
PLACES = ("sky", "night", "grass", "sea", "sand", "plain")
MOTIONS = ("still", "moves right", "moves left", "rises", "falls", "grows", "shrinks", "spins", "blinks")
SOUNDS = SOUNDING_THINGS + WEATHER
PITCHES = ("low", "normal", "high")
SPEEDS = ("slow", "normal", "fast")

PICTURE_SIZE = 128
"""Side of a picture in pixels."""
CLIP_SIZE = 64
"""Side of a clip in pixels."""
CLIP_FRAMES = 8
CLIP_FPS = 4
SAMPLE_RATE = 16_000
"""Samples a second, mono."""
SOUND_SECONDS = 2.0


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


@dataclass(frozen=True, order=True)
class Scene:
    """One thing somewhere: what a picture shows."""

    thing: str
    colour: str
    size: str
    position: str
    place: str

    def __post_init__(self) -> None:
        _check("thing", self.thing, THINGS)
        _check("colour", self.colour, COLOURS)
        _check("size", self.size, SIZES)
        _check("position", self.position, POSITIONS)
        _check("place", self.place, PLACES)


@dataclass(frozen=True, order=True)
class Clip:
    """A scene whose thing moves."""

    scene: Scene
    motion: str

    def __post_init__(self) -> None:
        _check("motion", self.motion, MOTIONS)


@dataclass(frozen=True, order=True)
class Sound:
    """What sounds, how high and how fast."""

    source: str
    pitch: str
    speed: str

    def __post_init__(self) -> None:
        _check("source", self.source, SOUNDS)
        _check("pitch", self.pitch, PITCHES)
        _check("speed", self.speed, SPEEDS)


Value = Scene | Clip | Sound


def _chosen(kind: str, firsts: tuple[str, ...], seconds: tuple[str, ...], share: float) -> frozenset[tuple[str, str]]:
    """The ``share`` of pairs with the smallest sha256, spread so that no single word loses many of its partners."""

    def digest(pair: tuple[str, str]) -> str:
        return hashlib.sha256(" ".join((kind, *pair)).encode()).hexdigest()

    pairs = sorted(itertools.product(firsts, seconds), key=digest)
    wanted = round(share * len(pairs))
    most_first = max(1, round(2 * share * len(seconds)))
    most_second = max(1, round(1.5 * share * len(firsts)))
    held: list[tuple[str, str]] = []
    for pair in pairs:
        if len(held) == wanted:
            break
        if sum(p[0] == pair[0] for p in held) < most_first and sum(p[1] == pair[1] for p in held) < most_second:
            held.append(pair)
    return frozenset(held)


HELD_OUT_LOOKS = _chosen("scene", THINGS, COLOURS, 0.1)
HELD_OUT_MOTIONS = _chosen("clip", THINGS, MOTIONS, 0.1)
HELD_OUT_PITCHES = _chosen("sound", SOUNDS, PITCHES, 0.2)


def is_held_out(value: Value) -> bool:
    """True if no training target may show this value (combinations are held out, never single words)."""
    if isinstance(value, Scene):
        return (value.thing, value.colour) in HELD_OUT_LOOKS
    if isinstance(value, Clip):
        return is_held_out(value.scene) or (value.scene.thing, value.motion) in HELD_OUT_MOTIONS
    if isinstance(value, Sound):
        return (value.source, value.pitch) in HELD_OUT_PITCHES
    raise ValueError(f"not a picture-book value: {value!r}")


def words(value: Value) -> str:
    """The canonical words of a value, for hashing and for file names."""
    if isinstance(value, Clip):
        return f"{words(value.scene)} {value.motion}"
    return " ".join(astuple(value))
