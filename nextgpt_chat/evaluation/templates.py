"""Things in all their looks, laid over a background at every spot: the second half of judging by nearest rendering."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import PIL.Image
import torch

from ..picturebook import COLOURS, THINGS
from ..picturebook.drawing import SHADES, Geometry, paint_thing
from .backgrounds import CELLS, Background, to_cells

_POOR, _FAINTEST = 0.6, 0.35
"""A match that explains less than this share is sought again with templates down to this strength."""


@dataclass(frozen=True)
class Look:
    """One template: radius as a share of the side, angle in degrees clockwise."""

    thing: str
    colour: str
    radius: float
    angle: float = 0.0


@dataclass(frozen=True)
class Found:
    """Where a template fits best: centre as shares of the side; ``gain``: how much squared colour error it explains
    beyond the empty place; ``share``: the same as a share of all there is to explain (1: everything)."""

    look: Look
    x: float
    y: float
    gain: float
    share: float


class Templates:
    """Renderings of ``looks`` without a place, at CELLS cells a side, matched at every shift by FFT.

    ``canvas``: side in pixels that they are painted at, to have the outlines of pictures or of clips.
    """

    def __init__(self, looks: list[Look], canvas: int) -> None:
        self.looks, self._canvas = looks, canvas
        reach = math.ceil(max(look.radius for look in looks) * 1.12 * CELLS) + 1
        self._period = CELLS + 2 * math.ceil(reach / 2)
        alphas, paints = zip(*(_render(look, canvas, reach) for look in looks), strict=True)
        self._alpha, self._paint = np.stack(alphas), np.stack(paints)

    @cached_property
    def _spectra(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `match` multiplies: complex (frequencies, looks, 4) for the part of the gain that is linear in the
        template, the same for the square part, and the constant of the square part, float (looks, CELLS, CELLS)."""
        alpha, paint = self._alpha[..., None], self._paint
        linear = self._transformed(np.concatenate([2 * paint, -2 * alpha], axis=-1))
        square = self._transformed(np.concatenate([2 * alpha * paint, -(alpha**2)], axis=-1))
        energy = self._transformed(-np.square(paint).sum(-1, keepdims=True))[..., 0]
        side = self._period
        window = torch.zeros(side, side)
        window[:CELLS, :CELLS] = 1
        constant = torch.fft.irfft2(torch.fft.rfft2(window) * energy, s=(side, side))[:, :CELLS, :CELLS]
        # Frequencies first: matching is then one small matrix product each.
        linear, square = (x.permute(1, 2, 0, 3).reshape(-1, len(x), 4).contiguous() for x in (linear, square))
        return linear, square, constant.contiguous()

    def _transformed(self, maps: np.ndarray) -> torch.Tensor:
        """Conjugate spectra of (looks, size, size, n), their middle moved to the origin."""
        side, size = self._period, maps.shape[1]
        padded = torch.zeros(len(maps), side, side, maps.shape[-1])
        padded[:, :size, :size] = torch.from_numpy(maps.astype(np.float32))
        return torch.fft.rfft2(padded.roll((-(size // 2), -(size // 2)), (1, 2)), dim=(1, 2)).conj()

    @torch.no_grad()
    def match(self, background: Background) -> np.ndarray:
        """Gains float32 (frames, looks, CELLS, CELLS) of each look with its centre in each cell.

        A look with coverage a and paint p (already multiplied by a) over the empty place B predicts the difference
        T = p - a B; its gain is |D|² - |D - T|² = 2 D·T - |T|², summed over the picture, D being the difference seen.
        """
        linear, square, constant = self._spectra
        spectra = torch.cat([linear, square], dim=-1)
        return (self._correlated(spectra, *_maps(background)) + constant).numpy()

    @torch.no_grad()
    def match_faint(self, background: Background) -> np.ndarray:
        """As `match`, for things that came out pale or soft: each template may be down to a third as strong."""
        linear, square, constant = self._spectra
        seen, place = _maps(background)
        first = self._correlated(linear, seen)
        second = self._correlated(square, place) + constant
        strength = (-first / (2 * second.clamp(max=-1e-3))).clamp(_FAINTEST, 1)
        return (strength * first + strength.square() * second).numpy()

    def _correlated(self, spectra: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """(frames, looks, CELLS, CELLS) sums of products of maps (frames, CELLS, CELLS, 4) with shifted templates."""
        side, seen = self._period, torch.cat(maps, dim=-1)
        padded = torch.zeros(len(seen), side, side, seen.shape[-1])
        padded[:, :CELLS, :CELLS] = seen
        parts = torch.fft.rfft2(padded, dim=(1, 2)).permute(1, 2, 3, 0).reshape(len(spectra), -1, len(seen))
        product = torch.bmm(spectra, parts).permute(2, 1, 0).reshape(len(seen), len(self.looks), side, side // 2 + 1)
        return torch.fft.irfft2(product, s=(side, side))[..., :CELLS, :CELLS]

    def search(self, background: Background) -> np.ndarray:
        """`match`, or `match_faint` where the best match explains too little. What both the judges use."""
        gains = self.match(background)
        total = np.square(background.difference).sum()
        best = gains.reshape(*gains.shape[:2], -1).max(axis=2).sum(axis=0).max()
        return gains if best > _POOR * total else self.match_faint(background)

    def compare(self, background: Background, pixels: np.ndarray, founds: list[Found]) -> Found:
        """Of finds in the first frame the best one, at half the cells' size, a little moved and tilted: the shapes of
        small things differ by less than the cells of `match`. ``pixels``: the frame, uint8 (side, side, 3)."""
        empty = background.empty[0].repeat(2, 0).repeat(2, 1)
        other = background.difference[0].any(-1).repeat(2, 0).repeat(2, 1)
        difference = (to_cells(pixels, 2 * CELLS) - empty) * other[..., None]
        total = float(np.square(difference).sum())
        best = founds[0], -math.inf
        for found, tilt in itertools.product(founds, (-3.5, 0.0, 3.5)):
            where = Geometry(found.x, found.y, found.look.radius, found.look.angle + tilt)
            covered = _covered(found.look, self._canvas, where, 2 * CELLS)
            for shift in itertools.product((-1, 0, 1), repeat=2):
                moved = np.roll(covered, shift, (0, 1))
                predicted = moved[..., 1:] - moved[..., :1] * empty
                gain = float((predicted * (2 * difference - predicted)).sum())
                if gain > best[1]:
                    best = replace(found, gain=gain, share=gain / max(total, 1.0)), gain
        return best[0]

    def best(self, gains: np.ndarray, difference: np.ndarray, number: int) -> Found:
        """The best fit of look ``number`` in one frame's gains (looks, CELLS, CELLS), to a fraction of a cell."""
        plane = gains[number]
        row, column = np.unravel_index(plane.argmax(), plane.shape)
        total = float(np.square(difference).sum())
        gain = float(plane[row, column])
        x, y = column + _peak(plane[row], column), row + _peak(plane[:, column], row)
        return Found(self.looks[number], (x + 0.5) / CELLS, (y + 0.5) / CELLS, gain, gain / max(total, 1.0))


def _maps(background: Background) -> tuple[torch.Tensor, torch.Tensor]:
    """(D, D·B) and (B, |B|²), each (frames, CELLS, CELLS, 4)."""
    empty, difference = torch.from_numpy(background.empty), torch.from_numpy(background.difference)
    product, power = (difference * empty).sum(-1, True), empty.square().sum(-1, True)
    return torch.cat([difference, product], dim=-1), torch.cat([empty, power], dim=-1)


def _peak(values: np.ndarray, at: int) -> float:
    """Offset, within half a step, of a parabola's top through the values around index ``at``."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, top, after = (float(v) for v in values[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def _render(look: Look, canvas: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (2 reach + 1, 2 reach + 1) and covered paint (…, 3) in cells, the thing's centre in the middle cell."""
    middle = CELLS // 2
    where = Geometry((middle + 0.5) / CELLS, (middle + 0.5) / CELLS, look.radius, look.angle)
    both = np.pad(_covered(look, canvas, where), ((reach, reach), (reach, reach), (0, 0)))
    both = both[middle : middle + 2 * reach + 1, middle : middle + 2 * reach + 1]
    return both[..., 0], both[..., 1:]


def _covered(look: Look, canvas: int, where: Geometry, cells: int = CELLS) -> np.ndarray:
    """Coverage and covered paint, float32 (cells, cells, 4), of a thing somewhere."""
    pair = []
    for ground in (0, 255):
        image = PIL.Image.new("RGB", (canvas, canvas), (ground,) * 3)
        paint_thing(image, look.thing, look.colour, SHADES[look.colour], where)
        pair.append(to_cells(np.asarray(image), cells))
    dark, light = pair
    # What the ground shines through is not covered.
    return np.concatenate([1 - (light - dark).mean(-1, keepdims=True) / 255, dark], axis=-1)


def every_look(radii: tuple[float, ...], angles: tuple[float, ...] = (0.0,)) -> list[Look]:
    """All things in all colours at these radii and angles."""
    return [Look(t, c, radius, angle) for t in THINGS for c in COLOURS for radius in radii for angle in angles]
