"""Sounds are bounded, repeatable, and told apart by their mel spectrograms."""

import numpy as np
import pytest

from nextgpt_chat.picturebook import PITCHES, SAMPLE_RATE, SOUND_SECONDS, SOUNDS, SPEEDS, Sound, play

ALL = [Sound(source, pitch, speed) for source in SOUNDS for pitch in PITCHES for speed in SPEEDS]


def mel_filters(bins=64, size=1024):
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bins + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


FILTERS = mel_filters()


def log_mel(wave):
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 512), 1024)[::160] * np.hanning(1024)
    return np.log10(np.maximum(FILTERS @ np.abs(np.fft.rfft(frames)).T, 1e-2))


def signature(sound, seed):
    """What does not change when the sound is shifted in time: the mean spectrum, and how the loudness is modulated."""
    mel = log_mel(play(sound, seed))
    colour = np.log10(np.mean(10 ** (2 * mel), axis=1) + 1e-6)
    onsets = np.maximum(np.diff(mel, axis=1), 0).mean(axis=0)
    modulation = []
    for course in (onsets, mel.mean(axis=0)):
        beat = np.abs(np.fft.rfft((course - course.mean()) * np.hanning(len(course)), 800))[3:160]
        # Blurred on a log scale of rates: ±5 % of speed must not count as another rhythm.
        rates = np.arange(3, 160)
        blur = np.exp(-0.5 * (np.log(rates[None] / np.geomspace(3, 150, 40)[:, None]) / 0.1) ** 2)
        beat = blur @ beat / blur.sum(1)
        modulation.append(beat / np.linalg.norm(beat))
    return np.concatenate([0.45 * (colour - colour.max()), *(6 * part for part in modulation)])


def test_shape_type_and_loudness():
    for seed, sound in enumerate(ALL):
        wave = play(sound, seed)
        assert wave.shape == (round(SAMPLE_RATE * SOUND_SECONDS),)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert 0.6 <= np.abs(wave).max() <= 0.8
        assert abs(wave.mean()) < 0.02


@pytest.mark.parametrize("source", SOUNDS)
def test_same_seed_same_samples_other_seed_others(source):
    sound = Sound(source, "normal", "fast")
    assert np.array_equal(play(sound, 7), play(sound, 7))
    assert not np.allclose(play(sound, 7), play(sound, 8), atol=0.01)


def test_what_was_played_before_does_not_matter():
    np.random.seed(0)
    first = play(Sound("rain", "low", "slow"), 1)
    play(Sound("dog", "low", "slow"), 2)
    np.random.seed(5)
    assert np.array_equal(play(Sound("rain", "low", "slow"), 1), first)


@pytest.mark.parametrize("source", SOUNDS)
def test_higher_pitch_has_higher_frequencies(source):
    def centre(pitch):
        """The centre of loudness on the mel scale, in bins."""
        waves = [play(Sound(source, pitch, "normal"), seed) for seed in range(3)]
        energy = np.mean([np.mean(10 ** (2 * log_mel(wave)), axis=1) for wave in waves], axis=0)
        return (np.arange(64) * energy).sum() / energy.sum()

    low, normal, high = (centre(pitch) for pitch in PITCHES)
    assert low + 0.8 < normal
    assert normal + 0.8 < high


@pytest.mark.parametrize("source", ["bird", "bell", "boat", "clock", "drum", "train", "dog", "frog", "phone"])
def test_speed_is_the_number_of_events(source):
    def events(speed, seed):
        power = play(Sound(source, "normal", speed), seed) ** 2
        loudness = np.sqrt(np.convolve(power, np.ones(400) / 400, "same"))[::80]
        # A bell never falls silent between strokes: count sudden rises, not gaps.
        starts = np.flatnonzero(loudness[3:] - loudness[:-3] > 0.25 * loudness.max())
        return 1 + np.count_nonzero(np.diff(starts) > 8) if len(starts) else 0

    for seed in range(3):
        slow, normal, fast = (events(speed, seed) for speed in SPEEDS)
        assert 2 <= slow < normal < fast
        assert fast >= 7


def test_nearest_signature_names_source_pitch_and_speed():
    known = np.stack([signature(sound, seed) for sound in ALL for seed in range(3)])
    labels = [sound for sound in ALL for _ in range(3)]
    wrong = []
    for sound in ALL:
        nearest = labels[int(np.argmin(np.linalg.norm(known - signature(sound, 1001), axis=1)))]
        if nearest != sound:
            wrong.append((sound, nearest))
    assert len(wrong) <= 0.02 * len(ALL), wrong
