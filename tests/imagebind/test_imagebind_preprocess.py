"""Clip times, windows and crops on made media."""

import numpy as np
import pytest
import torch

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.errors import LimitError
from nextgpt_chat.imagebind import (
    ImageBindConfig,
    clip_times,
    preprocess_audio,
    preprocess_frames,
    preprocess_image,
    preprocess_video,
    preprocess_waveform,
)
from nextgpt_chat.imagebind.preprocess import PIXEL_MEAN, PIXEL_STD, preprocess

MINI = ImageBindConfig.mini()


def grey_level(view):
    """The red channel of each frame, back as a level from 0 to 255."""
    return ((view[0] * PIXEL_STD[0] + PIXEL_MEAN[0]) * 255).flatten(1).mean(1).round().int().tolist()


def test_clips_divide_the_spare_time_by_their_number():
    times = [(float(start), float(end)) for start, end in clip_times(8.0, 2.0, 3)]
    assert times == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    assert {float(start) for start, _ in clip_times(1.2, 2.0, 3)} == {0.0}


def test_mini_sees_four_frame_pairs_of_a_two_second_clip():
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * 30 + np.zeros((8, 16, 16, 3), np.uint8)
    views = preprocess_video(Video(frames, fps=4.0), MINI)
    assert views.shape == (12, 3, 2, 112, 112)
    pairs = [[level // 30 for level in grey_level(view)] for view in views[::3]]
    assert pairs == [[0, 3], [1, 4], [2, 5], [3, 6]]


def test_a_square_clip_has_three_equal_crops_and_a_wide_one_both_ends():
    square = preprocess_frames(torch.randint(0, 256, (4, 20, 20, 3), dtype=torch.uint8), 4.0, MINI)
    assert torch.equal(square[0], square[1]) and torch.equal(square[1], square[2])
    wide = torch.zeros(4, 20, 60, 3, dtype=torch.uint8)
    wide[:, :, 20:40], wide[:, :, 40:] = 100, 200
    for frames in (wide, wide.transpose(1, 2)):
        views = preprocess_frames(frames, 4.0, MINI)
        assert [grey_level(view[..., 28:84, 28:84])[0] for view in views[:3]] == [0, 100, 200]


def test_one_centre_crop_when_the_config_says_so():
    config = ImageBindConfig(video_crops=1, video_clips=2)
    assert preprocess_frames(torch.zeros(3, 8, 12, 3, dtype=torch.uint8), 2.0, config).shape == (2, 3, 2, 224, 224)


@pytest.mark.parametrize(("frames", "fps"), [(1, 0.1), (1, 30.0), (2, 0.5), (500, 240.0)])
def test_any_frame_count_and_rate_gives_all_views(frames, fps):
    views = preprocess_frames(torch.zeros(frames, 8, 8, 3, dtype=torch.uint8), fps, MINI)
    assert views.shape == (12, 3, 2, 112, 112)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (112, 112), (113, 112), (500, 400)])
def test_any_picture_becomes_a_square(shape):
    pixels = preprocess_image(Image(np.full((*shape, 3), 255, np.uint8)), MINI)
    assert pixels.shape == (3, 112, 112)
    assert torch.allclose(pixels[0], torch.tensor((1 - PIXEL_MEAN[0]) / PIXEL_STD[0]))


def test_a_sliver_is_refused_with_its_size():
    with pytest.raises(LimitError, match="3000 × 10"):
        preprocess_image(Image(np.zeros((10, 3000, 3), np.uint8)), MINI)
    with pytest.raises(LimitError, match="10 × 3000"):
        preprocess_video(Video(np.zeros((1, 3000, 10, 3), np.uint8), 1.0), MINI)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 16000, 32000, 200000])
def test_any_length_of_sound_gives_three_finite_windows(samples):
    rng = np.random.default_rng(0)
    mel = preprocess_audio(Audio(rng.normal(0, 0.1, samples).astype(np.float32), 16000), MINI)
    assert mel.shape == (3, 1, 128, 204)
    assert torch.isfinite(mel).all()


def test_frames_that_a_sound_lacks_are_filled_with_log_energy_zero():
    rng = np.random.default_rng(0)
    mel = preprocess_audio(Audio(rng.normal(0, 0.1, 16000).astype(np.float32), 16000), MINI)
    assert torch.allclose(mel[..., 98:], torch.tensor(-MINI.audio_mean / MINI.audio_std))
    assert torch.equal(mel[0], mel[2])


def test_each_window_is_centred_on_its_own_and_the_waveform_is_left_alone():
    generator = torch.Generator().manual_seed(3)
    wave = torch.randn(1, 80000, generator=generator) * 0.1 + 0.3
    before = wave.clone()
    mel = preprocess_waveform(wave, 16000, MINI)
    assert torch.equal(wave, before)
    start, end = clip_times(5.0, 2.0, 3)[2]
    alone = preprocess_waveform(wave[:, int(start * 16000) : int(end * 16000)], 16000, MINI)
    assert torch.allclose(mel[2], alone[0], atol=1e-5)


def test_preprocess_takes_any_medium():
    assert preprocess(Image(np.zeros((5, 5, 3), np.uint8)), MINI).shape == (1, 3, 112, 112)
    assert preprocess(Audio(np.zeros(100, np.float32), 8000), MINI).shape == (3, 1, 128, 204)
    assert preprocess(Video(np.zeros((2, 5, 5, 3), np.uint8), 4.0), MINI).shape == (12, 3, 2, 112, 112)
    with pytest.raises(ValueError, match="str"):
        preprocess("cat.png", MINI)
