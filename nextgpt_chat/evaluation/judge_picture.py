"""Judges a picture by the nearest rendering: knows ``draw`` and its parts, and no learned network.

>>> judge_picture(np.asarray(draw(scene, seed=3))) == scene      # (height, width, 3) uint8, about 20 ms
>>> look_at(pixels).share                                        # … with distances: 1 = wholly explained
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..picturebook import PICTURE_SIZE, Scene
from ..picturebook.drawing import CENTRES, RADII
from .backgrounds import find_background, resized, to_cells
from .templates import Found, Templates, every_look

_RIVAL, _RIVALS = 0.85, 4
"""Things that explain this share of what the best one explains are compared more closely, at most so many."""


@dataclass(frozen=True)
class PictureVerdict:
    """The scene nearest to a picture. ``share`` of what the empty place leaves unexplained is explained by the thing
    (true renderings: above 0.8; no thing at all: near 0); ``place_distance``: RMS colour distance from the place
    (true renderings: below 10); ``runner_up``: the share of the best other thing."""

    scene: Scene
    share: float
    place_distance: float
    runner_up: float
    found: Found


@cache
def _templates() -> Templates:
    return Templates(every_look(tuple(RADII.values())), canvas=2 * PICTURE_SIZE)


def size_of(radius: float, radii: Mapping[str, float] = RADII) -> str:
    """The size word of a radius (share of the side), by the nearest of ``radii`` on a log scale."""
    return min(radii, key=lambda name: abs(np.log(radius / radii[name])))


def position_of(x: float, size: str) -> str:
    """The position word of a thing's centre across the picture (share of the side)."""
    # Big things keep nearer to the middle (see drawing.scene_geometry).
    pull = {"small": 1.0, "medium": 0.96, "big": 0.78}[size]
    return min(CENTRES, key=lambda name: abs(x - 0.5 - pull * (CENTRES[name] - 0.5)))


def look_at(pixels: np.ndarray) -> PictureVerdict:
    """Judge a picture, uint8 (height, width, 3) of any size, and say how sure that is."""
    pixels = resized(pixels, PICTURE_SIZE)
    background = find_background(to_cells(pixels)[None])
    templates = _templates()
    gains = templates.search(background)[0]
    tops = gains.reshape(len(gains), -1).max(axis=1)
    number = int(tops.argmax())
    # The rivals: the best look of every thing that fits nearly as well.
    best_of: dict[str, int] = {}
    for i in np.argsort(tops)[::-1]:
        if len(best_of) == _RIVALS or tops[number] - tops[i] > (1 - _RIVAL) * abs(tops[number]):
            break
        best_of.setdefault(templates.looks[i].thing, int(i))
    founds = [templates.best(gains, background.difference, i) for i in best_of.values()]
    found = templates.compare(background, pixels, founds) if len(founds) > 1 else founds[0]
    look = found.look
    others = [top for top, other in zip(tops, templates.looks, strict=True) if other.thing != look.thing]
    size = size_of(look.radius)
    scene = Scene(look.thing, look.colour, size, position_of(found.x, size), background.place)
    runner_up = float(max(others)) / max(float(np.square(background.difference).sum()), 1.0)
    return PictureVerdict(scene, found.share, background.distance, runner_up, found)


def judge_picture(pixels: np.ndarray) -> Scene:
    """The scene whose renderings are nearest to a picture, uint8 (height, width, 3) of any size."""
    return look_at(pixels).scene
