"""Reading pictures, sounds and clips: every form gives the same values."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import soundfile
from media_files import encode_clip, encode_sound, moving_square, ramp, tone

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.media import Limits, decoding, ffmpeg, read_media


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_lossless_pictures_come_back_exactly(tmp_path, form):
    path = tmp_path / "picture.dat"  # the name says nothing
    PIL.Image.fromarray(ramp()).save(path, form, lossless=True)
    image = read_media(path)
    assert isinstance(image, Image)
    assert np.array_equal(image.pixels, ramp())


def test_a_jpeg_is_turned_as_its_exif_orientation_says(tmp_path):
    path = tmp_path / "phone.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise to show
    PIL.Image.fromarray(ramp(40, 60)).save(path, quality=95, exif=exif)
    pixels = read_media(path).pixels.astype(int)
    assert pixels.shape == (60, 40, 3)
    assert np.abs(pixels - np.rot90(ramp(40, 60), -1)).mean() < 4
    assert np.array_equal(read_media(PIL.Image.open(path)).pixels, pixels)


def test_grey_pictures_of_32_bits_may_hold_8_or_16(tmp_path):
    for most, factor in ((255, 1), (65535, 257)):
        grey = PIL.Image.fromarray((ramp()[..., 0].astype(np.int32) * factor).clip(0, most))
        assert grey.mode == "I"
        assert np.array_equal(read_media(grey).pixels[..., 0], ramp()[..., 0])


def test_transparency_becomes_white(tmp_path):
    rgba = np.dstack([ramp(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    rgba[20:, :30, 3] = 128
    path = tmp_path / "alpha.png"
    PIL.Image.fromarray(rgba).save(path)
    pixels = read_media(path).pixels
    assert (pixels[:20] == 255).all()
    assert np.array_equal(pixels[20:, 30:], ramp()[20:, 30:])
    mixed = ramp()[20:, :30] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(pixels[20:, :30] - mixed).max() <= 1


def test_palette_grey_and_16_bit_pictures_become_rgb(tmp_path):
    palette = tmp_path / "palette.png"
    PIL.Image.fromarray(ramp()).quantize(256).save(palette)
    assert np.abs(read_media(palette).pixels.astype(int) - ramp()).mean() < 12
    deep = tmp_path / "deep.png"
    grey = (np.arange(60 * 40, dtype=np.uint16) * 27).reshape(40, 60)
    PIL.Image.fromarray(grey).save(deep)
    assert np.array_equal(read_media(deep).pixels[..., 1], (grey >> 8).astype(np.uint8))


def test_a_gif_of_one_frame_is_a_picture_and_of_several_a_clip(tmp_path):
    frames = [PIL.Image.fromarray(frame) for frame in moving_square(4)]
    still, moving = tmp_path / "still.gif", tmp_path / "moving.gif"
    frames[0].save(still)
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=250, loop=0)
    image, video = read_media(still), read_media(moving)
    assert np.abs(image.pixels.astype(int) - moving_square(4)[0]).max() < 8
    assert isinstance(video, Video)
    assert video.fps == 4
    assert np.abs(video.frames.astype(int) - moving_square(4)).max() < 8


def test_bytes_pil_pictures_and_values_are_taken_too(tmp_path):
    path = tmp_path / "picture.png"
    PIL.Image.fromarray(ramp()).save(path)
    expected = Image(ramp())
    assert read_media(path.read_bytes()) == read_media(str(path)) == read_media(PIL.Image.open(path)) == expected
    assert read_media(expected) is expected
    with pytest.raises(ValueError, match="int"):
        read_media(5)


@pytest.mark.parametrize(("form", "subtype", "rate"), [("WAV", "PCM_16", 8000), ("FLAC", "PCM_16", 44_100)])
def test_lossless_sounds_come_back_exactly_at_their_own_rate(tmp_path, form, subtype, rate):
    path = tmp_path / "sound"
    whole = np.round(tone(rate) * 32768).astype(np.int16)
    soundfile.write(path, whole, rate, subtype, format=form)
    audio = read_media(path)
    assert isinstance(audio, Audio)
    assert audio.rate == rate
    assert np.array_equal(audio.samples, whole / np.float32(32768))


@pytest.mark.parametrize("length", [0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_wav_from_a_pipe_states_no_length_and_is_read_to_its_end(tmp_path, length):
    soundfile.write(tmp_path / "piped.wav", tone(), 16_000)
    data = bytearray((tmp_path / "piped.wav").read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = length.to_bytes(4, "little")
    assert read_media(bytes(data)).seconds == 0.5


def test_channels_are_averaged_and_samples_put_on_the_16_bit_grid(tmp_path):
    path = tmp_path / "stereo.wav"
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    soundfile.write(path, stereo, 16_000, "FLOAT")
    samples = read_media(path).samples
    assert np.abs(samples - tone() / 2).max() <= 0.5 / 32768 + 1e-7
    assert np.array_equal(samples * 32768, np.round(samples * 32768))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sound.ogg", ["-c:a", "libvorbis", "-b:a", "128k"]),
        ("voice.ogg", ["-c:a", "libopus", "-b:a", "96k"]),
        ("sound.mp3", ["-b:a", "128k"]),
        ("sound.m4a", ["-c:a", "aac", "-b:a", "128k"]),
        ("sound.aac", ["-c:a", "aac", "-b:a", "128k"]),
        ("recording.webm", ["-c:a", "libopus", "-b:a", "96k"]),
        ("adpcm.wav", ["-c:a", "adpcm_ms"]),
    ],
)
def test_compressed_sounds_keep_their_pitch_and_length(tmp_path, name, options):
    path = encode_sound(tmp_path / name, tone(48_000, 1.0, 1000.0), 48_000, *options)
    audio = read_media(path.rename(tmp_path / "x.bin"))
    assert isinstance(audio, Audio)
    assert audio.rate == 48_000
    assert audio.seconds == pytest.approx(1.0, abs=0.1)
    middle = audio.samples[12_000:36_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) / 0.5 == pytest.approx(1000, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.1)


def test_a_recording_without_a_length_in_its_header_is_read(tmp_path):
    path = encode_sound(tmp_path / "live.webm", tone(48_000, 2.0), 48_000, "-c:a", "libopus", "-live", "1")
    assert read_media(path).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(Exception, match="at most 1 second"):
        read_media(path, limits=Limits(audio_seconds=1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", ["-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv444p"]),
        ("clip.mov", ["-c:v", "mpeg4", "-q:v", "2"]),
        ("clip.webm", ["-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime"]),
        ("live.webm", ["-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime", "-live", "1"]),
    ],
)
def test_clips_keep_their_frames_and_rate(tmp_path, name, options):
    path = encode_clip(tmp_path / name, moving_square(), 4, *options)
    video = read_media(path.rename(tmp_path / "x.txt"))
    assert isinstance(video, Video)
    assert video.fps == pytest.approx(4, rel=0.15 if name.startswith("live") else 1e-6)
    assert video.frames.shape == (8, 64, 64, 3)
    assert np.abs(video.frames.astype(int) - moving_square()).mean() < 12


def test_a_clip_of_uneven_rate_gets_its_average(tmp_path):
    """Browser recordings have neither a length nor a rate: frames come at any time."""
    uneven = "setpts='(N*0.25+0.1*mod(N,2))/TB'"
    options = ["-vf", uneven, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-c:v", "libvpx", "-live", "1"]
    path = encode_clip(tmp_path / "uneven.webm", moving_square(16), 4, *options)
    video = read_media(path)
    assert len(video.frames) == 16
    assert video.fps == pytest.approx(4, rel=0.1)


VP8 = ("-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime")
SOUND = ("-f", "lavfi", "-i", "sine=d=8:r=16000")


@pytest.mark.parametrize(
    ("name", "options"),
    [("uneven.webm", VP8), ("uneven.mkv", ("-c:v", "libx264")), ("live.webm", (*VP8, "-live", "1"))],
)
def test_a_screen_recording_that_leaves_out_still_frames_is_whole(tmp_path, name, options):
    """Ten frames in the first second, then one in half a second: the header says "10 fps" all the same."""
    moving_then_still = "select='lt(t,1)+not(mod(n,5))'"
    clip = moving_square(60, 32, 32)
    path = encode_clip(tmp_path / name, clip, 10, "-vf", moving_then_still, "-fps_mode", "vfr", *options)
    assert ffmpeg.probe(path, "matroska", seconds=20).video.fps == 10
    video = read_media(path)
    assert len(video.frames) == 20
    assert video.seconds == pytest.approx(5.6, abs=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [("song.mp4", ("-c:v", "libx264", "-c:a", "aac")), ("song.webm", (*VP8, "-c:a", "libopus"))],
)
@pytest.mark.parametrize(("frames", "begins"), [(1, 0), (8, 0), (8, 3)])
def test_a_picture_may_end_before_its_sound_and_begin_after_it(tmp_path, name, options, frames, begins):
    later = ("-vf", f"setpts=PTS+{begins}/TB")
    video = read_media(encode_clip(tmp_path / name, moving_square(frames), 4, *SOUND, *later, *options))
    assert (len(video.frames), video.fps) == (frames, 4)


def test_a_length_that_is_only_guessed_from_a_quiet_beginning_does_not_count(tmp_path):
    quiet_then_loud = np.concatenate([np.zeros(16_000 * 8), np.random.default_rng(0).normal(0, 0.2, 16_000)])
    path = encode_sound(tmp_path / "guessed.aac", quiet_then_loud, 16_000, "-c:a", "aac")
    assert read_media(path, limits=Limits(audio_seconds=10)).seconds == pytest.approx(9, abs=0.2)


def test_a_rate_that_no_header_states_is_measured(tmp_path, monkeypatch):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), 4, "-c:v", "libx264")
    header = ffmpeg.probe(path, "mov", seconds=20)
    unstated = replace(header, seconds=None, video=replace(header.video, fps=None))
    monkeypatch.setattr(ffmpeg, "probe", lambda *_, **__: unstated)
    facts = decoding.decode(decoding.Request(str(path), "clip.mp4", str(tmp_path / "raw"), Limits()))
    assert (facts["shape"], facts["fps"]) == ((8, 64, 64, 3), 4.0)


def test_broadcast_rates_are_not_rounded(tmp_path):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), "30000/1001", "-c:v", "libx264")
    assert read_media(path).fps == pytest.approx(30_000 / 1001, rel=1e-9)


def test_a_turned_phone_clip_stands_upright(tmp_path):
    plain = encode_clip(tmp_path / "plain.mp4", moving_square(4, 48, 64), 4, "-c:v", "libx264")
    assert read_media(turned_clip(plain, tmp_path / "turned.mov")).frames.shape == (4, 64, 48, 3)


def turned_clip(plain, turned):
    arguments = [ffmpeg.executable(), "-loglevel", "error", "-display_rotation", "90", "-i", str(plain)]
    subprocess.run([*arguments, "-c", "copy", str(turned)], check=True)
    return turned


def test_cover_art_does_not_make_a_song_a_clip(tmp_path):
    song = encode_sound(tmp_path / "song.m4a", tone(44_100, 1.0), 44_100, "-c:a", "aac")
    PIL.Image.fromarray(ramp()).save(tmp_path / "cover.jpg")
    both = ["-i", str(song), "-i", str(tmp_path / "cover.jpg"), "-map", "0", "-map", "1", "-c", "copy"]
    target = tmp_path / "covered.m4a"
    command = [ffmpeg.executable(), "-loglevel", "error", *both, "-disposition:v:0", "attached_pic", str(target)]
    subprocess.run(command, check=True)
    assert isinstance(read_media(target), Audio)


def test_large_clips_are_scaled_down_to_the_bounds(tmp_path):
    path = encode_clip(tmp_path / "large.mp4", moving_square(4, 128, 256), 4, "-c:v", "libx264")
    assert read_media(path, limits=Limits(clip_side=64)).frames.shape == (4, 64, 128, 3)
    assert read_media(path, limits=Limits(clip_bytes=100_000)).frames.nbytes <= 105_000
    gif = [PIL.Image.fromarray(frame) for frame in moving_square(4, 128, 256)]
    gif[0].save(tmp_path / "large.gif", save_all=True, append_images=gif[1:], duration=100)
    assert read_media(tmp_path / "large.gif", limits=Limits(clip_side=64)).frames.shape == (4, 64, 128, 3)


@pytest.mark.parametrize("stated", [2.0, 0.5])
@pytest.mark.parametrize(("turned", "shape"), [(False, (64, 128)), (True, (128, 64))])
def test_pixels_become_square_whichever_way_they_are_long(tmp_path, stated, turned, shape):
    """Twice as wide a pixel halves the height: sides are only ever shrunk."""
    coded = moving_square(4, 128, 128)
    path = encode_clip(tmp_path / "plain.mp4", coded, 4, "-vf", f"setsar={stated}", "-c:v", "libx264", "-crf", "5")
    if turned:
        path = turned_clip(path, tmp_path / "turned.mp4")
    video = read_media(path)
    assert video.frames.shape[1:3] == (shape if stated > 1 else shape[::-1])
    assert np.abs(video.frames[0].mean(axis=(0, 1)) - coded[0].mean(axis=(0, 1))).max() < 8


def test_a_clip_with_many_more_frames_than_its_rate_says_fits_into_the_bounds(tmp_path):
    """Its header says "1 fps" and three seconds; a frame comes every 50 ms."""
    faster = ("-vf", "setpts=N*0.05/TB", "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    path = encode_clip(tmp_path / "fast.webm", moving_square(60), 1, *faster, *VP8)
    assert ffmpeg.probe(path, "matroska", seconds=20).video.fps == 1
    frames = read_media(path, limits=Limits(clip_bytes=200_000, video_frames=100)).frames
    assert len(frames) == 60
    assert frames.nbytes <= 210_000


def test_reading_leaves_the_file_as_it_was(tmp_path):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), 4, "-c:v", "libx264")
    path.chmod(0o444)
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    read_media(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_worker_is_light():
    """Decoding a file must not wait for torch: neither the worker nor the package's root may import it."""
    code = "import sys, nextgpt_chat.media.worker; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
