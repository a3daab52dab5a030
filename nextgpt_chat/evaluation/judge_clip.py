"""Judges a clip by tracking its thing and by the nearest rendering of single frames: knows ``animate``'s parts, and no
learned network.

>>> judge_clip(animate(clip, seed=3)) == clip                    # about 60 ms
>>> watch(frames).share                                          # … with distances: 1 = wholly explained
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..picturebook import CLIP_FRAMES, CLIP_SIZE, Clip, Scene
from ..picturebook.motion import CLIP_RADII
from .backgrounds import CELLS, find_background, resized, to_cells
from .judge_picture import position_of, size_of
from .templates import Templates, every_look

_TRAVEL, _GROWTH = 0.4, 0.9
"""What a moving thing covers from the first frame to the last (shares of the side), and the logarithm that the radius
of a growing one gains: `motion`'s own figures."""
_MOVING = 0.45
"""Share of these that must be seen for the thing to be moving."""
_TURNING = 0.16
"""Share of the thing's contrast that changes from frame to frame if it turns; a still one changes by its noise only."""
_SPINNING = 0.3
"""Of the score: blurred and noised still things reach 0.2, striped balls that spin 0.38."""
_BLINKS = np.array([[1, 1, 0, 0, 1, 1, 0, 0], [1, 0, 0, 1, 1, 0, 0, 1]], dtype=float)
_SOLID = 70.0
"""A cell that differs this much from the place is wholly covered by the thing."""


@dataclass(frozen=True)
class ClipVerdict:
    """The clip nearest to some frames. ``share`` and ``place_distance`` as of a picture; ``scores``: how much of each
    motion is seen (1: as much as in true renderings)."""

    clip: Clip
    share: float
    place_distance: float
    scores: dict[str, float]


@cache
def _templates() -> Templates:
    return Templates(every_look(tuple(CLIP_RADII.values())), canvas=2 * CLIP_SIZE)


def _frames(frames: np.ndarray) -> np.ndarray:
    """uint8 (CLIP_FRAMES, CLIP_SIZE, CLIP_SIZE, 3) of a clip of any length and size."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"frames must be uint8 (frames, height, width, 3), not {frames.dtype} {frames.shape}")
    chosen = np.round(np.linspace(0, len(frames) - 1, CLIP_FRAMES)).astype(int)
    return np.stack([resized(frames[number], CLIP_SIZE) for number in chosen])


def motion_scores(difference: np.ndarray) -> dict[str, float]:
    """How much of each motion is in frames minus their place, float (CLIP_FRAMES, CELLS, CELLS, 3)."""
    strength = np.sqrt(np.square(difference).sum(-1))
    covered = np.minimum(strength / _SOLID, 1)
    # Specks that one frame shows far from the thing would pull its centre.
    covered = np.where(covered > 0.25, covered, 0)
    area = covered.sum((1, 2))
    seen = area > 0.3 * np.sort(area)[-2]
    swing = (area.max() - area.min()) / max(area.max(), 1e-6)
    patterns = _BLINKS - _BLINKS.mean(1, keepdims=True)
    centred = area - area.mean()
    likeness = patterns @ centred / (np.linalg.norm(patterns, axis=1) * max(float(np.linalg.norm(centred)), 1e-6))
    scores = {"blinks": float(swing * max(likeness.max(), 0)) if area.max() > 4 else 0.0}

    times = np.linspace(0, 1, CLIP_FRAMES)
    axis = (np.arange(CELLS) + 0.5) / CELLS
    total = np.maximum(area, 1e-6)
    centre_x, centre_y = (covered.sum(1) @ axis) / total, (covered.sum(2) @ axis) / total
    use = area > 1

    def slope(values: np.ndarray) -> float:
        return float(np.polyfit(times[use], values[use], 1)[0]) if use.sum() > 2 else 0.0

    across, down, growth = slope(centre_x), slope(centre_y), slope(0.5 * np.log(total))
    scores |= {
        "moves right": across / _TRAVEL,
        "moves left": -across / _TRAVEL,
        "falls": down / _TRAVEL,
        "rises": -down / _TRAVEL,
        "grows": growth / _GROWTH,
        "shrinks": -growth / _GROWTH,
    }
    both = seen[1:] & seen[:-1]
    changed = np.square(difference[1:] - difference[:-1]).sum((1, 2, 3))
    contrast = np.square(difference[1:]).sum((1, 2, 3)) + np.square(difference[:-1]).sum((1, 2, 3))
    turn = float(np.median(changed[both] / np.maximum(contrast[both], 1))) if both.any() else 0.0
    return scores | {"spins": turn / (2 * _TURNING)}


def motion_of(scores: dict[str, float]) -> str:
    """The motion that the scores speak for."""
    if scores["blinks"] > 0.5:
        return "blinks"
    moving = max((name for name in scores if name not in ("blinks", "spins")), key=lambda name: scores[name])
    if scores[moving] > _MOVING:
        return moving
    return "spins" if scores["spins"] > _SPINNING else "still"


def watch(frames: np.ndarray) -> ClipVerdict:
    """Judge a clip, uint8 (frames, height, width, 3) of any length and size, and say how sure that is."""
    background = find_background(to_cells(_frames(frames)))
    scores = motion_scores(background.difference)
    motion = motion_of(scores)
    energy = np.square(background.difference).sum((1, 2, 3))
    if motion == "spins":
        # It starts upright, and the renderings that it is compared with are upright.
        looked_at = [0]
    elif motion == "blinks":
        looked_at = sorted(np.argsort(energy)[-3:].tolist())
    else:
        # Half-way through, size and position are those that the value names.
        looked_at = [3, 4]
    templates = _templates()
    chosen = background.at(looked_at)
    gains = templates.search(chosen)
    tops = gains.reshape(*gains.shape[:2], -1).max(axis=2).sum(axis=0)
    number = int(tops.argmax())
    founds = [templates.best(gains[i], chosen.difference[i], number) for i in range(len(looked_at))]
    size = size_of(founds[0].look.radius, CLIP_RADII)
    scene = Scene(
        founds[0].look.thing,
        founds[0].look.colour,
        size,
        position_of(float(np.mean([found.x for found in founds])), size),
        background.place,
    )
    share = float(np.mean([found.share for found in founds]))
    return ClipVerdict(Clip(scene, motion), share, background.distance, scores)


def judge_clip(frames: np.ndarray) -> Clip:
    """The clip whose renderings are nearest to uint8 (frames, height, width, 3) of any length and size."""
    return watch(frames).clip
