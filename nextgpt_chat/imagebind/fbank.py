"""Kaldi's log mel filter bank and band-limited resampling, for batches of waveforms; knows no model."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

LOW_FREQUENCY = 20.0  # Hz, lower edge of the first mel filter
PRE_EMPHASIS = 0.97
FLOOR = torch.finfo(torch.float32).eps  # energies are clipped here before the logarithm
LOWPASS_WIDTH = 6  # zero crossings of the resampling filter to each side
ROLLOFF = 0.99  # its cut-off relative to the lower Nyquist frequency
_RESAMPLE_CHUNK = 1 << 16  # output samples at a time: bounds the gathered taps to some 10 MB


def _mel(hertz: Tensor | float) -> Tensor:
    return 1127.0 * torch.log1p(torch.as_tensor(hertz, dtype=torch.float64) / 700.0)


@lru_cache(maxsize=8)
def _mel_filters(bins: int, fft_size: int, rate: int) -> Tensor:
    """Triangles that are straight in mels: (fft_size // 2 + 1, bins). The Nyquist bin weighs nothing, as in Kaldi."""
    edges = torch.linspace(_mel(LOW_FREQUENCY).item(), _mel(rate / 2).item(), bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mels = _mel(torch.arange(fft_size // 2, dtype=torch.float64) * rate / fft_size)[:, None]
    triangles = torch.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clamp(min=0)
    return torch.cat([triangles, triangles.new_zeros(1, bins)]).float()


@lru_cache(maxsize=8)
def _window(length: int) -> Tensor:
    return torch.hann_window(length, periodic=False, dtype=torch.float64).float()


def fbank(waveforms: Tensor, bins: int = 128, rate: int = 16000) -> Tensor:
    """Log mel energies of mono waveforms (B, n) at ``rate`` Hz: (B, frames, bins), natural logarithm.

    As Kaldi computes them with a Hann window and neither dither nor energy: 25 ms frames every 10 ms, whole frames
    only, each frame's mean removed, then pre-emphasis. Shorter waveforms than one frame give no frames.
    """
    if waveforms.ndim != 2:
        raise ValueError(f"waveforms must be (B, n), not {tuple(waveforms.shape)}")
    length, shift = rate * 25 // 1000, rate // 100
    if waveforms.shape[1] < length:
        return waveforms.new_zeros(len(waveforms), 0, bins)
    fft_size = 1 << (length - 1).bit_length()
    frames = waveforms.unfold(1, length, shift)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    # The sample before a frame's first is taken to equal the first.
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PRE_EMPHASIS * previous) * _window(length).to(frames)
    power = torch.fft.rfft(frames, n=fft_size).abs().square()
    return (power @ _mel_filters(bins, fft_size, rate).to(power)).clamp(min=FLOOR).log()


@lru_cache(maxsize=8)
def _resampling_taps(source: int, target: int) -> tuple[Tensor, Tensor, int]:
    """Filters of all ``target`` phases: weights (target, taps), the input offset of each first tap (target,), taps.

    Only the taps under the filter's window are kept, so awkward ratios such as 44101 : 16000 stay small.
    """
    base = min(source, target) * ROLLOFF
    width = math.ceil(LOWPASS_WIDTH * source / base)
    phases = torch.arange(target, dtype=torch.int64)
    first = phases * source // target - width
    taps = 2 * width + 2
    at = (first[:, None] + torch.arange(taps)).double()  # input sample under each tap
    time = (at / source - (phases.double() / target)[:, None]) * base
    time = time.clamp(-LOWPASS_WIDTH, LOWPASS_WIDTH)
    hann = torch.cos(time * math.pi / LOWPASS_WIDTH / 2).square()
    return (torch.sinc(time) * hann * (base / source)).float(), first, taps


def resampled_length(samples: int, source_rate: int, target_rate: int) -> int:
    """Samples that ``resample`` makes of ``samples``: the same duration, rounded up."""
    divisor = math.gcd(source_rate, target_rate)
    return -(-samples * (target_rate // divisor) // (source_rate // divisor))


def resample(waveforms: Tensor, source_rate: int, target_rate: int, start: int = 0, stop: int | None = None) -> Tensor:
    """Waveforms (..., n) at ``source_rate`` Hz as (..., m) at ``target_rate`` Hz, by a Hann-windowed sinc.

    ``start`` and ``stop`` select output samples, so that a few seconds of a long recording cost no more than that.
    """
    total = resampled_length(waveforms.shape[-1], source_rate, target_rate)
    start, stop = min(start, total), total if stop is None else min(stop, total)
    if source_rate == target_rate:
        return waveforms[..., start:stop]
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    weights, first, taps = _resampling_taps(source, target)
    weights, offsets = weights.to(waveforms), torch.arange(taps)
    pieces = [waveforms[..., :0]]
    for begin in range(start, stop, _RESAMPLE_CHUNK):
        wanted = torch.arange(begin, min(begin + _RESAMPLE_CHUNK, stop))
        phase = wanted % target
        index = (wanted // target * source + first[phase])[:, None] + offsets
        low, high = int(index.min()), int(index.max()) + 1
        # Silence stands before the first and after the last sample.
        span = waveforms[..., max(low, 0) : max(min(high, waveforms.shape[-1]), 0)]
        span = torch.nn.functional.pad(span, (max(-low, 0), max(high - waveforms.shape[-1], 0)))
        pieces.append((span[..., (index - low).to(span.device)] * weights[phase]).sum(-1))
    return torch.cat(pieces, dim=-1)
