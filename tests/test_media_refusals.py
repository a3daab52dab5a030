"""What must not come in: each refusal names the file, the limit and the next step."""

import io
import struct
import subprocess
import time
import zlib
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import soundfile
from media_files import encode_clip, encode_sound, moving_square, ramp, tone

from nextgpt_chat.content import Audio, Image, Video, array_of
from nextgpt_chat.errors import LimitError, MediaError
from nextgpt_chat.media import Limits, encode_lossless, ffmpeg, read_exact, read_media


def test_text_named_png(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("milk, eggs, bread\n" * 20)
    with pytest.raises(MediaError, match=r"notes\.png is not a picture.*looks like text.*Send a PNG"):
        read_media(path)


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        (b"%PDF-1.4\n%\xc7\xec", "PDF"),
        (b"PK\x03\x04\x00\x00", "ZIP"),
        (b"\x00\x01\x02\x03\x04\x05", "another kind"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
    ],
)
def test_what_is_no_medium_is_named(content, looks):
    with pytest.raises(MediaError, match=looks):
        read_media(content, name="clip.mp4")


def test_empty_missing_folder_and_odd_names(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(MediaError, match=r"empty\.wav is empty \(0 bytes\)"):
        read_media(tmp_path / "empty.wav")
    with pytest.raises(MediaError, match=r"gone\.png was not found"):
        read_media(tmp_path / "gone.png")
    with pytest.raises(MediaError, match="is a folder"):
        read_media(tmp_path)
    with pytest.raises(MediaError, match=r"cannot be opened|not found"):
        read_media("nul\0byte.png")
    with pytest.raises(MediaError, match="not found"):
        read_media("concat:/etc/passwd|/etc/hosts")
    with pytest.raises(MediaError) as caught:
        read_media(b"hello", name="a\nb" * 500)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_odd_file_names_mean_nothing_to_ffmpeg(tmp_path):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), 4, "-c:v", "libx264")
    assert read_media(path.rename(tmp_path / "-i concat:%03d 'x'.mp4")).frames.shape[0] == 8


@pytest.mark.parametrize("faststart", [True, False])
def test_a_truncated_mp4(tmp_path, faststart):
    options = ["-movflags", "+faststart"] if faststart else []
    path = encode_clip(tmp_path / "cut.mp4", moving_square(30), 10, "-c:v", "libx264", *options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match=r"cut\.mp4 could not be read as a clip: its end is missing.*again"):
        read_media(path)


@pytest.mark.parametrize("trailer", [b"TAG" + b"x" * 125, b"\n<!-- made by a camera -->\n", bytes(50)])
def test_what_comes_after_the_last_box_of_a_whole_clip_is_no_lack(tmp_path, trailer):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), 8)
    assert len(read_media(path.read_bytes() + trailer).frames) == len(moving_square())


def test_a_cut_clip_with_a_box_that_nobody_knows_is_not_called_whole(tmp_path):
    path = encode_clip(tmp_path / "cut.mp4", moving_square(30), 10, "-c:v", "libx264", "-movflags", "+faststart")
    data = path.read_bytes().replace(struct.pack(">I4s", 8, b"free"), struct.pack(">I4s", 8, b"thum"), 1)
    assert b"thum" in data and len(read_media(data).frames) == 30
    with pytest.raises(MediaError, match=r"cut\.mp4 could not be read as a clip: only .* of its 3\.0 seconds"):
        read_media(data[: len(data) * 2 // 3], name="cut.mp4")


@pytest.mark.parametrize("picture", ["damaged", "F"])
def test_a_picture_value_that_cannot_be_read_is_refused_in_words(picture):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    PIL.Image.fromarray(noise).save(file, "PNG")
    data = bytearray(file.getvalue())
    at = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[at : at + 4] = b"\x00\x01\x02\x03"
    values = {"damaged": PIL.Image.open(io.BytesIO(data)), "F": PIL.Image.fromarray(np.full((4, 4), 0.5, np.float32))}
    with pytest.raises(MediaError, match=r"The picture (could not be read|has floating-point values)"):
        read_media(values[picture])


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("sound", [(), ("-f", "lavfi", "-i", "sine=d=6:r=16000", "-c:a", "libopus")])
def test_a_truncated_webm(tmp_path, keep, sound):
    data = noisy_webm(tmp_path / "cut.webm", *sound)
    with pytest.raises(MediaError, match=r"cut\.webm could not be read as a clip: its end is missing.*again"):
        read_media(data[: round(len(data) * keep)], name="cut.webm")


def test_a_truncated_webm_that_states_its_seconds_but_not_its_bytes(tmp_path):
    """As pages make them that put the length into a browser's recording afterwards."""
    data = noisy_webm(tmp_path / "clip.webm")
    size = data.index(b"\x18\x53\x80\x67") + 4
    data = data[:size] + b"\x01" + b"\xff" * 7 + data[size + 8 :]
    assert read_media(data).seconds == pytest.approx(3)
    with pytest.raises(MediaError, match=r"cut\.webm could not be read as a clip: only 1\.\d of its 3\.0 seconds"):
        read_media(data[: len(data) // 2], name="cut.webm")


def noisy_webm(path, *options) -> bytes:
    """Three seconds, so many bytes that a cut goes through the middle of its frames."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), np.uint8)
    vp8 = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M")
    return encode_clip(path, noise, 20, *options, *vp8).read_bytes()


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_truncated_wav(tmp_path, subtype):
    soundfile.write(tmp_path / "cut.wav", tone(), 16_000, subtype)
    data = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match=r"cut\.wav could not be read as a sound: its end is missing \(at least"):
        read_media(tmp_path / "cut.wav")


@pytest.mark.parametrize(("name", "form"), [("cut.png", "PNG"), ("cut.jpg", "JPEG"), ("cut.gif", "GIF")])
def test_a_truncated_picture(tmp_path, name, form):
    path = tmp_path / name
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path, form)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(MediaError, match=rf"{name} could not be read as a {form} picture"):
        read_media(path)


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff", b"GIF89a", b"OggS", b"ID3", b"fLaC", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x08moov"]
)
def test_a_right_beginning_is_not_enough(head):
    with pytest.raises(MediaError, match=r"^song\.mp3 could not be read as .*may be damaged"):
        read_media(head + bytes(60), name="song.mp3")


def test_a_sound_without_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(MediaError, match=r"none\.wav could not be read as a sound"):
        read_media(tmp_path / "none.wav")


def test_a_50_megapixel_bomb_is_refused_from_its_header(tmp_path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 10_000, 5_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"  # its pixels are missing: decoding them would fail otherwise
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(LimitError, match=r"bomb\.png is 10000 × 5000 pixels \(50\.0 mega.*at most 25 mega.*smaller"):
        read_media(path)
    with pytest.raises(LimitError, match="megapixels"):
        read_media(PIL.Image.open(path))
    with pytest.raises(LimitError, match="at most 50 pixels"):
        read_media(PIL.Image.new("RGB", (60, 2)), limits=Limits(side=50))


def test_a_clip_whose_seconds_are_taken_is_not_refused_for_a_frame_more(tmp_path):
    clips = [encode_clip(tmp_path / f"{count}.mp4", moving_square(count, 16, 16), 30) for count in (101, 102)]
    assert len(read_media(clips[0], limits=Limits(video_frames=100)).frames) == 101
    with pytest.raises(LimitError, match="more than 100 frames"):
        read_media(clips[1], limits=Limits(video_frames=100))


def test_an_hour_of_audio_is_refused_from_its_header(tmp_path):
    path = tmp_path / "hour.flac"
    soundfile.write(path, np.zeros(3600 * 1000, np.int16), 1000)
    start = time.monotonic()
    with pytest.raises(LimitError, match=r"hour\.flac is 60\.0 minutes long.*at most 300 seconds.*shorter piece"):
        read_media(path)
    assert time.monotonic() - start < 5


def test_long_compressed_sounds_and_clips(tmp_path):
    sound = encode_sound(tmp_path / "long.m4a", np.zeros(8000 * 4, np.float32), 8000, "-c:a", "aac")
    with pytest.raises(LimitError, match=r"long\.m4a is 4\.\d seconds long.*at most 2 seconds"):
        read_media(sound, limits=Limits(audio_seconds=2))
    clip = encode_clip(tmp_path / "long.mp4", moving_square(40), 10, "-c:v", "libx264")
    with pytest.raises(LimitError, match=r"long\.mp4 is 4\.0 seconds long.*a clip may last at most 3 seconds"):
        read_media(clip, limits=Limits(video_seconds=3))
    with pytest.raises(LimitError, match="more than 20 frames"):
        read_media(clip, limits=Limits(video_frames=20))
    with pytest.raises(LimitError, match="megapixels"):
        read_media(clip, limits=Limits(pixels=4000))


def test_no_shape_of_pixels_makes_a_clip_larger(tmp_path):
    """A kilobyte that says that its pixels are 255 times as wide as high."""
    plain = encode_clip(tmp_path / "plain.mp4", moving_square(8, 128, 128), 4, "-c:v", "libx264")
    wide = tmp_path / "wide.mp4"
    command = [ffmpeg.executable(), "-loglevel", "error", "-i", str(plain), "-c", "copy", "-aspect", "255/1"]
    subprocess.run([*command, str(wide)], check=True)
    assert read_media(wide).frames.shape == (8, 1, 128, 3)


def test_a_clip_that_cannot_be_made_small_enough(tmp_path):
    clip = encode_clip(tmp_path / "clip.mp4", moving_square(40), 10, "-c:v", "libx264")
    with pytest.raises(LimitError, match=r"clip\.mp4 takes .* MB of memory or more; at most .* MB are taken\. Send"):
        read_media(clip, limits=Limits(clip_bytes=60))


def test_a_live_clip_without_a_length_is_still_bounded(tmp_path):
    live = ["-c:v", "libvpx", "-deadline", "realtime", "-live", "1"]
    clip = encode_clip(tmp_path / "live.webm", moving_square(40), 10, *live)
    with pytest.raises(LimitError, match="at most 2 seconds"):
        read_media(clip, limits=Limits(video_seconds=2))


def test_an_endless_gif(tmp_path):
    frames = [PIL.Image.fromarray(frame) for frame in moving_square(30, 16, 16)]
    for index, frame in enumerate(frames):
        frame.putpixel((0, 0), (index * 8, 0, 0))
    frames[0].save(tmp_path / "slow.gif", save_all=True, append_images=frames[1:], duration=5000)
    with pytest.raises(LimitError, match="at most 60 seconds"):
        read_media(tmp_path / "slow.gif")
    with pytest.raises(LimitError, match="more than 10 frames"):
        read_media(tmp_path / "slow.gif", limits=Limits(video_seconds=1000, video_frames=10))


@pytest.mark.parametrize(("side", "told"), [((60, 50), "megapixels"), ((90, 20), "at most 80 pixels")])
def test_a_later_frame_of_a_gif_that_is_larger_than_the_first(side, told):
    data = gif_of_sizes((10, 10), side)
    assert read_media(data).frames.shape == (2, side[1], side[0], 3)
    with pytest.raises(LimitError, match=rf"wide\.gif is {side[0]} × {side[1]} pixels.*{told}"):
        read_media(data, name="wide.gif", limits=Limits(pixels=2000, side=80))


def gif_of_sizes(*sizes) -> bytes:
    """A GIF whose screen has the first size, whatever the later frames have."""
    head, frames = b"", b""
    for size in sizes:
        buffer = io.BytesIO()
        PIL.Image.new("P", size).save(buffer, "GIF")
        data = buffer.getvalue()
        colours = 3 * (2 << (data[10] & 7)) if data[10] & 0x80 else 0
        head = head or data[: 13 + colours]
        frames += data[13 + colours : -1]
    return head + frames + b";"


def test_too_many_bytes_and_too_high_a_rate(tmp_path):
    with pytest.raises(LimitError, match=r"big\.png is 21\.0 MB; a file may have at most 20 MB"):
        read_media(b"x" * 21_000_000, name="big.png")
    soundfile.write(tmp_path / "fast.wav", tone(), 500_000)
    with pytest.raises(LimitError, match="500000 samples a second; at most 192000"):
        read_media(tmp_path / "fast.wav")


@pytest.mark.parametrize(
    "medium", [Image(ramp()), Audio(np.zeros(2000, np.float32), 8000), Video(moving_square(8), 4.0)]
)
def test_what_fills_more_memory_than_it_may(medium):
    _, data = encode_lossless(medium)
    array = array_of(medium)
    limits = Limits(unpacked_bytes=array.nbytes, clip_bytes=1)  # nothing of one's own is shrunk
    assert np.array_equal(array_of(read_exact(data, limits=limits)), array)
    with pytest.raises(LimitError, match=r"^The file takes 0\.\d MB of memory or more; at most 0\.\d MB are taken"):
        read_exact(data, limits=replace(limits, unpacked_bytes=array.nbytes - 1))


def test_decoding_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("nextgpt_chat.media.reading._START_SECONDS", 0.0)
    path = tmp_path / "picture.png"
    PIL.Image.fromarray(ramp()).save(path)
    with pytest.raises(LimitError, match=r"picture\.png took longer than 0\.01 seconds"):
        read_media(path, limits=Limits(decode_seconds=0.01))


def test_a_slow_ffmpeg_is_ended_by_the_worker(tmp_path):
    path = encode_clip(tmp_path / "clip.mp4", moving_square(), 4, "-c:v", "libx264")
    with pytest.raises(LimitError, match=r"clip\.mp4 took longer than 0\.01 seconds.*Send a smaller"):
        read_media(path, limits=Limits(decode_seconds=0.01))


@pytest.mark.parametrize("kind", ["png", "wav", "mp4", "gif"])
def test_damaged_bytes_never_give_anything_but_media_or_our_errors(tmp_path, kind):
    random = np.random.default_rng(1)
    path = tmp_path / f"x.{kind}"
    if kind == "wav":
        soundfile.write(path, tone(), 16_000)
    elif kind == "mp4":
        encode_clip(path, moving_square(), 4, "-c:v", "libx264")
    else:
        frames = [PIL.Image.fromarray(frame) for frame in moving_square(3)]
        frames[0].save(path, save_all=kind == "gif", append_images=frames[1:] if kind == "gif" else [])
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(3):
        data = whole.copy()
        data[random.integers(12, len(data), 20)] = random.integers(0, 256, 20)
        try:
            assert read_media(data.tobytes(), name="damaged").kind in ("image", "audio", "video")
        except (MediaError, LimitError) as error:
            assert "damaged" in str(error)
