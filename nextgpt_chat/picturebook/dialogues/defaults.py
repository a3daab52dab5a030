"""What is made when a request leaves something open, so that every request has one right answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from nextgpt_chat.picturebook.values import (
    COLOURS,
    MOTIONS,
    PITCHES,
    PLACES,
    POSITIONS,
    SIZES,
    SOUNDS,
    SPEEDS,
    THINGS,
    Clip,
    Scene,
    Sound,
    Value,
    is_held_out,
)

ALLOWED = {
    "colour": COLOURS,
    "size": SIZES,
    "position": POSITIONS,
    "place": PLACES,
    "motion": MOTIONS,
    "pitch": PITCHES,
    "speed": SPEEDS,
}
ATTRIBUTES = {
    "image": ("thing", "colour", "size", "position", "place"),
    "audio": ("thing", "pitch", "speed"),
    "video": ("thing", "colour", "size", "position", "place", "motion"),
}
"""Kind of medium → its attributes. "thing" is also what sounds, weather included."""

DEFAULTS = {"size": "medium", "position": "middle", "place": "plain", "speed": "normal"}
DEFAULT_COLOURS = {
    "bird": "blue",
    "bell": "yellow",
    "car": "red",
    "boat": "white",
    "clock": "brown",
    "drum": "red",
    "train": "green",
    "dog": "brown",
    "frog": "green",
    "phone": "black",
    "ball": "red",
    "star": "yellow",
    "heart": "red",
    "house": "red",
    "tree": "green",
    "flower": "pink",
    "fish": "orange",
}
DEFAULT_MOTIONS = {
    "bird": "rises",
    "bell": "spins",
    "car": "moves right",
    "boat": "moves left",
    "clock": "spins",
    "drum": "grows",
    "train": "moves left",
    "dog": "moves right",
    "frog": "rises",
    "phone": "blinks",
    "ball": "falls",
    "star": "blinks",
    "heart": "grows",
    "house": "grows",
    "tree": "grows",
    "flower": "rises",
    "fish": "moves left",
}
"""How a thing moves when it is only told to move."""
DEFAULT_PITCHES = {source: "normal" for source in SOUNDS} | {"train": "high", "waves": "low"}
"""Normal, but for the two sources whose normal pitch is held out."""


def complete(kind: str, named: Mapping[str, str]) -> Value | None:
    """The value with the named attributes, defaults for the others, and names of other kinds ignored.

    None if the thing has no medium of this kind: silent things have no sound, weather has no looks.
    """
    thing = named["thing"]
    if kind == "audio":
        if thing not in SOUNDS:
            return None
        return Sound(thing, named.get("pitch", DEFAULT_PITCHES[thing]), named.get("speed", DEFAULTS["speed"]))
    if kind not in ATTRIBUTES:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(ATTRIBUTES)}")
    if thing not in THINGS:
        return None
    rest = [named.get(key, DEFAULTS[key]) for key in ("size", "position", "place")]
    scene = Scene(thing, named.get("colour", DEFAULT_COLOURS[thing]), *rest)
    return scene if kind == "image" else Clip(scene, named.get("motion", DEFAULT_MOTIONS[thing]))


def attributes(value: Value) -> dict[str, str]:
    """The attributes of a value; the source of a sound is its "thing"."""
    if isinstance(value, Clip):
        return {**attributes(value.scene), "motion": value.motion}
    if isinstance(value, Scene):
        return {key: getattr(value, key) for key in ATTRIBUTES["image"]}
    if isinstance(value, Sound):
        return {"thing": value.source, "pitch": value.pitch, "speed": value.speed}
    raise ValueError(f"not a picture-book value: {value!r}")


def random_attributes(rng: random.Random, things: Sequence[str]) -> dict[str, str]:
    """Every attribute drawn evenly; combinations may be held out."""
    return {"thing": rng.choice(things)} | {key: rng.choice(allowed) for key, allowed in ALLOWED.items()}


def random_value(rng: random.Random, kind: str, held_out: bool = False, things: Sequence[str] = ()) -> Value:
    """A value that is held out, or not. Where none of ``things`` has held-out values, any other one."""
    things = things or (SOUNDS if kind == "audio" else THINGS)
    for _ in range(400):
        value = complete(kind, random_attributes(rng, things))
        if is_held_out(value) == held_out:
            return value
    if held_out:
        return value
    raise ValueError(f"no {kind} of {', '.join(things)} may be trained on")
