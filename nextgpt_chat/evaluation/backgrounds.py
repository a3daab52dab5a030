"""What part of a picture is the empty place: the first half of judging by nearest rendering."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np
import PIL.Image

from ..picturebook import PLACES
from ..picturebook.places import paint_place

RENDERINGS = 64
"""Empty pictures of each place that a picture is compared with."""
CELLS = 32
"""Pictures are compared as this many cells on a side, which blur and noise hardly change."""
_PAINTED = 256
_SHARE = 0.55
"""Of the cells must look like the place; a big thing hides at most the others."""
_CLOSE = 12.0
"""A colour this near (Euclidean, of 255 a channel) to one the place has there is taken for the place."""


@dataclass(frozen=True)
class Background:
    """A place and what a picture shows besides it.

    ``place``: its name; ``distance``: root mean square colour distance of the cells taken for the place; ``empty``:
    float32 (n, CELLS, CELLS, 3), the place without the thing, as far as it can be known; ``difference``: the picture
    minus ``empty``, zero where the place explains the picture.
    """

    place: str
    distance: float
    empty: np.ndarray
    difference: np.ndarray

    def at(self, frames: list[int]) -> Background:
        """The same with these frames only."""
        return replace(self, empty=self.empty[frames], difference=self.difference[frames])


def to_cells(pixels: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Mean colours, float32 (..., cells, cells, 3), of uint8 (..., side, side, 3); ``side`` is a multiple of cells."""
    *batch, side, _, colours = pixels.shape
    step = side // cells
    return pixels.reshape(*batch, cells, step, cells, step, colours).mean(axis=(-4, -2), dtype=np.float32)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 (h, w, 3) as (side, side, 3), averaged down or interpolated up."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be uint8 (height, width, 3), not {pixels.dtype} {pixels.shape}")
    if pixels.shape[:2] == (side, side):
        return pixels
    picture = PIL.Image.fromarray(pixels)
    return np.asarray(picture.resize((side, side), PIL.Image.Resampling.BOX if min(picture.size) > side else None))


@cache
def _empties() -> np.ndarray:
    """float32 (places, RENDERINGS, CELLS, CELLS, 3)."""
    rendered = [
        [to_cells(np.asarray(paint_place(place, _PAINTED, Random(f"empty {place} {n}")))) for n in range(RENDERINGS)]
        for place in PLACES
    ]
    return np.asarray(rendered)


def find_background(cells: np.ndarray) -> Background:
    """The place of a picture (or of the frames of one clip): ``cells`` float32 (n, CELLS, CELLS, 3)."""
    empties = _empties()
    coarse = empties.reshape(*empties.shape[:2], CELLS // 2, 2, CELLS // 2, 2, 3).mean(axis=(3, 5))
    seen = cells.reshape(len(cells), CELLS // 2, 2, CELLS // 2, 2, 3).mean(axis=(2, 4))
    # Of each cell the frame that looks most like the place counts: a thing that moves uncovers what it hid.
    apart = np.stack([np.square(coarse - frame).sum(-1) for frame in seen]).min(axis=0)
    apart = apart.reshape(*empties.shape[:2], -1)
    kept = round(_SHARE * apart.shape[-1])
    scores = np.partition(apart, kept, axis=-1)[..., :kept].mean(axis=-1)
    order = np.sort(scores, axis=1)[:, :3].mean(axis=1)
    number = int(order.argmin())

    best = empties[number][np.argsort(scores[number])[:6]].mean(axis=0)
    empty, difference = np.empty_like(cells), np.empty_like(cells)
    for frame, colours in enumerate(cells):
        distances = np.square(empties[number] - colours).sum(-1)
        nearest = distances.argmin(axis=0)
        near = np.take_along_axis(distances, nearest[None], 0)[0]
        like = np.take_along_axis(empties[number], nearest[None, :, :, None], 0)[0]
        empty[frame] = np.where((near < _CLOSE**2)[..., None], like, best)
        # What is left over shrinks smoothly to nothing as a colour nears one of the place's.
        difference[frame] = (colours - empty[frame]) * np.maximum(1 - _CLOSE**2 / np.maximum(near, 1), 0)[..., None]
    return Background(PLACES[number], float(np.sqrt(order[number])), empty, difference)
