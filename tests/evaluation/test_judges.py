"""The judges on true renderings (99 % of every attribute right) and on blurred and noised ones (95 %)."""

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from nextgpt_chat.evaluation.cases import attributes
from nextgpt_chat.evaluation.judge_clip import judge_clip, watch
from nextgpt_chat.evaluation.judge_picture import judge_picture, look_at
from nextgpt_chat.evaluation.judge_sound import judge_sound, listen
from nextgpt_chat.picturebook import (
    COLOURS,
    MOTIONS,
    PITCHES,
    PLACES,
    POSITIONS,
    SAMPLE_RATE,
    SIZES,
    SOUNDS,
    SPEEDS,
    THINGS,
    Clip,
    Scene,
    Sound,
    animate,
    draw,
    play,
)
from nextgpt_chat.picturebook.places import paint_place
from tests.evaluation import degrading

FIRST_SEED = 500_000


def random_value(kind: type, rng: random.Random):
    if kind is Sound:
        return Sound(rng.choice(SOUNDS), rng.choice(PITCHES), rng.choice(SPEEDS))
    scene = Scene(*(rng.choice(words) for words in (THINGS, COLOURS, SIZES, POSITIONS, PLACES)))
    return scene if kind is Scene else Clip(scene, rng.choice(MOTIONS))


def rates(kind: type, judge: Callable, worn: Callable, n: int) -> dict[str, float]:
    """Share of right answers by attribute."""
    rng, right = random.Random(1), Counter()
    render = {Scene: lambda v, s: np.asarray(draw(v, s)), Sound: play, Clip: animate}[kind]
    for number in range(n):
        value = random_value(kind, rng)
        got = attributes(judge(worn(render(value, FIRST_SEED + number))))
        right.update(key for key, word in attributes(value).items() if got[key] == word)
    return {key: right[key] / n for key in attributes(value)}


def noise() -> np.random.Generator:
    return np.random.default_rng(0)


PICTURES = {
    "true": (lambda x: x, 0.99),
    "blurred": (lambda x: degrading.blurred(x, 1.2), 0.95),
    "noised": (lambda x: degrading.noisy(x, noise()), 0.95),
    "blurred and noised": (lambda x: degrading.noisy(degrading.blurred(x, 1.2), noise()), 0.95),
}
CLIPS = {
    "true": (lambda x: x, 0.99),
    "blurred": (lambda x: degrading.blurred(x, 0.8), 0.95),
    "noised": (lambda x: degrading.noisy(x, noise()), 0.95),
    "blurred and noised": (lambda x: degrading.noisy(degrading.blurred(x, 0.8), noise()), 0.95),
}
SOUNDS_WORN = {
    "true": (lambda x: x, 0.99),
    "noised": (lambda x: degrading.with_noise(x, noise()), 0.95),
    "low-passed": (degrading.low_passed, 0.95),
    "through a spectrogram": (degrading.through_mel, 0.95),
}
FAST, SLOW = {"image": 50, "audio": 60, "video": 24}, {"image": 600, "audio": 600, "video": 300}


def check(kind: type, judge: Callable, worn: Callable, least: float, n: int) -> None:
    found = rates(kind, judge, worn, n)
    # In a small sample, one wrong answer is within what the bound allows.
    assert all(rate >= min(least, 1 - 1 / n) for rate in found.values()), found


@pytest.mark.parametrize("how", PICTURES)
def test_pictures_are_judged_right(how):
    check(Scene, judge_picture, *PICTURES[how], FAST["image"])


@pytest.mark.parametrize("how", SOUNDS_WORN)
def test_sounds_are_judged_right(how):
    judge = lambda samples: judge_sound(samples, SAMPLE_RATE)  # noqa: E731
    check(Sound, judge, *SOUNDS_WORN[how], FAST["audio"])


@pytest.mark.parametrize("how", ["true", "blurred and noised"])
def test_clips_are_judged_right(how):
    check(Clip, judge_clip, *CLIPS[how], FAST["video"])


@pytest.mark.slow
@pytest.mark.parametrize("how", PICTURES)
def test_many_pictures_are_judged_right(how):
    check(Scene, judge_picture, *PICTURES[how], SLOW["image"])


@pytest.mark.slow
@pytest.mark.parametrize("how", SOUNDS_WORN)
def test_many_sounds_are_judged_right(how):
    judge = lambda samples: judge_sound(samples, SAMPLE_RATE)  # noqa: E731
    check(Sound, judge, *SOUNDS_WORN[how], SLOW["audio"])


@pytest.mark.slow
@pytest.mark.parametrize("how", CLIPS)
def test_many_clips_are_judged_right(how):
    check(Clip, judge_clip, *CLIPS[how], SLOW["video"])


SCENE = Scene("car", "red", "medium", "left", "grass")


def test_a_picture_of_another_size_is_judged_alike():
    picture = draw(SCENE, FIRST_SEED)
    for side in (64, 100, 256, 512):
        assert judge_picture(np.asarray(picture.resize((side, side)))) == SCENE


def test_a_clip_of_another_size_and_length_is_judged_alike():
    clip = Clip(SCENE, "rises")
    frames = animate(clip, FIRST_SEED)
    assert judge_clip(frames.repeat(2, axis=1).repeat(2, axis=2)) == clip
    assert judge_clip(frames.repeat(2, axis=0)) == clip


def test_a_sound_is_judged_alike_at_any_gain_and_rate():
    sound = Sound("dog", "high", "slow")
    samples = play(sound, FIRST_SEED)
    assert judge_sound(samples * 0.05, SAMPLE_RATE) == sound
    spectrum = np.fft.rfft(samples)
    doubled = np.fft.irfft(np.pad(spectrum, (0, len(samples) // 2)) * 2, 2 * len(samples))
    assert judge_sound(doubled, 2 * SAMPLE_RATE) == sound


def test_a_picture_without_a_thing_is_explained_less_than_one_with_it():
    empty = np.asarray(paint_place("sand", 128, random.Random(4)))
    assert look_at(empty).scene.place == "sand"
    assert look_at(empty).share < 0.4 < 0.7 < look_at(np.asarray(draw(SCENE, FIRST_SEED))).share


def test_noise_is_farther_from_every_sound_than_a_true_one():
    rng = noise()
    assert (
        listen(rng.standard_normal(32_000) * 0.1).distance > 2 * listen(play(Sound("bell", "low", "fast"), 7)).distance
    )


def test_a_still_clip_has_no_motion_scores():
    scores = watch(animate(Clip(SCENE, "still"), FIRST_SEED)).scores
    assert max(abs(score) for score in scores.values()) < 0.1


@pytest.mark.parametrize("pixels", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="uint8"):
        judge_picture(pixels)


def test_what_is_no_sound_is_refused():
    with pytest.raises(ValueError, match="samples"):
        judge_sound(np.zeros((2, 100), np.float32), SAMPLE_RATE)


def test_silence_and_blankness_are_judged_without_an_error():
    judge_sound(np.zeros(10, np.float32), SAMPLE_RATE)
    judge_picture(np.zeros((128, 128, 3), np.uint8))
    judge_clip(np.full((8, 64, 64, 3), 255, np.uint8))
