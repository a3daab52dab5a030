"""Clips move as they say, over a place that does not."""

import itertools

import numpy as np
import pytest

from nextgpt_chat.picturebook.drawing import OVERSAMPLING, random_for
from nextgpt_chat.picturebook.motion import animate, clip_geometry
from nextgpt_chat.picturebook.places import paint_place
from nextgpt_chat.picturebook.values import (
    CLIP_FRAMES,
    CLIP_SIZE,
    COLOURS,
    MOTIONS,
    PLACES,
    POSITIONS,
    SIZES,
    THINGS,
    Clip,
    Scene,
)


def clip_of(motion: str, thing="ball", colour="red", size="small", position="middle", place="plain") -> Clip:
    return Clip(Scene(thing, colour, size, position, place), motion)


def masks(clip: Clip, seed: int) -> np.ndarray:
    """Where each frame differs from the empty place: bool (frames, height, width)."""
    place = paint_place(clip.scene.place, OVERSAMPLING * CLIP_SIZE, random_for(clip, seed, "place"))
    empty = np.asarray(place.reduce(OVERSAMPLING)).astype(int)
    return np.abs(animate(clip, seed).astype(int) - empty).max(-1) > 10


def centroids(shown: np.ndarray) -> np.ndarray:
    """(frames, 2): mean x and y as shares of the side."""
    return np.array([[index.mean() / CLIP_SIZE for index in np.nonzero(frame)[::-1]] for frame in shown])


def test_a_clip_has_its_shape_and_is_a_function_of_clip_and_seed():
    clip = clip_of("moves right", "train", place="grass")
    frames = animate(clip, 3)
    assert frames.shape == (CLIP_FRAMES, CLIP_SIZE, CLIP_SIZE, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames, animate(clip, 3))
    assert len({animate(clip, seed).tobytes() for seed in range(10)}) == 10


def test_a_sample_of_all_clips_animates_and_shows_its_thing_first():
    everything = list(itertools.product(THINGS, COLOURS, SIZES, POSITIONS, PLACES, MOTIONS))
    for number, (*scene, motion) in enumerate(everything[::401]):
        assert masks(Clip(Scene(*scene), motion), number)[0].sum() > 15, (scene, motion)


@pytest.mark.parametrize("thing", ["ball", "bird", "car"])
@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("moves right", 0, 1), ("moves left", 0, -1), ("rises", 1, -1), ("falls", 1, 1)]
)
def test_travel_is_steady_and_about_two_fifths_of_the_side(thing, motion, axis, sign):
    for seed in range(5):
        path = centroids(masks(clip_of(motion, thing), seed))
        steps = sign * np.diff(path[:, axis])
        assert 0.3 < steps.sum() < 0.5
        assert (steps > 0.01).all()
        assert np.abs(np.diff(path[:, 1 - axis])).max() < 0.02


def test_position_and_size_are_those_half_way_through():
    for motion in ("moves right", "moves left", "rises", "grows", "shrinks"):
        for position, centre in zip(POSITIONS, (0.25, 0.5, 0.75), strict=True):
            for seed in range(10):
                path = clip_geometry(clip_of(motion, position=position), seed)
                assert (path[3].x + path[4].x) / 2 == pytest.approx(centre, abs=0.06)
        middles = {}
        for size in SIZES:
            paths = (clip_geometry(clip_of(motion, size=size), seed) for seed in range(20))
            middles[size] = [(path[3].radius + path[4].radius) / 2 for path in paths]
        assert max(middles["small"]) < 0.8 * min(middles["medium"])
        assert max(middles["medium"]) < 0.85 * min(middles["big"])


@pytest.mark.parametrize("size", SIZES)
def test_growing_and_shrinking_change_the_area_in_every_frame(size):
    for motion, sign in (("grows", 1), ("shrinks", -1)):
        areas = masks(clip_of(motion, size=size), 2).sum((1, 2))
        steps = sign * np.diff(areas)
        assert (steps >= 0).all() and (steps[:-2] > 0).sum() >= 4
        assert max(areas[0], areas[-1]) > 2 * min(areas[0], areas[-1])


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("place", ["plain", "night"])
def test_spinning_shows_on_every_thing_and_keeps_its_middle(thing, place):
    clip = clip_of("spins", thing, size="medium", place=place)
    frames = animate(clip, 4).astype(int)
    changed = (np.abs(np.diff(frames, axis=0)).max(-1) > 40).sum((1, 2))
    assert (changed > 50).all(), changed
    middles = centroids(masks(clip, 4))
    assert np.abs(middles - middles.mean(0)).max() < 0.12


def test_spinning_always_turns_the_same_way_and_under_sixty_degrees_a_frame():
    for seed in range(30):
        steps = np.diff([where.angle for where in clip_geometry(clip_of("spins"), seed)])
        assert (steps > 45).all() and (steps < 60).all()


def test_blinking_is_two_frames_on_and_two_off_from_a_frame_on():
    seen = set()
    for seed in range(20):
        shown = masks(clip_of("blinks"), seed).any((1, 2))
        assert shown[0] and shown.sum() == CLIP_FRAMES // 2
        assert (shown[:4] == shown[4:]).all()
        seen.add(shown.tobytes())
    assert len(seen) == 2


def test_still_things_do_not_move():
    frames = animate(clip_of("still", "dog"), 1)
    assert (frames == frames[0]).all()


def test_moving_things_stay_in_view():
    for motion, size, position, place in itertools.product(MOTIONS, SIZES, POSITIONS, PLACES):
        for where in clip_geometry(clip_of(motion, size=size, position=position, place=place), 5):
            assert where is None or (0.04 <= where.x <= 0.96 and 0.04 <= where.y <= 0.96)
