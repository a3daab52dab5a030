"""Two seconds of sound for every source of the picture-book world, synthesised from a value and a seed.

A sound is a row of events (chirps, strokes, barks, gusts). The pitch scales the frequencies of one event, the speed
scales how many events there are a second; a source's timbre depends on neither, so that the words can be learned apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np

from nextgpt_chat.picturebook.values import SAMPLE_RATE, SOUND_SECONDS, Sound, words

SAMPLES = round(SAMPLE_RATE * SOUND_SECONDS)
PITCH_FACTORS = {"low": 0.6, "normal": 1.0, "high": 1.65}
SPEED_FACTORS = {"slow": 0.5, "normal": 1.0, "fast": 2.0}
PITCH_JITTER = 0.04
SPEED_JITTER = 0.05
_TABLE_SIZE = 4096
_HIGHEST = 7600.0
"""No partial is written above this (Hz): just below half the sample rate, where it would fold back."""


def play(sound: Sound, seed: int, pitch: float | None = None) -> np.ndarray:
    """The sound as float32 samples (32000,): 2 s, mono, 16 kHz, its peak between 0.62 and 0.78.

    The same value and seed give the same samples; another seed gives another pitch (±4 %), speed (±5 %), start and
    unevenness of the events. Takes about 2 ms. ``pitch``: a factor of the frequencies in place of the word's (0.6, 1 or
    1.65), for training an encoder on pitches that no word names.
    """
    digest = hashlib.sha256(f"play {words(sound)} {seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    jitter = rng.uniform(1 - PITCH_JITTER, 1 + PITCH_JITTER)
    pitch = PITCH_FACTORS[sound.pitch] * jitter if pitch is None else pitch
    speed = SPEED_FACTORS[sound.speed] * rng.uniform(1 - SPEED_JITTER, 1 + SPEED_JITTER)
    wave = _SOURCES[sound.source](pitch, speed, rng)
    fade = 160
    wave[:fade] *= np.linspace(0, 1, fade)
    wave[-fade:] *= np.linspace(1, 0, fade)
    return (wave * (rng.uniform(0.63, 0.77) / np.abs(wave).max())).astype(np.float32)


# What the sources are built of. A time is in seconds, a frequency in Hz, a rate in events a second.


def _seconds(duration: float) -> np.ndarray:
    return np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE


def _onsets(rate: float, rng: np.random.Generator, unevenness: float = 0.04) -> np.ndarray:
    """Starts of the events: evenly spaced from a random offset, each displaced by a share of the spacing."""
    spacing = 1 / rate
    starts = np.arange(rng.uniform(0.05, 0.4) * spacing, SOUND_SECONDS - 0.02, spacing)
    return np.maximum(starts + rng.uniform(-unevenness, unevenness, len(starts)) * spacing, 0)


def _place(events: list[np.ndarray], onsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay events, taken in turn, at the onsets with slightly uneven loudness."""
    wave = np.zeros(SAMPLES)
    for number, onset in enumerate(onsets):
        event = events[number % len(events)]
        start = round(onset * SAMPLE_RATE)
        piece = event[: max(SAMPLES - start, 0)]
        wave[start : start + len(piece)] += piece * rng.uniform(0.85, 1.0)
    return wave


def _harmonics(frequency: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """A tone of changing fundamental ``frequency`` with these amplitudes of harmonics 1, 2, …, read from a table."""
    count = min(len(amplitudes), int(_HIGHEST / frequency.max()))
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, dtype=complex)
    # Phases that grow with the square of the number spread the energy over the period (Schroeder 1970): no clicks.
    numbers = np.arange(1, count + 1)
    spectrum[1 : count + 1] = amplitudes[:count] * np.exp(-1j * np.pi * numbers**2 / max(count, 1))
    table = np.fft.irfft(spectrum) * _TABLE_SIZE / 2
    phase = np.cumsum(frequency) * (_TABLE_SIZE / SAMPLE_RATE)
    return table[phase.astype(np.int64) % _TABLE_SIZE]


def _formants(fundamental: float, peaks: list[tuple[float, float, float]], count: int = 40) -> np.ndarray:
    """Amplitudes of harmonics under resonances of (centre, width, gain)."""
    frequencies = fundamental * np.arange(1, count + 1)
    return sum(gain / (1 + ((frequencies - centre) / width) ** 2) for centre, width, gain in peaks)


@cache
def _octaves(count: int) -> np.ndarray:
    """The base-2 logarithms of the frequencies of a transform of ``count`` samples, in Hz, from 0 up."""
    return np.log2(np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 1)).astype(np.float32)


def _noise(count: int, centre: float, width: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation 1; its spectrum is a bell around ``centre``, ``width`` octaves to each side."""
    random = rng.standard_normal((count // 2 + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
    bell = np.exp(-0.5 * ((_octaves(count) - np.float32(np.log2(centre))) / np.float32(width)) ** 2)
    noise = np.fft.irfft(random * bell, count)
    return noise / noise.std()


def _swell(time: np.ndarray, duration: float, attack: float, release: float) -> np.ndarray:
    """An envelope that rises, holds and falls with rounded corners."""
    ramp = np.minimum(np.minimum(time / attack, (duration - time) / release), 1)
    return np.sin(0.5 * np.pi * np.clip(ramp, 0, 1)) ** 2


# The sources. Each takes a pitch factor, a speed factor and a generator, and gives SAMPLES samples of any loudness.


def _bird(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Chirps: a whistle that dips and sweeps up."""
    chirps = []
    for bend in rng.uniform(0.9, 1.1, 3):
        time = _seconds(0.085)
        place = time / 0.085
        frequency = 2900 * pitch * (1 + bend * (0.22 * place**2 - 0.14 * np.sin(np.pi * place)))
        chirps.append(_harmonics(frequency, np.array([1, 0.12])) * _swell(time, 0.085, 0.015, 0.03))
    return _place(chirps, _onsets(4 * speed, rng), rng)


def _bell(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Strokes of a church bell: the partials of a minor-third bell, the upper ones dying away sooner."""
    time = _seconds(1.2)
    ratios = np.array([0.5, 1, 1.2, 1.5, 2, 2.67, 3.01, 4.1]) * (1 + rng.uniform(-0.004, 0.004, 8))
    gains = (0.25, 0.6, 0.5, 0.25, 1.0, 0.45, 0.4, 0.3)
    stroke = sum(
        gain * np.sin((2 * np.pi * 640 * pitch * ratio) * time + ratio) * np.exp(-time * (2.6 + 1.9 * ratio))
        for ratio, gain in zip(ratios, gains, strict=True)
    )
    stroke *= np.minimum(time / 0.002, 1)
    return _place([stroke], _onsets(2.4 * speed, rng), rng)


def _car(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """An engine that never stops: a rough hum under exhaust throbs."""
    time = _seconds(SOUND_SECONDS)
    fundamental = 85 * pitch
    wobble = 1 + 0.015 * np.sin(2 * np.pi * 1.3 * time + rng.uniform(0, 6.28))
    amplitudes = _formants(fundamental, [(260 * pitch, 150 * pitch, 1), (950 * pitch, 260 * pitch, 0.5)])
    hum = _harmonics(fundamental * wobble, amplitudes)
    throb = (6 * speed * time + rng.uniform()) % 1
    exhaust = _noise(SAMPLES, 520 * pitch, 0.5, rng)
    pulse = np.exp(-5 * throb) * np.minimum(throb / 0.06, 1)
    return hum * (0.22 + 1.1 * pulse) / hum.std() + exhaust * (0.1 + 0.7 * pulse)


def _boat(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Blasts of a fog horn: two brassy reeds a little out of tune."""
    duration = 0.62 / (2.4 * speed)
    time = _seconds(duration)
    fundamental = 150 * pitch
    amplitudes = _formants(fundamental, [(320 * pitch, 220 * pitch, 1), (1250 * pitch, 260 * pitch, 0.12)], 16)
    slide = 1 - 0.08 * np.exp(-time / 0.03)
    blast = _harmonics(fundamental * slide, amplitudes) + 0.8 * _harmonics(fundamental * 1.26 * slide, amplitudes)
    return _place([blast * _swell(time, duration, 0.045, 0.05)], _onsets(2.4 * speed, rng), rng)


def _clock(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Tick, tock: short knocks on wood and metal, every second one lower."""
    time = _seconds(0.06)
    knocks = []
    for ratio in (1.0, 0.78):
        frequency = 2300 * pitch * ratio
        knock = np.sin(2 * np.pi * frequency * time) * np.exp(-time / 0.009)
        knock += 0.6 * np.sin(2 * np.pi * 0.41 * frequency * time) * np.exp(-time / 0.012)
        knock += 0.5 * _noise(len(time), 1.5 * frequency, 0.35, rng) * np.exp(-time / 0.004)
        knocks.append(knock)
    return _place(knocks, _onsets(4 * speed, rng, 0.02), rng)


def _drum(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Beats: the modes of a round skin whose pitch sinks as it settles, after the smack of the stick."""
    time = _seconds(0.32)
    sink = 1 + 0.35 * np.exp(-time / 0.03)
    phase = 2 * np.pi * np.cumsum(150 * pitch * sink) / SAMPLE_RATE
    modes = ((1, 1), (1.59, 0.55), (2.3, 0.35))
    beat = sum(gain * np.sin(mode * phase) * np.exp(-time * mode / 0.11) for mode, gain in modes)
    beat += 0.45 * _noise(len(time), 1100 * pitch, 0.45, rng) * np.exp(-time / 0.02)
    return _place([beat * _swell(time, 0.32, 0.002, 0.15)], _onsets(3 * speed, rng), rng)


def _train(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Toots of a steam whistle: a chord with breath, scooped up at the start."""
    duration = 0.66 / (2.4 * speed)
    time = _seconds(duration)
    scoop = 1 - 0.16 * np.exp(-time / 0.025)
    toot = 0.35 * _noise(len(time), 2400 * pitch, 0.3, rng)
    for ratio in (1.0, 1.26, 1.5, 1.89):
        toot += _harmonics(600 * pitch * ratio * scoop, np.array([1, 0.45, 0.3]))
    return _place([toot * _swell(time, duration, 0.04, 0.05)], _onsets(2.4 * speed, rng), rng)


def _dog(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Barks: a voice that jumps up and drops, with a mouth that opens and shuts."""
    duration = 0.15
    time = _seconds(duration)
    barks = []
    for bend in rng.uniform(0.94, 1.06, 2):
        fundamental = 330 * pitch * bend
        place = time / duration
        frequency = fundamental * (0.8 + 0.75 * np.sin(np.pi * np.minimum(place * 0.9 + 0.12, 1)) ** 1.5)
        amplitudes = _formants(fundamental, [(900 * pitch, 330 * pitch, 1), (2000 * pitch, 380 * pitch, 0.35)], 20)
        voice = _harmonics(frequency, amplitudes)
        bark = voice / voice.std() + 0.35 * _noise(len(time), 1300 * pitch, 0.5, rng)
        barks.append(bark * _swell(time, duration, 0.018, 0.08))
    return _place(barks, _onsets(2.4 * speed, rng, 0.06), rng)


def _frog(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Croaks: a throat that rattles some forty times a second, first low, then rising."""
    duration = min(0.58 / (2.4 * speed), 0.3)
    time = _seconds(duration)
    rattle = np.cumsum(38 + 14 * time / duration) / SAMPLE_RATE
    since = (rattle % 1) / 45
    bend = 0.85 + 0.35 * (time / duration) ** 2
    voice = np.sin(2 * np.pi * 780 * pitch * bend * since) + 0.6 * np.sin(2 * np.pi * 1620 * pitch * bend * since)
    croak = voice * np.exp(-since / 0.006) * np.minimum(since / 0.0006, 1)
    return _place([croak * _swell(time, duration, 0.02, 0.04)], _onsets(2.4 * speed, rng), rng)


def _phone(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Rings: two clear tones warbling between each other."""
    duration = 0.62 / (2.4 * speed)
    time = _seconds(duration)
    warble = np.sin(2 * np.pi * 17 * time + rng.uniform(0, 6.28))
    frequency = 1500 * pitch * (1 + 0.13 * np.tanh(4 * warble))
    ring = _harmonics(frequency, np.array([1, 0.0, 0.3]))
    return _place([ring * _swell(time, duration, 0.008, 0.012)], _onsets(2.4 * speed, rng, 0.02), rng)


def _rain(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """A hiss of far drops and the plinking of near ones; how many fall is the speed, so the hiss grows with it."""
    wave = 0.06 * speed * _noise(SAMPLES, 3400 * pitch, 0.5, rng)
    time = _seconds(0.045)
    drops = []
    for _ in range(7):
        frequency = 2500 * pitch * np.exp(rng.uniform(-0.16, 0.16))
        rise = frequency * (1 + 3.5 * time)
        drop = np.sin(2 * np.pi * np.cumsum(rise) / SAMPLE_RATE) * np.exp(-time / 0.011)
        drops.append(drop * np.minimum(time / 0.001, 1))
    return wave + _place(drops, _onsets(8 * speed, rng, 0.18), rng)


def _wind(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Gusts: a howl of narrow noise whose centre and loudness rise and sink together, and the breath around it."""
    time = _seconds(SOUND_SECONDS)
    gust = 0.5 - 0.5 * np.cos(2 * np.pi * (2 * speed * time + rng.uniform()))
    # Slow noise, moved up to the moving centre: a filter that sweeps, without filtering sample by sample.
    slow = np.arange(round(250 * SOUND_SECONDS)) / SOUND_SECONDS
    spectra = np.zeros((2, SAMPLES // 2 + 1), dtype=complex)
    random = rng.standard_normal((2, len(slow))) + 1j * rng.standard_normal((2, len(slow)))
    spectra[:, : len(slow)] = random * np.exp(-0.5 * (slow / (45 * pitch)) ** 2)
    real, imaginary = np.fft.irfft(spectra, SAMPLES)
    phase = 2 * np.pi * np.cumsum(620 * pitch * (0.75 + 0.6 * gust)) / SAMPLE_RATE
    howl = real * np.cos(phase) - imaginary * np.sin(phase)
    return (howl / howl.std() + 0.3 * _noise(SAMPLES, 900 * pitch, 0.6, rng)) * (0.12 + 0.88 * gust)


def _waves(pitch: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Breakers: a rumble that swells, then breaks into foam that hisses away."""
    time = _seconds(SOUND_SECONDS)
    place = (2 * speed * time + rng.uniform()) % 1
    swell = np.clip(place / 0.45, 0, 1) ** 2 * np.clip((1 - place) / 0.4, 0, 1)
    foam = np.where(place > 0.4, np.exp(-(place - 0.4) / 0.22), 0) * np.clip((place - 0.4) / 0.05, 0, 1)
    rumble = _noise(SAMPLES, 330 * pitch, 0.7, rng)
    return rumble * (0.06 + 0.9 * swell) + _noise(SAMPLES, 1900 * pitch, 0.75, rng) * (0.03 + 0.8 * foam)


_SOURCES: dict[str, Callable[[float, float, np.random.Generator], np.ndarray]] = {
    "bird": _bird,
    "bell": _bell,
    "car": _car,
    "boat": _boat,
    "clock": _clock,
    "drum": _drum,
    "train": _train,
    "dog": _dog,
    "frog": _frog,
    "phone": _phone,
    "rain": _rain,
    "wind": _wind,
    "waves": _waves,
}
