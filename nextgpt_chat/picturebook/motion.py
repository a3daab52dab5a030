"""Clips of the picture-book world: the painters of ``drawing``, with a thing that moves over a still place."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from nextgpt_chat.picturebook.drawing import (
    OVERSAMPLING,
    RADII,
    RGB,
    Geometry,
    paint_thing,
    random_for,
    scene_geometry,
    shade_of,
)
from nextgpt_chat.picturebook.places import paint_place
from nextgpt_chat.picturebook.values import CLIP_FRAMES, CLIP_SIZE, Clip

ZOOM = {"small": 1.4, "medium": 1.3, "big": 1.25}
"""Things are this much larger in clips than in pictures, small ones most, so that they show at 64 pixels."""
CLIP_RADII = {size: ZOOM[size] * RADII[size] for size in RADII}
"""Radius of a thing as a share of the clip's side, half-way through; the bands never meet."""

_TRAVEL = 0.4
_GROWTH = 1.5 / 0.6
_LARGEST = 0.48
_DIRECTIONS = {"moves right": (1, 0), "moves left": (-1, 0), "rises": (0, -1), "falls": (0, 1)}


def _kept(low: float, high: float, value: float) -> float:
    return min(high, max(low, value))


def _path(clip: Clip, middle: Geometry, rng: Random) -> list[Geometry | None]:
    """Where the thing is in each frame (None: not shown); ``middle`` is its state half-way through the clip."""
    speed = rng.uniform(0.9, 1.1)
    times = [frame / (CLIP_FRAMES - 1) - 0.5 for frame in range(CLIP_FRAMES)]
    if clip.motion in _DIRECTIONS:
        across, down = (speed * _TRAVEL * step for step in _DIRECTIONS[clip.motion])
        return [
            replace(middle, x=_kept(0.05, 0.95, middle.x + t * across), y=_kept(0.05, 0.95, middle.y + t * down))
            for t in times
        ]
    if clip.motion in ("grows", "shrinks"):
        power = speed if clip.motion == "grows" else -speed
        return [replace(middle, radius=min(_LARGEST, middle.radius * _GROWTH ** (t * power))) for t in times]
    if clip.motion == "spins":
        # Under 60 degrees a frame the eye, and a model that sees every other frame, still reads the sense.
        step = 52 * speed
        return [replace(middle, angle=middle.angle + frame * step) for frame in range(CLIP_FRAMES)]
    if clip.motion == "blinks":
        # Two frames on, two off; both phases start with the thing on.
        phase = rng.choice((0, 1))
        return [middle if (frame + phase) % 4 < 2 else None for frame in range(CLIP_FRAMES)]
    return [middle] * CLIP_FRAMES


def clip_geometry(clip: Clip, seed: int) -> list[Geometry | None]:
    """Where ``animate(clip, seed)`` puts the thing in each frame; None where it is not shown."""
    rng = random_for(clip, seed, "geometry")
    middle = scene_geometry(clip.scene, rng, ZOOM[clip.scene.size])
    if clip.motion in ("rises", "falls"):
        middle = replace(middle, y=0.5 + 0.3 * (middle.y - 0.5))
    elif clip.motion in ("grows", "shrinks"):
        middle = replace(middle, y=0.5 + 0.6 * (middle.y - 0.5))
    return _path(clip, middle, rng)


def animate(clip: Clip, seed: int, body: RGB | None = None) -> np.ndarray:
    """The clip as uint8 (``CLIP_FRAMES``, ``CLIP_SIZE``, ``CLIP_SIZE``, 3), RGB; the place does not change within it.

    ``size`` and ``position`` of the scene are those half-way through. Equal arguments give equal pixels. ``body``: as
    for ``draw``.
    """
    place = paint_place(clip.scene.place, OVERSAMPLING * CLIP_SIZE, random_for(clip, seed, "place"))
    body = body or shade_of(clip.scene.colour, random_for(clip, seed, "shade"))
    frames = []
    for where in clip_geometry(clip, seed):
        canvas = place.copy()
        if where is not None:
            paint_thing(canvas, clip.scene.thing, clip.scene.colour, body, where)
        frames.append(np.asarray(canvas.reduce(OVERSAMPLING)))
    return np.stack(frames)
