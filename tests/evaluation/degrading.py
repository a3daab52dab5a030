"""Ways in which media are worn before they are judged."""

import numpy as np
import torch

from nextgpt_chat.decoders.mel import HOP, invert, log_mel
from nextgpt_chat.picturebook import SAMPLE_RATE


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """(..., h, w, 3) under a Gaussian of this standard deviation in pixels."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    result = pixels.astype(np.float64)
    for axis in (-3, -2):
        width = [(0, 0)] * result.ndim
        width[axis] = (reach, reach)
        padded = np.pad(result, width, mode="edge")
        size = result.shape[axis]
        result = sum(w * np.take(padded, range(k, k + size), axis) for k, w in enumerate(weights))
    return np.clip(result, 0, 255).round().astype(np.uint8)


def noisy(pixels: np.ndarray, rng: np.random.Generator, sigma: float = 12.0) -> np.ndarray:
    return np.clip(pixels + rng.normal(0, sigma, pixels.shape), 0, 255).round().astype(np.uint8)


def with_noise(samples: np.ndarray, rng: np.random.Generator, decibels: float = 15.0) -> np.ndarray:
    level = np.sqrt(np.square(samples).mean()) * 10 ** (-decibels / 20)
    return (samples + level * rng.standard_normal(len(samples))).astype(np.float32)


def low_passed(samples: np.ndarray, hertz: float = 2500.0) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum / np.sqrt(1 + (frequency / hertz) ** 8), len(samples)).astype(np.float32)


def griffin_lim(mel: torch.Tensor, rounds: int = 12) -> torch.Tensor:
    """Waves (B, samples) of log mel spectrograms (B, frames, bins), their first phases those of noise."""
    noise = torch.randn(len(mel), mel.shape[1] * HOP, generator=torch.Generator().manual_seed(0))
    waves = invert(mel, noise, rounds)
    return waves / waves.abs().amax(1, keepdim=True) * 0.7


def through_mel(samples: np.ndarray) -> np.ndarray:
    return griffin_lim(log_mel(torch.from_numpy(samples)[None]))[0].numpy()
