"""Log mel spectrograms as the audio decoder's autoencoder and vocoder see them (AudioLDM: 64 bins, hop 10 ms)."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

RATE = 16_000
HOP = 160
WINDOW = 1024
BINS = 64
LOWEST, HIGHEST = 50.0, 8000.0
FLOOR = 1e-5
CENTRE, SPREAD = -2.0, 5.0
"""log mel energies are shifted and scaled by these to about [-1.6, 1.7], the range the autoencoder likes."""


@cache
def mel_filters(bins: int = BINS, fft: int = WINDOW, rate: int = RATE) -> Tensor:
    """(fft / 2 + 1, bins) triangles of unit peak, equally spaced in mel (2595 log10(1 + f/700))."""
    edges = torch.tensor([LOWEST, HIGHEST]).div(700).add(1).log10().mul(2595)
    points = 700 * (10 ** (torch.linspace(float(edges[0]), float(edges[1]), bins + 2) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, fft // 2 + 1)[:, None]
    rising = (frequencies - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - frequencies) / (points[2:] - points[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


def magnitudes(waves: Tensor, fft: int, hop: int) -> Tensor:
    """(B, frames, fft / 2 + 1) of waves (B, n), Hann window, n / hop frames."""
    pad = (fft - hop) // 2
    padded = torch.nn.functional.pad(waves[:, None], (pad, fft - hop - pad), mode="reflect")[:, 0]
    window = torch.hann_window(fft, device=waves.device)
    spectrum = torch.stft(padded.float(), fft, hop, fft, window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt().transpose(1, 2)


def log_mel(waves: Tensor) -> Tensor:
    """(B, n / HOP, BINS) of waves (B, n) at RATE, in the vocoder's units."""
    energies = magnitudes(waves, WINDOW, HOP) @ mel_filters().to(waves.device)
    return (energies.clamp(min=FLOOR).log() - CENTRE) / SPREAD


def invert(spectra: Tensor, waves: Tensor, rounds: int) -> Tensor:
    """Waves (B, n) with log mel spectrograms ``spectra`` (B, n / HOP, BINS), their phases taken from ``waves`` and
    made to agree in so many rounds of Perraudin, Balazs and Søndergaard's fast Griffin-Lim (2013).

    A convolutional vocoder of a steady tone hears the same frame again and again, so what it makes repeats itself every
    HOP samples: of all tones it has the multiples of 100 Hz (measured on held-out sounds: source right 79 %, pitch
    81 %; after 16 rounds 100 %).
    """
    window = torch.hann_window(WINDOW, device=spectra.device)
    energies = (spectra.float() * SPREAD + CENTRE).exp() @ _from_mel().to(spectra.device)
    sizes = energies.clamp(min=0).transpose(1, 2)
    sizes = torch.cat([sizes, sizes[..., -1:]], dim=-1)
    analyse = partial(torch.stft, n_fft=WINDOW, hop_length=HOP, window=window, return_complex=True)
    make = partial(torch.istft, n_fft=WINDOW, hop_length=HOP, window=window, length=spectra.shape[1] * HOP)
    spectrum = before = analyse(waves.float())
    for _ in range(rounds):
        now = analyse(make(torch.polar(sizes, spectrum.angle())))
        spectrum, before = now + _MOMENTUM * (now - before), now
    return make(torch.polar(sizes, spectrum.angle()))


@cache
def _from_mel() -> Tensor:
    return torch.linalg.pinv(mel_filters())


_MOMENTUM = 0.99
