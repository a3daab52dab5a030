"""The six places, painted pale so that every thing stands out; each varies a little with its random generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Painter = Callable[[ImageDraw.ImageDraw, float, Random], None]


def _varied(colour: RGB, rng: Random, spread: int = 4) -> RGB:
    """The colour, a little lighter or darker."""
    step = rng.randint(-spread, spread)
    return tuple(min(255, max(0, c + step)) for c in colour)


def _cloud(canvas: ImageDraw.ImageDraw, x: float, y: float, size: float, fill: RGB) -> None:
    for dx, dy, reach in ((-0.9, 0.1, 0.5), (-0.3, -0.25, 0.65), (0.4, -0.1, 0.6), (1.0, 0.15, 0.42)):
        a, b, r = x + dx * size, y + dy * size, reach * size
        canvas.ellipse((a - r, b - r, a + r, b + r), fill=fill)
    canvas.rounded_rectangle((x - 1.4 * size, y, x + 1.42 * size, y + 0.58 * size), 0.28 * size, fill=fill)


def _hill(canvas: ImageDraw.ImageDraw, side: float, height: float, swell: float, phase: float, fill: RGB) -> None:
    """Ground below a gentle wave; ``height`` and ``swell`` are shares of the side."""
    steps = 20
    edge = [
        (side * i / steps, side * (height + swell * math.sin(phase + 2 * math.pi * 0.9 * i / steps)))
        for i in range(steps + 1)
    ]
    canvas.polygon([(0, side), *edge, (side, side)], fill=fill)


def _sky(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    canvas.rectangle((0, 0, side, side), fill=_varied((186, 218, 242), rng))
    for x, y in ((0.2, 0.16), (0.78, 0.3), (0.3, 0.86), (0.84, 0.78)):
        spot = (side * (x + rng.uniform(-0.08, 0.08)), side * (y + rng.uniform(-0.05, 0.05)))
        _cloud(canvas, *spot, side * rng.uniform(0.07, 0.1), (236, 243, 249))


def _night(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    ground = _varied((66, 74, 116), rng)
    canvas.rectangle((0, 0, side, side), fill=ground)
    for _ in range(22):
        x, y, r = rng.random() * side, rng.random() * side, side * rng.choice((0.006, 0.006, 0.009))
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=(214, 216, 226))
    x, y, r = side * rng.choice((0.12, 0.88)), side * rng.uniform(0.1, 0.15), side * 0.075
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=(236, 228, 196))
    canvas.ellipse((x - 0.3 * r, y - 1.2 * r, x + 1.5 * r, y + 0.6 * r), fill=ground)


def _grass(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    canvas.rectangle((0, 0, side, side), fill=_varied((224, 236, 240), rng))
    _cloud(canvas, side * rng.uniform(0.15, 0.85), side * 0.13, side * 0.06, (238, 243, 245))
    height = rng.uniform(0.5, 0.56)
    _hill(canvas, side, height, 0.04, rng.uniform(0, 6), _varied((196, 220, 170), rng))
    _hill(canvas, side, height + 0.13, 0.03, rng.uniform(0, 6), _varied((176, 208, 148), rng))
    for _ in range(12):
        x, y, h = rng.random() * side, side * rng.uniform(height + 0.2, 0.98), side * 0.03
        for lean in (-0.6, 0.0, 0.6):
            canvas.line((x, y, x + lean * h, y - h), fill=(138, 178, 112), width=max(1, round(side * 0.006)))


def _sea(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    canvas.rectangle((0, 0, side, side), fill=_varied((232, 240, 244), rng))
    height = rng.uniform(0.47, 0.53)
    canvas.rectangle((0, side * height, side, side), fill=_varied((164, 204, 214), rng))
    reach = side * 0.085
    width = max(1, round(side * 0.011))
    for row in range(4):
        y = side * (height + 0.05 + 0.125 * row)
        x = -rng.random() * 2 * reach
        while x < side:
            canvas.arc((x, y - 0.5 * reach, x + 2 * reach, y + 0.7 * reach), 20, 160, fill=(214, 234, 238), width=width)
            x += 2 * reach


def _sand(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    canvas.rectangle((0, 0, side, side), fill=_varied((240, 236, 226), rng))
    x, y, r = side * rng.choice((0.15, 0.85)), side * rng.uniform(0.12, 0.17), side * 0.08
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=(250, 226, 180))
    height = rng.uniform(0.52, 0.58)
    _hill(canvas, side, height, 0.05, rng.uniform(0, 6), _varied((232, 212, 172), rng))
    _hill(canvas, side, height + 0.16, 0.035, rng.uniform(0, 6), _varied((222, 198, 154), rng))
    for _ in range(16):
        x, y, r = rng.random() * side, side * rng.uniform(height + 0.22, 0.99), side * 0.006
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=(196, 168, 124))


def _plain(canvas: ImageDraw.ImageDraw, side: float, rng: Random) -> None:
    canvas.rectangle((0, 0, side, side), fill=_varied((236, 223, 218), rng, 3))
    for row in range(7):
        for column in range(7):
            x, y = side * (column + 0.5 + 0.5 * (row % 2)) / 7, side * (row + 0.5) / 7
            r = side * rng.uniform(0.006, 0.009)
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=(220, 202, 198))
    edge = side * rng.uniform(0.025, 0.035)
    width = max(1, round(side * 0.01))
    canvas.rectangle((edge, edge, side - edge, side - edge), outline=(200, 172, 172), width=width)


_PLACES: dict[str, Painter] = {
    "sky": _sky,
    "night": _night,
    "grass": _grass,
    "sea": _sea,
    "sand": _sand,
    "plain": _plain,
}


def paint_place(place: str, side: int, rng: Random) -> Image.Image:
    """An RGB picture of the empty place, ``side`` x ``side`` pixels."""
    image = Image.new("RGB", (side, side))
    _PLACES[place](ImageDraw.Draw(image), side, rng)
    return image
