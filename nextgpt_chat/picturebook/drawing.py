"""Pictures of the picture-book world: a scene and a seed in, an RGB picture out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from nextgpt_chat.picturebook.places import paint_place
from nextgpt_chat.picturebook.things import PAINTERS, RGB, Brush, Paints
from nextgpt_chat.picturebook.values import PICTURE_SIZE, Clip, Scene, words

OVERSAMPLING = 2
"""Pictures are drawn this many times larger and averaged down, which smooths every edge."""

SHADES: dict[str, RGB] = {
    "red": (218, 36, 38),
    "orange": (248, 134, 20),
    "yellow": (252, 216, 36),
    "green": (44, 152, 60),
    "blue": (36, 88, 212),
    "purple": (128, 52, 176),
    "pink": (250, 128, 180),
    "brown": (126, 76, 40),
    "white": (250, 250, 248),
    "black": (34, 34, 40),
}
"""The middle shade of every colour."""

RADII = {"small": 0.13, "medium": 0.205, "big": 0.29}
"""Radius of a thing as a share of the picture's side; jitter is at most 6 %, so that the bands never meet."""

CENTRES = {"left": 0.25, "middle": 0.5, "right": 0.75}
"""Where a thing's centre is across the picture, as a share of the side; big things keep nearer to the middle."""

_GROUND = {"grass": 0.85, "sand": 0.86, "sea": 0.82}
_AIR = {"sky": 0.48, "night": 0.53, "plain": 0.5}
_INK: RGB = (44, 38, 50)


@dataclass(frozen=True)
class Geometry:
    """Where a thing is: centre and radius as shares of the picture's side (y down), angle in degrees clockwise."""

    x: float
    y: float
    radius: float
    angle: float = 0.0


def random_for(value: Scene | Clip, seed: int, aspect: str) -> Random:
    """A generator fixed by the value's words, the seed and what it is used for ("place", "shade", …)."""
    key = f"{words(value)}|{seed}|{aspect}".encode()
    return Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))


def scene_geometry(scene: Scene, rng: Random, zoom: float = 1.0) -> Geometry:
    """A thing's place, size and tilt, drawn from ``rng``; ``zoom`` multiplies the radius (clips use it)."""
    radius = RADII[scene.size] * zoom * rng.uniform(0.94, 1.06)
    spread = {"small": 0.03, "medium": 0.03, "big": 0.02}[scene.size]
    pull = {"small": 1.0, "medium": 0.96, "big": 0.78}[scene.size]
    x = 0.5 + pull * (CENTRES[scene.position] - 0.5) + rng.uniform(-spread, spread)
    if scene.place in _GROUND:
        y = _GROUND[scene.place] - 0.9 * radius + rng.uniform(-0.05, 0.03)
    else:
        y = _AIR[scene.place] + rng.uniform(-0.08, 0.08)
    return Geometry(x, min(y, 0.96 - 0.8 * radius), radius, rng.uniform(-5, 5))


def thing_geometry(scene: Scene, seed: int) -> Geometry:
    """Where ``draw(scene, seed)`` puts the thing."""
    return scene_geometry(scene, random_for(scene, seed, "geometry"))


def shade_of(colour: str, rng: Random) -> RGB:
    """A shade of the colour: slightly lighter or darker, slightly off in each channel."""
    # White keeps clear of the palest places.
    light = rng.uniform(-10, 10) if colour != "white" else rng.uniform(-4, 4)
    return tuple(round(min(255, max(0, c + light + rng.uniform(-4, 4)))) for c in SHADES[colour])


def _mixed(first: RGB, second: RGB, share: float) -> RGB:
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def paints_for(colour: str, body: RGB) -> Paints:
    """The paints of a thing of this colour. Black things get a light grey outline and light details, so that they show
    at night; white things get greyish details, so that these show on the body."""
    if colour == "black":
        grey = (168, 168, 178)
        return Paints(body, _mixed(body, grey, 0.2), _mixed(body, grey, 0.35), grey, (206, 206, 212), (236, 236, 232))
    if colour == "white":
        return Paints(body, (222, 226, 234), (232, 236, 240), _INK, _INK, (168, 184, 204))
    shade, tint = _mixed(body, (24, 16, 40), 0.16), _mixed(body, (255, 255, 255), 0.3)
    return Paints(body, shade, tint, _INK, _INK, (252, 248, 236))


def paint_thing(image: Image.Image, thing: str, colour: str, body: RGB, where: Geometry) -> None:
    """Paint the thing on a square canvas of any size, in place. ``body`` is the exact shade of ``colour``."""
    side = image.width
    line = side * (0.005 + 0.022 * where.radius)
    centre = (where.x * side, where.y * side)
    canvas = ImageDraw.Draw(image)
    PAINTERS[thing](Brush(canvas, centre, where.radius * side, where.angle, paints_for(colour, body), line))


def draw(scene: Scene, seed: int, body: RGB | None = None) -> Image.Image:
    """The scene as an RGB picture, ``PICTURE_SIZE`` pixels square.

    Equal arguments give equal pixels; another seed gives another rendering of the same scene. ``body``: a shade in
    place of the colour's, for training an encoder on colours that no word names.
    """
    canvas = paint_place(scene.place, OVERSAMPLING * PICTURE_SIZE, random_for(scene, seed, "place"))
    body = body or shade_of(scene.colour, random_for(scene, seed, "shade"))
    paint_thing(canvas, scene.thing, scene.colour, body, thing_geometry(scene, seed))
    return canvas.reduce(OVERSAMPLING)
