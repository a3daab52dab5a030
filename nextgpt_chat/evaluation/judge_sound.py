"""Judges a sound by matching a filter bank's output with renderings: knows ``play``, and no learned network.

>>> judge_sound(play(sound, seed=3), SAMPLE_RATE) == sound       # about 5 ms
>>> listen(samples, rate).distance                               # … with distances: about 1 for true renderings
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..picturebook import PITCHES, SAMPLE_RATE, SOUND_SECONDS, SOUNDS, SPEEDS, Sound, play

BANDS = 64
_WINDOW, _HOP = 512, 160
_FLOOR = 4.5
"""Nepers below the loudest point (39 dB in power) under which nothing is heard: quieter than noise at 15 dB."""
_QUANTILES = np.array([0.05, 0.2, 0.4, 0.6, 0.75, 0.87, 0.94, 0.98])
_RHYTHM_BANDS = 8
_RHYTHM_LENGTH = 512
_HIGHEST_RHYTHM = 30.0
"""Events a second; the fastest rain is at 27."""
_WEAR = ("plain", "noise", "muffled", "blurred")
SEEDS = 2
"""Renderings of every sound in the bank, for each kind of wear."""


@dataclass(frozen=True)
class SoundVerdict:
    """The sound nearest to some samples. ``distance``: to its renderings' mean, in units of how far renderings of one
    sound are from their mean (true renderings: about 1); ``runner_up``: the distance of the next other source."""

    sound: Sound
    distance: float
    runner_up: float


@cache
def _filters() -> np.ndarray:
    """Triangular filters (BANDS, bins), evenly spaced on the mel scale from 60 to 7,800 Hz."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(60.0), mel(7800.0), BANDS + 2)
    bins = mel(np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE))
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(up, down), 0, None)


def filter_bank(samples: np.ndarray) -> np.ndarray:
    """Log power (frames, BANDS) of 16 kHz samples, 100 frames a second, 0 at the floor; the same at any gain."""
    if len(samples) < _WINDOW:
        samples = np.pad(samples, (0, _WINDOW - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames))) @ _filters().T
    # The loudest point as a high quantile, so that one click does not bury the rest.
    top = max(float(np.quantile(power, 0.998)), 1e-12)
    return np.clip(np.log(np.maximum(power, 1e-30) / top) + 2 * _FLOOR, 0, 2 * _FLOOR + 1)


def features(samples: np.ndarray) -> np.ndarray:
    """What is compared, float (n,): independent of gain and of when the sound starts.

    The quantiles over time of each band (source and pitch), and the strength of each rhythm in the loudness of groups
    of bands and of the whole (speed).
    """
    bank = filter_bank(samples)
    levels = np.quantile(bank, _QUANTILES, axis=0).ravel() / 4
    grouped = bank.reshape(len(bank), _RHYTHM_BANDS, -1).mean(-1)
    loudness = np.concatenate([grouped, bank.mean(1, keepdims=True)], axis=1)
    swing = loudness - loudness.mean(0)
    swing = swing * np.hanning(len(swing) + 2)[1:-1, None]
    strength = np.abs(np.fft.rfft(swing, _RHYTHM_LENGTH, axis=0))
    rate = np.fft.rfftfreq(_RHYTHM_LENGTH, _HOP / SAMPLE_RATE)
    strength = strength[(rate > 0.6) & (rate < _HIGHEST_RHYTHM)]
    # Even steps of the logarithm of the rate, as wide as the renderings' own jitter.
    heard = rate[(rate > 0.6) & (rate < _HIGHEST_RHYTHM)]
    steps = np.exp(np.linspace(np.log(0.7), np.log(_HIGHEST_RHYTHM), 40))
    near = np.exp(-0.5 * (np.log(heard[None] / steps[:, None]) / 0.06) ** 2)
    rhythm = (near / near.sum(1, keepdims=True)) @ strength
    rhythm = rhythm / np.sqrt(np.square(rhythm).mean(0) + 1e-6 * len(bank) ** 2)
    own = np.sqrt(np.square(strength).mean(0))
    return np.concatenate([levels, rhythm.T.ravel(), 3 * own / max(own.sum(), 1e-9)])


def degraded(samples: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """Samples as they are worn by a channel: "plain", "noise" (12 to 25 dB below), "muffled" (above some 3 kHz) or
    "blurred" (phases lost, as by a spectrogram that is inverted badly)."""
    if how == "noise":
        level = np.sqrt(np.square(samples).mean()) * 10 ** (-rng.uniform(12, 25) / 20)
        return samples + level * rng.standard_normal(len(samples))
    if how == "muffled":
        spectrum = np.fft.rfft(samples)
        frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        return np.fft.irfft(spectrum / np.sqrt(1 + (frequency / rng.uniform(2500, 5000)) ** 4), len(samples))
    if how == "blurred":
        hop = _WINDOW // 2
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, hop), _WINDOW)[::hop] * np.hanning(_WINDOW)
        spectra = np.fft.rfft(frames)
        spectra = np.abs(spectra) * np.exp(1j * (np.angle(spectra) + rng.normal(0, 0.8, spectra.shape)))
        result = np.zeros(len(samples) + 2 * hop)
        for number, piece in enumerate(np.fft.irfft(spectra, _WINDOW)):
            result[number * hop : number * hop + _WINDOW] += piece
        return result[hop : hop + len(samples)]
    if how == "plain":
        return samples
    raise ValueError(f"how is {how!r}; it must be plain, noise, muffled or blurred")


@cache
def _bank() -> tuple[list[Sound], np.ndarray, np.ndarray, float]:
    """(sounds, whitened class means, the whitening matrix, usual squared distance from one's own mean)."""
    sounds = [Sound(*words) for words in itertools.product(SOUNDS, PITCHES, SPEEDS)]
    rng = np.random.default_rng(0)
    heard = np.stack(
        [
            [
                features(degraded(play(sound, 10_000_019 + SEEDS * number + seed), how, rng))
                for number, how in enumerate(_WEAR)
                for seed in range(SEEDS)
            ]
            for sound in sounds
        ]
    )
    means = heard.mean(1)
    inner = (heard - means[:, None]).reshape(-1, heard.shape[-1])
    covariance = inner.T @ inner / (len(inner) - len(sounds))
    # A share of the plain variance keeps directions that hardly vary in the bank from deciding alone.
    covariance += 0.3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values)
    usual = float(np.square(inner @ whiten).sum(1).mean())
    return sounds, means @ whiten, whiten, usual


def _prepared(samples: np.ndarray, rate: int) -> np.ndarray:
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or rate <= 0:
        raise ValueError(f"a sound is samples (n,) at a positive rate, not {samples.shape} at {rate}")
    samples = np.nan_to_num(samples)
    if rate != SAMPLE_RATE and len(samples) > 1:
        count = round(len(samples) * SAMPLE_RATE / rate)
        spectrum = np.fft.rfft(samples)
        samples = np.fft.irfft(np.pad(spectrum, (0, max(0, count // 2 + 1 - len(spectrum))))[: count // 2 + 1], count)
    return samples[: round(SAMPLE_RATE * SOUND_SECONDS)]


def listen(samples: np.ndarray, rate: int = SAMPLE_RATE) -> SoundVerdict:
    """Judge a sound, float (n,) at ``rate`` Hz (its first two seconds), and say how sure that is."""
    sounds, means, whiten, usual = _bank()
    apart = np.square(means - features(_prepared(samples, rate)) @ whiten).sum(1)
    best = int(apart.argmin())
    other = min(float(a) for a, sound in zip(apart, sounds, strict=True) if sound.source != sounds[best].source)
    return SoundVerdict(sounds[best], float(np.sqrt(apart[best] / usual)), float(np.sqrt(other / usual)))


def judge_sound(samples: np.ndarray, rate: int = SAMPLE_RATE) -> Sound:
    """The sound whose renderings are nearest to float samples (n,) at ``rate`` Hz."""
    return listen(samples, rate).sound
