"""Written files: playable, marked, and the same when they are read again."""

import io
import os

import numpy as np
import PIL.Image
import pytest
import soundfile
from media_files import moving_square, ramp, tone

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.media import (
    Limits,
    encode_lossless,
    ffmpeg,
    read_exact,
    read_media,
    read_metadata,
    write_audio,
    write_image,
    write_video,
)
from nextgpt_chat.media.decoding import to_grid


def boxes(data: bytes) -> list[bytes]:
    names, position = [], 0
    while position < len(data):
        names.append(data[position + 4 : position + 8])
        position += int.from_bytes(data[position : position + 4], "big")
    return names


def test_pictures_are_png_and_lossless(tmp_path):
    path = tmp_path / "picture.png"
    assert write_image(Image(ramp()), path, True) is None
    assert PIL.Image.open(path).format == "PNG"
    assert read_media(path) == Image(ramp())
    assert write_image(PIL.Image.fromarray(ramp()), None, True) == path.read_bytes()


def test_sounds_are_16_bit_wav_and_read_back_to_the_same_hash(tmp_path):
    path = tmp_path / "sound.wav"
    first = Audio(np.append(tone(), np.float32([1.5, -1.5, 1.0, -1.0])).astype(np.float32), 22_050)
    write_audio(first, path, True)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("WAV", "PCM_16", 1, 22_050)
    second = read_media(path)
    assert np.abs(second.samples[:-4] - tone()).max() <= 0.5 / 32768 + 1e-7
    assert second.samples[-4:].tolist() == [32767 / 32768, -1, 32767 / 32768, -1]
    write_audio(second, path, True)
    assert read_media(path).sha256 == second.sha256


def test_clips_are_h264_yuv420p_with_the_index_first(tmp_path):
    path = tmp_path / "clip.mp4"
    video = Video(moving_square(), 4.0)
    write_video(video, path, True)
    header = ffmpeg.probe(path, "mov", seconds=20)
    assert "Video: h264" in header.log
    assert "yuv420p" in header.log
    assert "bt709" in header.log
    assert header.seconds == pytest.approx(2.0, abs=0.05)
    kinds = boxes(path.read_bytes())
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    back = read_media(path)
    assert (back.frames.shape, back.fps) == (video.frames.shape, 4.0)
    assert np.abs(back.frames.astype(int) - video.frames).mean() < 4
    assert write_video(video, None, True) == path.read_bytes()


def test_odd_sizes_are_padded_by_the_edge_and_small_clips_enlarged():
    video = Video(moving_square(2, 45, 63), 8.0)
    back = read_media(write_video(video, None, False))
    assert back.frames.shape == (2, 46, 64, 3)
    assert np.abs(back.frames[:, 45].astype(int) - back.frames[:, 44]).mean() < 6
    for smooth in (False, True):
        large = read_media(write_video(video, None, False, scale=4, smooth=smooth)).frames
        assert large.shape == (2, 180, 252, 3)
        assert np.abs(large[:, 2::4, 2::4].astype(int) - video.frames).mean() < 6
    assert read_media(write_video(video, None, False, scale=3)).frames.shape == (2, 138, 192, 3)
    with pytest.raises(ValueError, match="0"):
        write_video(video, None, False, scale=0)


def test_only_generated_media_are_marked():
    for write, media in (
        (write_image, Image(ramp())),
        (write_audio, Audio(tone(), 16_000)),
        (write_video, Video(moving_square(), 4.0)),
    ):
        assert read_metadata(write(media, None, True))["comment"] == "AI-generated"
        assert b"AI-generated" in write(media, None, True)
        assert "AI-generated" not in read_metadata(write(media, None, False)).values()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_image(Image(ramp()), path, True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "media",
    [
        Image(np.random.default_rng(0).integers(0, 256, (33, 21, 3), np.uint8)),
        Audio(to_grid(tone()), 16_000),
        Audio(tone() * np.float32(3.3), 11_025),
        Audio(np.zeros(0, np.float32), 16_000),
        Video(np.random.default_rng(0).integers(0, 256, (3, 37, 51, 3), np.uint8), 4.0),
        Video(np.random.default_rng(0).integers(0, 256, (1, 2, 1, 3), np.uint8), 30.0),
        Video(moving_square(), 29.97),
    ],
    ids=["image", "grid audio", "float audio", "no samples", "odd video", "tiny video", "clip"],
)
def test_lossless_files_give_back_the_same_array(media):
    suffix, data = encode_lossless(media)
    back = read_exact(data, limits=Limits(clip_side=10_000))
    assert suffix == {"image": ".png", "audio": ".wav", "video": ".mp4"}[media.kind]
    if isinstance(media, Video):
        assert np.array_equal(back.frames, media.frames)
        assert back.fps == pytest.approx(media.fps, rel=1e-3)
    else:
        assert back.sha256 == media.sha256


def test_a_float_sound_is_kept_in_32_bits_only_when_it_must():
    def bits(samples):
        return soundfile.info(io.BytesIO(encode_lossless(Audio(samples, 16_000))[1])).subtype

    assert bits(to_grid(tone())) == "PCM_16"
    assert bits(tone()) == "FLOAT"


def test_a_sound_with_negative_zeros_comes_back_as_the_same_content():
    samples = np.array([0.0, -0.0, 0.5, -0.25] * 400, np.float32)
    sound = Audio(samples, 16_000)
    _, data = encode_lossless(sound)
    assert read_exact(data, limits=Limits()).sha256 == sound.sha256
