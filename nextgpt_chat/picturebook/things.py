"""The seventeen things, each painted by one small function in a unit frame.

A painter knows only its ``Brush``: x runs right and y down, the thing fills about -1..1, and the brush turns, scales
and moves it. Size, colour and place are decided in ``drawing``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import ImageDraw

Point = tuple[float, float]
Points = tuple[Point, ...]
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Paints:
    """The colours one thing is painted with; ``body`` is the one that its value names."""

    body: RGB
    shade: RGB
    tint: RGB
    outline: RGB
    dark: RGB
    light: RGB


@lru_cache(maxsize=256)
def _oval(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> Points:
    """An ellipse about (x, y) with these half axes, turned by ``tilt`` degrees."""
    count = 28 if max(width, height) > 0.35 else 16
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    turns = [2 * math.pi * i / count for i in range(count)]
    ring = [(width * math.cos(t), height * math.sin(t)) for t in turns]
    return tuple((x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ring)


@lru_cache(maxsize=64)
def _box(left: float, top: float, right: float, bottom: float, corner: float) -> Points:
    """A rectangle whose corners are rounded with radius ``corner``."""
    points = []
    for x, y, start in (
        (right - corner, bottom - corner, 0),
        (left + corner, bottom - corner, 90),
        (left + corner, top + corner, 180),
        (right - corner, top + corner, 270),
    ):
        turns = [math.radians(start + 90 * i / 4) for i in range(5)]
        points += [(x + corner * math.cos(t), y + corner * math.sin(t)) for t in turns]
    return tuple(points)


@lru_cache(maxsize=64)
def _smooth(points: Points, closed: bool = True) -> Points:
    """A Catmull-Rom curve through the points."""
    count, result = len(points), []
    for i in range(count if closed else count - 1):
        near = [(i - 1, i, i + 1, i + 2)[k] for k in range(4)]
        near = [n % count for n in near] if closed else [min(max(n, 0), count - 1) for n in near]
        a, b, c, d = (points[n] for n in near)
        for t in (0.0, 0.25, 0.5, 0.75):
            weights = (
                -0.5 * t + t * t - 0.5 * t**3,
                1 - 2.5 * t * t + 1.5 * t**3,
                0.5 * t + 2 * t * t - 1.5 * t**3,
                -0.5 * t * t + 0.5 * t**3,
            )
            result.append(tuple(sum(w * p[k] for w, p in zip(weights, (a, b, c, d), strict=True)) for k in (0, 1)))
    return tuple(result) if closed else (*result, points[-1])


class Brush:
    """Paints unit-frame shapes on a canvas with outlines of constant width.

    ``centre`` and ``radius`` are in canvas pixels, ``angle`` in degrees clockwise.
    """

    def __init__(
        self, canvas: ImageDraw.ImageDraw, centre: Point, radius: float, angle: float, paints: Paints, line: float
    ) -> None:
        self.canvas, self.paints, self.line = canvas, paints, line
        self._x, self._y, self._radius = *centre, radius
        self._cos = radius * math.cos(math.radians(angle))
        self._sin = radius * math.sin(math.radians(angle))

    def _placed(self, points: Sequence[Point]) -> list[Point]:
        x, y, cos, sin = self._x, self._y, self._cos, self._sin
        return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in points]

    def shapes(self, *shapes: Points, fill: RGB | None = None) -> None:
        """Fill the shapes (default: the body's colour) as one, with a single outline around all of them."""
        placed = [self._placed(points) for points in shapes]
        for points in placed:
            width = max(3, round(2 * self.line))
            self.canvas.line([*points, *points[:2]], fill=self.paints.outline, width=width, joint="curve")
        for points in placed:
            self.canvas.polygon(points, fill=fill or self.paints.body)

    def patch(self, points: Points, fill: RGB) -> None:
        """Fill one shape without an outline: a detail on the body."""
        self.canvas.polygon(self._placed(points), fill=fill)

    def stroke(self, points: Points, fill: RGB, width: float = 0.0) -> None:
        """Draw a line ``width`` units wide, at least as wide as an outline."""
        pixels = max(1, round(max(self.line, width * self._radius)))
        self.canvas.line(self._placed(points), fill=fill, width=pixels, joint="curve" if pixels > 2 else None)

    def dot(self, x: float, y: float, radius: float, fill: RGB) -> None:
        """Fill a small circle, never smaller than an outline is wide."""
        ((a, b),) = self._placed(((x, y),))
        size = max(self.line * 0.7, radius * self._radius)
        self.canvas.ellipse((a - size, b - size, a + size, b + size), fill=fill)

    def eye(self, x: float, y: float, radius: float) -> None:
        """A light eye with a dark pupil that reads on every body colour."""
        self.dot(x, y, radius, (250, 250, 246))
        self.dot(x + 0.15 * radius, y, radius * 0.58, (26, 24, 32))


def bird(brush: Brush) -> None:
    paints = brush.paints
    for x in (-0.14, 0.14):
        brush.stroke(((x, 0.5), (x + 0.02, 0.92), (x + 0.2, 0.94)), paints.dark, 0.07)
    brush.shapes(((0.74, -0.46), (1.06, -0.24), (0.74, -0.1)), fill=(246, 196, 84))
    brush.shapes(
        _oval(-0.05, 0.16, 0.62, 0.46, -12),
        _oval(0.48, -0.3, 0.36, 0.35),
        ((-0.45, -0.02), (-1.0, -0.24), (-0.9, 0.04), (-1.0, 0.3), (-0.45, 0.42)),
    )
    wing = ((0.18, 0.16), (-0.02, -0.28), (-0.42, -0.92), (-0.66, -0.5), (-0.6, -0.04), (-0.28, 0.28))
    brush.shapes(_smooth(wing), fill=paints.shade)
    brush.eye(0.56, -0.38, 0.12)


def bell(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_oval(0.0, 0.7, 0.2, 0.22), fill=paints.shade)
    brush.shapes(_oval(0.0, -0.8, 0.17, 0.17))
    side = ((-0.16, -0.74), (-0.44, -0.56), (-0.54, -0.2), (-0.6, 0.16), (-0.72, 0.4), (-0.96, 0.6))
    brush.shapes(_smooth((*side, (0.0, 0.66), *((-x, y) for x, y in reversed(side)))))
    brush.stroke(_smooth(((-0.6, 0.3), (0.0, 0.4), (0.6, 0.3)), closed=False), paints.light, 0.1)
    brush.stroke(_smooth(((-0.34, -0.4), (-0.4, -0.2), (-0.43, 0.06)), closed=False), paints.light, 0.08)


def _wheel(brush: Brush, x: float, y: float, radius: float) -> None:
    brush.dot(x, y, radius, (34, 32, 40))
    if brush.paints.outline[0] > 100:
        rim = _oval(x, y, radius, radius)
        brush.stroke((*rim, rim[0]), brush.paints.outline)
    hub = brush.paints.body if brush.paints.outline[0] < 100 else brush.paints.light
    brush.dot(x, y, radius * 0.5, hub)


def car(brush: Brush) -> None:
    paints = brush.paints
    roof = ((-0.74, 0.0), (-0.54, -0.62), (-0.4, -0.7), (0.28, -0.7), (0.44, -0.62), (0.74, 0.0))
    brush.shapes(_box(-1.0, -0.16, 1.0, 0.5, 0.2), roof)
    brush.patch(((-0.48, -0.16), (-0.38, -0.5), (-0.12, -0.5), (-0.12, -0.16)), paints.light)
    brush.patch(((0.06, -0.16), (0.06, -0.5), (0.27, -0.5), (0.46, -0.16)), paints.light)
    brush.stroke(((-0.03, 0.0), (-0.03, 0.4)), paints.shade)
    brush.dot(0.9, 0.08, 0.09, paints.light)
    for x in (-0.54, 0.54):
        _wheel(brush, x, 0.5, 0.26)


def boat(brush: Brush) -> None:
    paints = brush.paints
    brush.stroke(((0.0, -0.98), (0.0, 0.4)), paints.dark, 0.07)
    brush.shapes(_smooth(((0.12, -0.86), (0.52, -0.44), (0.84, 0.16), (0.5, 0.2), (0.12, 0.18), (0.12, -0.3))))
    brush.shapes(((-0.12, -0.7), (-0.12, 0.18), (-0.7, 0.18)))
    brush.shapes(((-1.0, 0.34), (1.0, 0.34), (0.86, 0.66), (0.62, 0.88), (-0.58, 0.88), (-0.84, 0.66)))
    brush.stroke(((-0.8, 0.54), (0.8, 0.54)), paints.light, 0.07)


def clock(brush: Brush) -> None:
    paints = brush.paints
    for side in (-1, 1):
        brush.stroke(((side * 0.4, 0.6), (side * 0.6, 0.94)), paints.dark, 0.14)
        brush.shapes(_oval(side * 0.52, -0.64, 0.3, 0.22, side * 42))
    brush.stroke(((0.0, -0.6), (0.0, -0.86)), paints.dark, 0.1)
    brush.dot(0.0, -0.88, 0.1, paints.dark)
    brush.shapes(_oval(0.0, 0.12, 0.78, 0.78))
    for hour in range(12):
        cos, sin = math.cos(math.pi * hour / 6), math.sin(math.pi * hour / 6)
        brush.dot(0.62 * cos, 0.12 + 0.62 * sin, 0.075 if hour % 3 == 0 else 0.035, paints.dark)
    brush.stroke(((0.0, 0.12), (0.0, -0.36)), paints.dark, 0.11)
    brush.stroke(((0.0, 0.12), (0.32, 0.28)), paints.dark, 0.13)
    brush.dot(0.0, 0.12, 0.09, paints.dark)


def drum(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_box(-0.84, -0.3, 0.84, 0.62, 0.1), _oval(0.0, 0.6, 0.84, 0.3))
    zigzag = ((-0.8, 0.0), (-0.56, 0.62), (-0.28, 0.12), (0.0, 0.76), (0.28, 0.12), (0.56, 0.62), (0.8, 0.0))
    brush.stroke(zigzag, paints.light, 0.05)
    brush.shapes(_oval(0.0, -0.3, 0.86, 0.25), fill=paints.tint)
    for start, end in (((-0.78, -0.94), (0.1, -0.36)), ((0.78, -0.94), (-0.1, -0.28))):
        brush.stroke((start, end), paints.dark, 0.07)
        brush.dot(*end, 0.1, paints.dark)


def train(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(((0.6, 0.2), (0.8, 0.2), (1.06, 0.72), (0.5, 0.72)), fill=paints.shade)
    brush.shapes(((0.38, -0.1), (0.27, -0.78), (0.74, -0.78), (0.63, -0.1)))
    brush.shapes(_oval(0.04, -0.24, 0.17, 0.2))
    brush.shapes(_box(-0.5, -0.26, 0.82, 0.56, 0.14), _box(-0.96, -0.72, -0.34, 0.56, 0.04))
    brush.shapes(_box(-1.06, -0.86, -0.24, -0.68, 0.06), fill=paints.shade)
    brush.patch(_box(-0.82, -0.54, -0.48, -0.14, 0.05), paints.light)
    brush.stroke(((-0.2, -0.2), (-0.2, 0.4)), paints.shade)
    brush.stroke(((0.2, -0.2), (0.2, 0.4)), paints.shade)
    brush.dot(0.78, 0.02, 0.1, paints.light)
    for x, radius in ((-0.64, 0.27), (-0.06, 0.21), (0.44, 0.21)):
        _wheel(brush, x, 0.86 - radius, radius)


def dog(brush: Brush) -> None:
    paints = brush.paints
    tail = _smooth(((-0.5, 0.1), (-0.82, -0.16), (-0.86, -0.56), (-1.0, -0.62), (-1.04, -0.1), (-0.7, 0.26)))
    legs = [_box(x, 0.2, x + 0.25, 0.94, 0.1) for x in (-0.66, -0.34, 0.02, 0.34)]
    brush.shapes(
        tail,
        *legs,
        _box(-0.68, -0.12, 0.56, 0.54, 0.26),
        _box(0.2, -0.5, 0.6, 0.3, 0.16),
        _oval(0.48, -0.5, 0.37, 0.36),
        _box(0.5, -0.58, 1.04, -0.2, 0.17),
    )
    brush.stroke(_smooth(((0.14, -0.1), (0.38, 0.02), (0.64, -0.06)), closed=False), paints.light, 0.1)
    ear = ((0.3, -0.84), (0.46, -0.7), (0.42, -0.3), (0.26, -0.12), (0.1, -0.3), (0.14, -0.66))
    brush.shapes(_smooth(ear), fill=paints.shade)
    brush.dot(1.0, -0.48, 0.11, paints.dark)
    brush.eye(0.62, -0.58, 0.11)


def frog(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_oval(-0.72, 0.8, 0.3, 0.14), _oval(0.72, 0.8, 0.3, 0.14))
    brush.shapes(
        _oval(0.0, 0.44, 0.66, 0.48),
        _oval(-0.62, 0.52, 0.3, 0.34),
        _oval(0.62, 0.52, 0.3, 0.34),
        _oval(0.0, -0.12, 0.86, 0.46),
        _oval(-0.46, -0.58, 0.29, 0.29),
        _oval(0.46, -0.58, 0.29, 0.29),
    )
    brush.patch(_oval(0.0, 0.62, 0.38, 0.24), paints.tint)
    brush.eye(-0.46, -0.6, 0.19)
    brush.eye(0.46, -0.6, 0.19)
    brush.stroke(_smooth(((-0.62, -0.06), (-0.3, 0.14), (0.3, 0.14), (0.62, -0.06)), closed=False), paints.dark, 0.07)


def phone(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_box(-0.4, -0.5, -0.22, 0.0, 0.04), _box(0.22, -0.5, 0.4, 0.0, 0.04), fill=paints.shade)
    base = ((-0.88, 0.86), (-0.8, 0.5), (-0.5, -0.14), (0.5, -0.14), (0.8, 0.5), (0.88, 0.86))
    brush.shapes(base)
    half = ((-0.98, -0.2), (-0.98, -0.5), (-0.78, -0.78), (-0.4, -0.88), (0.0, -0.9))
    low = ((0.0, -0.58), (-0.36, -0.54), (-0.52, -0.42), (-0.54, -0.18), (-0.74, -0.12))
    right_top = tuple((-x, y) for x, y in reversed(half[:-1]))
    right_low = tuple((-x, y) for x, y in reversed(low[1:]))
    brush.shapes(_smooth((*half, *right_top, *right_low, *low)))
    brush.dot(0.0, 0.38, 0.34, paints.light)
    for i in range(8):
        brush.dot(0.24 * math.cos(math.pi * i / 4), 0.38 + 0.24 * math.sin(math.pi * i / 4), 0.055, (40, 38, 46))
    brush.dot(0.0, 0.38, 0.11, paints.body)


def ball(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_oval(0.0, 0.0, 0.94, 0.94))
    xs = [-0.92 + 1.84 * i / 12 for i in range(13)]
    upper = [(x, -0.16 + 0.34 * (1 - x * x)) for x in xs]
    lower = [(x * 0.97, y + 0.3) for x, y in reversed(upper)]
    brush.patch((*upper, *lower), paints.light)
    brush.patch(_oval(-0.4, -0.5, 0.2, 0.12, -40), paints.light)


def star(brush: Brush) -> None:
    paints = brush.paints
    points = []
    for i in range(10):
        reach, turn = (1.04, 0.52)[i % 2], math.pi * (i / 5 - 0.5)
        points.append((reach * math.cos(turn), 0.06 + reach * math.sin(turn)))
    brush.shapes(tuple(points))
    for x in (-0.18, 0.18):
        brush.dot(x, -0.06, 0.085, paints.dark)
    brush.stroke(_smooth(((-0.22, 0.18), (0.0, 0.32), (0.22, 0.18)), closed=False), paints.dark, 0.08)


def heart(brush: Brush) -> None:
    turns = [2 * math.pi * i / 36 for i in range(36)]
    points = tuple(
        (
            1.0 * math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15.5 - 0.1,
        )
        for t in turns
    )
    brush.shapes(points)
    brush.patch(_oval(-0.5, -0.5, 0.22, 0.13, -40), brush.paints.light)


def house(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(((0.42, -0.3), (0.42, -0.9), (0.68, -0.9), (0.68, -0.3)))
    brush.shapes(((-0.74, -0.2), (0.74, -0.2), (0.74, 0.92), (-0.74, 0.92)))
    brush.shapes(((-1.0, -0.1), (0.0, -0.98), (1.0, -0.1)), fill=paints.shade)
    brush.patch(((-0.48, 0.4), (-0.16, 0.4), (-0.16, 0.92), (-0.48, 0.92)), paints.dark)
    brush.patch(((0.14, 0.24), (0.52, 0.24), (0.52, 0.6), (0.14, 0.6)), paints.light)
    brush.stroke(((0.33, 0.24), (0.33, 0.6)), paints.dark, 0.04)
    brush.stroke(((0.14, 0.42), (0.52, 0.42)), paints.dark, 0.04)
    brush.dot(0.0, -0.46, 0.13, paints.light)


def tree(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(((-0.13, 0.2), (0.13, 0.2), (0.2, 0.98), (-0.2, 0.98)), fill=(92, 66, 48))
    brush.shapes(
        _oval(0.0, -0.48, 0.52, 0.5),
        _oval(-0.5, -0.06, 0.44, 0.42),
        _oval(0.5, -0.06, 0.44, 0.42),
        _oval(0.0, 0.12, 0.5, 0.4),
    )
    for x, y in ((-0.16, -0.5), (0.34, -0.04), (-0.5, 0.04)):
        curl = ((x - 0.16, y - 0.02), (x - 0.08, y + 0.1), (x + 0.08, y + 0.1), (x + 0.16, y - 0.02))
        brush.stroke(_smooth(curl, closed=False), paints.shade, 0.08)


def flower(brush: Brush) -> None:
    paints = brush.paints
    green = (66, 112, 72)
    brush.stroke(((0.0, 0.1), (0.03, 0.98)), green, 0.12)
    brush.patch(_smooth(((0.03, 0.88), (0.18, 0.62), (0.5, 0.54), (0.36, 0.82))), green)
    brush.patch(_smooth(((0.03, 0.92), (-0.14, 0.68), (-0.44, 0.62), (-0.3, 0.88))), green)
    petals = []
    for i in range(6):
        turn = 60 * i + 30
        x, y = 0.43 * math.cos(math.radians(turn)), -0.3 + 0.43 * math.sin(math.radians(turn))
        petals.append(_oval(x, y, 0.36, 0.28, turn))
    brush.shapes(*petals)
    for i in range(6):
        turn = math.radians(60 * i)
        end = (0.4 * math.cos(turn), -0.3 + 0.4 * math.sin(turn))
        brush.stroke(((0.0, -0.3), end), paints.outline)
    brush.shapes(_oval(0.0, -0.3, 0.19, 0.19), fill=(255, 240, 190))


def fish(brush: Brush) -> None:
    paints = brush.paints
    brush.shapes(_smooth(((-0.4, -0.3), (-0.1, -0.74), (0.3, -0.62), (0.34, -0.24))), fill=paints.shade)
    brush.shapes(
        _oval(-0.2, 0.02, 0.8, 0.54),
        ((0.42, 0.02), (1.0, -0.5), (0.86, 0.02), (1.0, 0.54)),
    )
    brush.stroke(_smooth(((-0.38, -0.38), (-0.26, 0.02), (-0.38, 0.42)), closed=False), paints.shade, 0.07)
    brush.shapes(_smooth(((-0.08, 0.08), (0.34, 0.02), (0.26, 0.3), (-0.02, 0.26))), fill=paints.shade)
    brush.eye(-0.64, -0.12, 0.13)
    brush.stroke(((-0.94, 0.14), (-0.74, 0.2)), paints.dark, 0.06)


PAINTERS: dict[str, Callable[[Brush], None]] = {
    painter.__name__: painter
    for painter in (
        *(bird, bell, car, boat, clock, drum, train, dog, frog, phone),
        *(ball, star, heart, house, tree, flower, fish),
    )
}
"""The painter of every thing, by its name in ``values.THINGS``."""
