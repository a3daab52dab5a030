"""Values: checked when made, equal by content."""

import numpy as np
import PIL.Image
import pytest

from nextgpt_chat.content import Audio, Image, MediaPart, Reply, TextPart, Turn, Video, text_of

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
SAMPLES = np.linspace(-1, 1, 100, dtype=np.float32)


def test_media_are_equal_by_content_and_tell_rates_shapes_and_kinds_apart():
    assert Image(PIXELS) == Image(PIXELS.copy())
    assert hash(Image(PIXELS)) == hash(Image(PIXELS.copy()))
    assert Image(PIXELS) != Image(PIXELS.reshape(5, 4, 3))
    assert Image(PIXELS) != Image(PIXELS + np.uint8(1))
    assert Audio(SAMPLES, 100) != Audio(SAMPLES, 200)
    assert Video(PIXELS[None], 4) == Video(PIXELS[None], 4.0)
    assert Video(PIXELS[None], 4.0) != Video(PIXELS[None], 8.0)
    assert Image(PIXELS) != Video(PIXELS[None], 1.0)
    assert Image(np.asfortranarray(PIXELS)) == Image(PIXELS)
    assert len({Image(PIXELS), Image(PIXELS.copy()), Audio(SAMPLES, 100)}) == 2


def test_lengths_in_seconds():
    assert Audio(SAMPLES, 50).seconds == 2
    assert Video(np.stack([PIXELS] * 6), 4).seconds == 1.5


def test_pictures_go_to_pil_and_back():
    assert Image.from_pil(Image(PIXELS).to_pil()) == Image(PIXELS)
    assert Image.from_pil(PIL.Image.new("L", (3, 2), 7)).pixels.shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("make", "quoted"),
    [
        (lambda: Image(PIXELS[..., :2]), r"\(4, 5, 2\)"),
        (lambda: Image(PIXELS.astype(np.float32)), "float32"),
        (lambda: Audio(SAMPLES[None], 100), r"\(1, 100\)"),
        (lambda: Audio(SAMPLES.astype(np.float64), 100), "float64"),
        (lambda: Audio(SAMPLES, 0), "0"),
        (lambda: Video(PIXELS, 4), r"\(4, 5, 3\)"),
        (lambda: Video(PIXELS[None][:0], 4), "0"),
        (lambda: Video(PIXELS[None], 0), "0"),
        (lambda: Turn("system", ()), "system"),
    ],
)
def test_wrong_values_are_quoted(make, quoted):
    with pytest.raises(ValueError, match=quoted):
        make()


def test_turns_and_replies_give_their_words_and_media():
    image = MediaPart(Image(PIXELS), "a ramp", generated=True)
    sound = MediaPart(Audio(SAMPLES, 100))
    parts = (TextPart(" Here: "), image, TextPart("and"), sound, TextPart("  "))
    turn, reply = Turn("assistant", parts), Reply(parts, seed=1)
    assert turn.text == reply.text == text_of(parts) == "Here: and"
    assert turn.media == (image, sound)
    assert [np.asarray(picture).tolist() for picture in reply.images] == [PIXELS.tolist()]
    assert reply.audios == [sound.media]
    assert reply.videos == []


def test_parts_are_equal_without_their_ids():
    assert MediaPart(Image(PIXELS)) == MediaPart(Image(PIXELS))
    assert MediaPart(Image(PIXELS)).id != MediaPart(Image(PIXELS)).id
    assert MediaPart(Image(PIXELS), "a") != MediaPart(Image(PIXELS), "b")
