"""Training data of the picture-book world: values that are not held out, rendered or cached."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..picturebook import values
from ..picturebook.values import Clip, Scene, Sound, is_held_out


@cache
def scenes(held_out: bool = False) -> tuple[Scene, ...]:
    """Every scene of one side of the split."""
    looks = itertools.product(values.THINGS, values.COLOURS, values.SIZES, values.POSITIONS, values.PLACES)
    return tuple(scene for scene in (Scene(*look) for look in looks) if is_held_out(scene) == held_out)


@cache
def clips(held_out: bool = False) -> tuple[Clip, ...]:
    """Every clip of one side of the split."""
    every = itertools.product((*scenes(False), *scenes(True)), values.MOTIONS)
    return tuple(clip for clip in (Clip(*pair) for pair in every) if is_held_out(clip) == held_out)


@cache
def sounds(held_out: bool = False) -> tuple[Sound, ...]:
    """Every sound of one side of the split."""
    every = itertools.product(values.SOUNDS, values.PITCHES, values.SPEEDS)
    return tuple(sound for sound in (Sound(*words) for words in every) if is_held_out(sound) == held_out)


def pick(pool: tuple, rng: np.random.Generator):
    """One value of a pool."""
    return pool[int(rng.integers(len(pool)))]


def new_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "thing": values.THINGS,
    "colour": values.COLOURS,
    "size": values.SIZES,
    "position": values.POSITIONS,
    "place": values.PLACES,
    "motion": values.MOTIONS,
    "source": values.SOUNDS,
    "pitch": values.PITCHES,
    "speed": values.SPEEDS,
}


def attributes(value: Scene | Clip | Sound) -> dict[str, str]:
    """Attribute name → word, the scene's own included for a clip."""
    if isinstance(value, Clip):
        return {**dataclasses.asdict(value.scene), "motion": value.motion}
    return dataclasses.asdict(value)


def with_attribute(value: Scene | Clip | Sound, name: str, word: str):
    """The value with one attribute changed."""
    if isinstance(value, Clip) and name != "motion":
        return Clip(dataclasses.replace(value.scene, **{name: word}), value.motion)
    return dataclasses.replace(value, **{name: word})


def similar(value: Scene | Clip | Sound, rng: np.random.Generator):
    """A value not held out that differs from ``value`` in one attribute."""
    while True:
        name = pick(tuple(attributes(value)), rng)
        changed = with_attribute(value, name, pick(ATTRIBUTES[name], rng))
        if changed != value and not is_held_out(changed):
            return changed


def families(pool: tuple, rng: np.random.Generator, size: int, relatives: int = 3) -> list:
    """``size`` values in groups: one from the pool with ``relatives`` that differ from it in one attribute each.

    Telling such neighbours apart is what makes a contrastive batch teach every attribute.
    """
    chosen: list = []
    while len(chosen) < size:
        value = pick(pool, rng)
        chosen += [value, *(similar(value, rng) for _ in range(relatives))]
    return chosen[:size]
