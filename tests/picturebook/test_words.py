"""Captions name everything and `parse` reads them back; free wordings and traps."""

import random

import pytest

from nextgpt_chat.picturebook import (
    COLOURS,
    MOTIONS,
    PITCHES,
    PLACES,
    POSITIONS,
    SIZES,
    SOUNDS,
    SPEEDS,
    THINGS,
    Clip,
    Scene,
    Sound,
    caption,
    captions,
    parse,
)
from nextgpt_chat.picturebook import words as words_module
from nextgpt_chat.picturebook.synonyms import SINGLE_WORDS
from nextgpt_chat.picturebook.values import SOUNDING_THINGS


def draw_value(rng):
    scene = Scene(*(rng.choice(choices) for choices in (THINGS, COLOURS, SIZES, POSITIONS, PLACES)))
    return rng.choice(
        (scene, Clip(scene, rng.choice(MOTIONS)), Sound(rng.choice(SOUNDS), rng.choice(PITCHES), rng.choice(SPEEDS)))
    )


def attributes(value):
    if isinstance(value, Clip):
        return attributes(value.scene) | {"motion": value.motion}
    if isinstance(value, Sound):
        named = {"source": value.source, "pitch": value.pitch, "speed": value.speed}
        return named | ({"thing": value.source} if value.source in SOUNDING_THINGS else {})
    named = {key: getattr(value, key) for key in ("thing", "colour", "size", "position", "place")}
    return named | ({"source": value.thing} if value.thing in SOUNDING_THINGS else {})


def test_every_caption_names_every_attribute():
    rng = random.Random(1)
    for _ in range(200):
        value = draw_value(rng)
        for text in captions(value):
            assert parse(text) == attributes(value), text


def test_every_sound_has_captions_that_are_read_back():
    for source in SOUNDS:
        for pitch in PITCHES:
            for speed in SPEEDS:
                sound = Sound(source, pitch, speed)
                for text in captions(sound):
                    assert parse(text) == attributes(sound), text


def test_captions_are_distinct_few_and_plain():
    rng = random.Random(2)
    for _ in range(60):
        texts = captions(draw_value(rng))
        assert 20 <= len(texts) <= 64
        assert len(set(texts)) == len(texts)
        assert all(text == " ".join(text.lower().split()) and text.replace(" ", "").isalpha() for text in texts)


def test_canonical_caption_comes_first():
    scene = Scene("car", "red", "big", "left", "grass")
    assert captions(scene)[0] == "a big red car on the left on the grass"
    assert captions(Clip(scene, "moves right"))[0] == "a big red car on the left on the grass moves right"
    assert captions(Sound("bird", "high", "fast"))[0] == "a bird chirps at high pitch and fast speed"
    assert captions(Sound("rain", "normal", "slow"))[0] == "rain patters at normal pitch and slow speed"


def test_captions_depend_on_nothing_but_the_value_and_the_generator():
    value = Clip(Scene("star", "yellow", "small", "middle", "night"), "blinks")
    assert captions(value) == captions(value)
    assert caption(value, random.Random(3)) == caption(value, random.Random(3))
    assert len({caption(value, random.Random(seed)) for seed in range(40)}) > 15


def test_drawn_captions_are_read_back_and_use_few_words():
    rng = random.Random(4)
    seen = set()
    for _ in range(1500):
        value = draw_value(rng)
        text = caption(value, rng)
        seen.update(text.split())
        assert parse(text) == attributes(value), text
    assert len(seen) < 200


@pytest.mark.parametrize("bad", ["a red car", None, ("car", "red")])
def test_what_is_no_value_is_refused(bad):
    with pytest.raises(ValueError, match="picture-book value"):
        caption(bad, random.Random(0))


def test_tables_cover_the_world():
    for table, keys in (
        (words_module.THING_WORDS, THINGS),
        (words_module.COLOUR_WORDS, COLOURS),
        (words_module.SIZE_WORDS, SIZES),
        (words_module.POSITION_PHRASES, POSITIONS),
        (words_module.PLACE_PHRASES, PLACES),
        (words_module.MOTION_PHRASES, MOTIONS),
        (words_module.SOUND_VERBS, SOUNDS),
        (words_module.PITCH_PHRASES, PITCHES),
        (words_module.SPEED_PHRASES, SPEEDS),
    ):
        assert tuple(table) == keys


def test_no_single_word_has_two_meanings():
    seen = {}
    for key, rows in SINGLE_WORDS.items():
        for value, forms in rows.items():
            for word in forms.split():
                assert seen.setdefault(word, (key, value)) == (key, value), word


READINGS = {
    # synonyms
    "The tiny crimson auto drives to the right.": "thing=car source=car size=small colour=red motion=moves right",
    "An enormous violet ship, centre of the picture, on the ocean": (
        "thing=boat source=boat colour=purple size=big position=middle place=sea"
    ),
    "a little golden puppy at the right-hand side, on the beach": (
        "thing=dog source=dog colour=yellow size=small position=right place=sand"
    ),
    "a ship, with black sky behind it": "thing=boat source=boat place=night",
    "it moves in the left direction": "motion=moves left",
    "it turns on the spot": "motion=spins",
    "it speeds up": "speed=fast",
    "a reddish-brown dog": "thing=dog source=dog colour=brown",
    "Large sunflowers in a meadow": "thing=flower size=big place=grass",
    "a cottage on the lawn, in the center": "thing=house place=grass position=middle",
    "It's a telephone in the desert": "thing=phone source=phone place=sand",
    "a toad beneath the stars": "thing=frog source=frog place=night",
    "A goldfish underwater": "thing=fish place=sea",
    "A star shines in the night sky": "thing=star place=night",
    "Two big dogs": "thing=dog source=dog size=big",
    "a huge heart against a solid white background": "thing=heart size=big place=plain",
    "a football on the seaside": "thing=ball place=sand",
    # colours
    "orange": "colour=orange",
    "An orange one.": "colour=orange",
    "a red car under a blue sky": "thing=car source=car colour=red place=sky",
    "on the green grass there is a white ball": "thing=ball colour=white place=grass",
    "a sky-blue drum": "thing=drum source=drum colour=blue",
    "a navy blue, jet-black striped ball": "thing=ball colour=blue",
    "a grass-green frog": "thing=frog source=frog colour=green",
    # sizes
    "a medium-sized tree": "thing=tree size=medium",
    "a tree of average size": "thing=tree size=medium",
    "a normal-sized fish": "thing=fish size=medium",
    "it is neither big nor small": "size=medium",
    # left and right
    "on the right moves left": "position=right motion=moves left",
    "The boat on the left moves right on the sea": "thing=boat source=boat position=left motion=moves right place=sea",
    "moves right": "motion=moves right",
    "it slowly drifts towards the left side": "motion=moves left speed=slow",
    "a car going from left to right": "thing=car source=car motion=moves right",
    "It comes in from the left.": "motion=moves right",
    "it rolls across the grass to the right": "motion=moves right place=grass",
    "It heads leftwards": "motion=moves left",
    "the bird flies left": "thing=bird source=bird motion=moves left",
    "a ball to the right": "thing=ball position=right",
    "Left.": "position=left",
    "That's right, it is a dog.": "thing=dog source=dog",
    "Sure, right away: a bell": "thing=bell source=bell",
    "right in the middle": "position=middle",
    "in the middle of the night": "place=night",
    "It moves right now": "",
    # motion
    "it rotates": "motion=spins",
    "turns around": "motion=spins",
    "it turns blue": "colour=blue",
    "The star flashes": "thing=star motion=blinks",
    "it flashes on and off": "motion=blinks",
    "it gets bigger and bigger": "motion=grows",
    "the heart becomes smaller": "thing=heart motion=shrinks",
    "growing": "motion=grows",
    "The house isn't moving at all": "thing=house motion=still",
    "It doesn't move.": "motion=still",
    "it stands still": "motion=still",
    "motionless": "motion=still",
    "it is still moving right": "motion=moves right",
    "it is still red": "colour=red",
    "a still image of a tree": "thing=tree",
    "The ball rose": "thing=ball motion=rises",
    "a pink rose": "thing=flower colour=pink",
    "It floats upwards": "motion=rises",
    "the bird sinks down": "thing=bird source=bird motion=falls",
    "it does not spin": "",
    "it doesn't move right, it moves left": "motion=moves left",
    # sounds
    "a high-pitched bird singing quickly": "thing=bird source=bird pitch=high speed=fast",
    "a bell that rings": "thing=bell source=bell",
    "the phone rings": "thing=phone source=phone",
    "Something rings": "",
    "I hear barking": "source=dog",
    "woof woof!": "source=dog",
    "tick tock": "source=clock",
    "the clock's ticking": "thing=clock source=clock",
    "a howling wind, deep and slow": "source=wind pitch=low speed=slow",
    "rain falls fast": "source=rain speed=fast",
    "It's raining": "source=rain",
    "the waves rise and crash on the shore": "source=waves place=sand",
    "the sound of the ocean": "source=waves",
    "a boat on the waves": "thing=boat source=boat place=sea",
    "a boat blowing its horn": "thing=boat source=boat",
    "an alarm clock": "thing=clock source=clock",
    "at normal pitch and high speed": "pitch=normal speed=fast",
    "its pitch is normal and its speed is slow": "pitch=normal speed=slow",
    "Pitch: high, speed: normal": "pitch=high speed=normal",
    "a medium pitch, a medium tempo": "pitch=normal speed=normal",
    "normal pitch and speed": "pitch=normal speed=normal",
    "a shrill rapid train whistle": "thing=train source=train pitch=high speed=fast",
    "a bird high in the sky": "thing=bird source=bird place=sky",
    "a low rumbling at a low speed": "pitch=low speed=slow",
    "normal rate and pitched high": "speed=normal pitch=high",
    "normal in both pitch and speed": "pitch=normal speed=normal",
    "a slow speed, high": "speed=slow pitch=high",
    "fast speed, low in pitch": "speed=fast pitch=low",
    "ocean waves, slow": "source=waves speed=slow",
    "a car fast moving right": "thing=car source=car speed=fast motion=moves right",
    # the look of a place
    "the ball is red at night": "thing=ball colour=red place=night",
    "big, red, sea": "size=big colour=red place=sea",
    "the sand is yellow and the ball is green": "thing=ball place=sand colour=green",
    "the car on the grass is red": "thing=car source=car place=grass colour=red",
    "a red ball on a blue background": "thing=ball colour=red place=plain",
    # negation
    "blue instead of red": "colour=blue",
    "anything but red": "",
    "neither on the left nor on the right": "position=middle",
    "It is not red.": "",
    "It isn't red, it's blue": "colour=blue",
    "No, it is green": "colour=green",
    "not a car but a big boat": "thing=boat source=boat size=big",
    "There is no dog here": "",
    "the one that is not red moves right": "motion=moves right",
    "it's not on the left but on the right": "position=right",
    "a ball without motion": "thing=ball motion=still",
    # lookalikes
    "a starfish": "",
    "a rainbow": "",
    "windows": "",
    "I watch a scar in a cartoon": "",
    "Good night!": "",
    "Is it red, right?": "colour=red",
    "a plum tree": "thing=tree",
    "Hello, how are you?": "",
    "": "",
    # several things: the first
    "a red car and a blue bird": "thing=car source=car colour=red",
    "a ball in the rain": "thing=ball source=rain",
}


@pytest.mark.parametrize("text", READINGS)
def test_reading(text):
    expected = {}
    key = None
    for word in READINGS[text].split():
        if "=" in word:
            key, word = word.split("=")
            expected[key] = word
        else:
            expected[key] += " " + word
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["A Big RED Car!!", "a big, red car", "a  big\nred\tcar", "“a big red car”"])
def test_capitals_punctuation_and_space_do_not_matter(text):
    assert parse(text) == {"thing": "car", "source": "car", "colour": "red", "size": "big"}
