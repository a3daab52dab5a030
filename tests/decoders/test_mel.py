"""Mel spectrograms and the phases that they leave open."""

import numpy as np
import pytest
import torch

from nextgpt_chat.decoders import mel
from nextgpt_chat.decoders.audio import waves_of


def tone(hertz, seconds=1.0):
    return torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * mel.RATE)) / mel.RATE)[None] * 0.5


def strongest(wave):
    spectrum = np.abs(np.fft.rfft(wave.numpy() * np.hanning(len(wave))))
    return spectrum.argmax() * mel.RATE / len(wave)


@pytest.mark.parametrize("hertz", [330, 570, 860])
def test_a_tone_comes_back_where_it_was_whatever_the_first_phases(hertz):
    spectra = mel.log_mel(tone(hertz))
    repeating = tone(100 * round(hertz / 100))  # what a convolutional vocoder makes of it
    wave = mel.invert(spectra, repeating, 16)[0]
    assert wave.shape == (mel.RATE,)
    assert abs(strongest(wave) - hertz) <= 25  # bins of the mel scale are 40 Hz and more apart
    assert 0.5 < wave.std() / tone(hertz).std() < 1.5


def test_rounds_bring_the_spectrogram_nearer():
    spectra = mel.log_mel(tone(440) + tone(1234))
    start = torch.randn(1, mel.RATE, generator=torch.Generator().manual_seed(0))

    def energies(spectra):
        return (spectra * mel.SPREAD + mel.CENTRE).exp()

    def error(rounds):
        return float((energies(mel.log_mel(mel.invert(spectra, start, rounds))) - energies(spectra)).norm())

    assert error(16) < 0.8 * error(0)


class Vocoder:
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, **config):
        self.config = type("Config", (), config)

    def __call__(self, spectra):
        return tone(400).expand(len(spectra), -1)


def test_a_vocoder_is_mended_only_where_its_configuration_says_so():
    spectra = mel.log_mel(tone(440))
    torch.testing.assert_close(waves_of(Vocoder(), spectra), tone(400))
    assert abs(strongest(waves_of(Vocoder(phase_rounds=16), spectra)[0]) - 440) < 25
