"""Pictures show what their scene says, and differ only where jitter is wanted."""

import itertools

import numpy as np
import pytest

from nextgpt_chat.picturebook.drawing import OVERSAMPLING, SHADES, draw, random_for, thing_geometry
from nextgpt_chat.picturebook.places import paint_place
from nextgpt_chat.picturebook.things import PAINTERS
from nextgpt_chat.picturebook.values import COLOURS, PICTURE_SIZE, PLACES, POSITIONS, SIZES, THINGS, Scene

NAMES = list(SHADES)
VALUES = np.array([SHADES[name] for name in NAMES], dtype=float)


def pixels(scene: Scene, seed: int) -> np.ndarray:
    return np.asarray(draw(scene, seed)).astype(int)


def empty_place(scene: Scene, seed: int) -> np.ndarray:
    place = paint_place(scene.place, OVERSAMPLING * PICTURE_SIZE, random_for(scene, seed, "place"))
    return np.asarray(place.reduce(OVERSAMPLING)).astype(int)


def thing_mask(scene: Scene, seed: int) -> np.ndarray:
    """Where the picture differs from its empty place."""
    return np.abs(pixels(scene, seed) - empty_place(scene, seed)).max(-1) > 10


def colour_shares(scene: Scene, seed: int) -> np.ndarray:
    """For each colour, the share of the thing's pixels that are nearest to it."""
    inside = pixels(scene, seed)[thing_mask(scene, seed)].astype(float)
    nearest = ((inside[:, None] - VALUES) ** 2).sum(-1).argmin(1)
    return np.bincount(nearest, minlength=len(NAMES)) / len(nearest)


def test_every_thing_has_a_painter_and_every_colour_a_shade():
    assert set(PAINTERS) == set(THINGS)
    assert set(SHADES) == set(COLOURS)


def test_a_picture_is_square_rgb_and_a_function_of_scene_and_seed():
    scene = Scene("frog", "green", "medium", "left", "sand")
    picture = draw(scene, 7)
    assert (picture.mode, picture.size) == ("RGB", (PICTURE_SIZE, PICTURE_SIZE))
    assert picture.tobytes() == draw(scene, 7).tobytes()
    assert len({draw(scene, seed).tobytes() for seed in range(20)}) == 20


def test_a_sample_of_all_scenes_draws_and_shows_its_thing():
    scenes = list(itertools.product(THINGS, COLOURS, SIZES, POSITIONS, PLACES))
    for number, words in enumerate(scenes[::37]):
        assert thing_mask(Scene(*words), number).sum() > 300, words


@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_colour_dominates_the_thing(colour):
    for number, thing in enumerate(THINGS):
        for size in SIZES:
            scene = Scene(thing, colour, size, "middle", PLACES[number % len(PLACES)])
            shares = colour_shares(scene, number)
            assert NAMES[int(shares.argmax())] == colour, (scene, dict(zip(NAMES, shares.round(2), strict=True)))


def test_shades_are_well_apart():
    gaps = [np.abs(a - b).sum() for a, b in itertools.combinations(VALUES, 2)]
    assert min(gaps) > 80


def test_size_bands_do_not_meet():
    spans = []
    for size in SIZES:
        radii = [thing_geometry(Scene("ball", "red", size, "middle", "sky"), seed).radius for seed in range(200)]
        spans.append((min(radii), max(radii)))
    assert spans[0][1] * 1.3 < spans[1][0] and spans[1][1] * 1.2 < spans[2][0]


def test_bigger_things_cover_more_of_the_picture():
    for thing in THINGS:
        areas = [thing_mask(Scene(thing, "red", size, "middle", "plain"), 1).sum() for size in SIZES]
        assert areas[0] * 1.6 < areas[1] and areas[1] * 1.5 < areas[2], (thing, areas)


def test_positions_are_ordered_across_the_picture():
    for thing, size in itertools.product(THINGS, SIZES):
        centres = []
        for position in POSITIONS:
            masks = (thing_mask(Scene(thing, "purple", size, position, "grass"), seed) for seed in range(2))
            centres.append([np.nonzero(mask)[1].mean() / PICTURE_SIZE for mask in masks])
        assert max(centres[0]) + 0.08 < min(centres[1]) and max(centres[1]) + 0.08 < min(centres[2]), (thing, size)


def test_things_stay_mostly_inside():
    for size, position, place in itertools.product(SIZES, POSITIONS, PLACES):
        for seed in range(20):
            where = thing_geometry(Scene("ball", "red", size, position, place), seed)
            low, high = -0.15 * where.radius, 1 + 0.15 * where.radius
            for centre in (where.x, where.y):
                assert low <= centre - where.radius and centre + where.radius <= high, (size, position, place, where)


def test_places_differ_more_from_one_another_than_from_themselves():
    def coarse(place: str, seed: int) -> np.ndarray:
        scene = Scene("ball", "red", "small", "middle", place)
        return empty_place(scene, seed).reshape(8, 16, 8, 16, 3).mean((1, 3))

    within = max(np.abs(coarse(place, 1) - coarse(place, 2)).mean() for place in PLACES)
    between = min(np.abs(coarse(a, 1) - coarse(b, 2)).mean() for a, b in itertools.combinations(PLACES, 2))
    assert between > 1.2 * within, (between, within)


def test_things_have_distinct_silhouettes():
    shapes = {thing: thing_mask(Scene(thing, "red", "big", "middle", "plain"), 0) for thing in THINGS}
    for thing, shape in shapes.items():
        rows, columns = np.nonzero(shape)
        shifted = np.zeros_like(shape)
        centre = PICTURE_SIZE // 2
        shifted[
            np.clip(rows - round(rows.mean()) + centre, 0, PICTURE_SIZE - 1),
            np.clip(columns - round(columns.mean()) + centre, 0, PICTURE_SIZE - 1),
        ] = True
        shapes[thing] = shifted
    for (a, first), (b, second) in itertools.combinations(shapes.items(), 2):
        overlap = (first & second).sum() / (first | second).sum()
        assert overlap < 0.9, (a, b, overlap)
