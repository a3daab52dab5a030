"""Filter bank and resampling: properties that hold without a reference."""

import math

import pytest
import torch

from nextgpt_chat.imagebind import fbank, resample


def tone(hertz, rate, seconds=1.0):
    return torch.sin(2 * math.pi * hertz * torch.arange(int(rate * seconds)) / rate)


def test_frames_and_bins():
    assert fbank(torch.randn(3, 32000)).shape == (3, 198, 128)
    assert fbank(torch.randn(2, 8000), bins=64, rate=8000).shape == (2, 98, 64)
    assert fbank(torch.randn(1, 399)).shape == (1, 0, 128)


def test_a_batch_equals_its_waveforms_one_by_one():
    waves = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(fbank(waves), torch.cat([fbank(wave[None]) for wave in waves]), atol=1e-5)


@pytest.mark.parametrize("hertz", [440.0, 1000.0, 3000.0])
def test_a_tone_peaks_in_the_filter_around_its_frequency(hertz):
    energies = fbank(tone(hertz, 16000)[None])[0].mean(0)
    mel = [1127 * math.log(1 + f / 700) for f in (20.0, 8000.0, hertz)]
    bin_of_tone = (mel[2] - mel[0]) / (mel[1] - mel[0]) * 129 - 1
    assert abs(energies.argmax().item() - bin_of_tone) <= 1


def test_silence_and_a_constant_lie_on_the_floor():
    floor = math.log(torch.finfo(torch.float32).eps)
    for wave in (torch.zeros(1, 1600), torch.full((1, 1600), 0.5)):
        assert torch.allclose(fbank(wave), torch.tensor(floor))


def test_ten_times_the_amplitude_is_a_hundred_times_the_energy():
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))
    difference = fbank(10 * wave) - fbank(wave)
    assert torch.allclose(difference[..., 20:], torch.tensor(math.log(100.0)), atol=1e-3)


def test_waveforms_must_be_a_batch():
    with pytest.raises(ValueError, match=r"\(100,\)"):
        fbank(torch.zeros(100))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 44101, 48000])
def test_resampling_keeps_a_tone(rate):
    resampled = resample(tone(440, rate)[None], rate, 16000)[0]
    assert len(resampled) == 16000
    # The filter needs some samples to both sides.
    assert torch.allclose(resampled[100:-100], tone(440, 16000)[100:-100], atol=5e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    assert resample(tone(10000, 44100)[None], 44100, 16000)[0, 100:-100].abs().max() < 0.02


def test_part_of_a_recording_equals_that_part_of_the_whole():
    wave = torch.randn(2, 30000, generator=torch.Generator().manual_seed(2))
    whole = resample(wave, 22050, 16000)
    assert whole.shape == (2, math.ceil(30000 * 16000 / 22050))
    for start, stop in ((0, 500), (7001, 9000), (21000, 99999), (50000, 60000)):
        assert torch.allclose(resample(wave, 22050, 16000, start, stop), whole[:, start:stop], atol=1e-6)


def test_an_equal_rate_changes_nothing():
    wave = torch.randn(1, 100)
    assert torch.equal(resample(wave, 16000, 16000), wave)
    assert resample(torch.zeros(1, 0), 44100, 16000).shape == (1, 0)
