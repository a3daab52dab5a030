"""Words for values: one canonical caption, varied ones for training, and the way back from a text (`parse`).

The phrases here are the common ones that captions and dialogues use; `reading.py` understands many more.
"""

from __future__ import annotations

import hashlib
import random

from nextgpt_chat.picturebook.reading import parse
from nextgpt_chat.picturebook.values import COLOURS, SIZES, THINGS, Clip, Scene, Sound, Value, words

__all__ = ["MOST_CAPTIONS", "caption", "captions", "parse"]

MOST_CAPTIONS = 64


def _named_by(canonical: tuple[str, ...], **others: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {word: (word, *others.get(word, ())) for word in canonical}


# The first phrase of every row is the canonical one.

THING_WORDS = _named_by(THINGS, car=("auto",), boat=("ship",), dog=("puppy",), phone=("telephone",), house=("cottage",))
COLOUR_WORDS = _named_by(COLOURS, red=("crimson",), yellow=("golden",), purple=("violet",))
SIZE_WORDS = _named_by(SIZES, small=("little", "tiny"), medium=("medium sized",), big=("large", "huge"))
POSITION_PHRASES = {
    "left": ("on the left", "on the left side", "at the left"),
    "middle": ("in the middle", "in the center"),
    "right": ("on the right", "on the right side", "at the right"),
}
PLACE_PHRASES = {
    "sky": ("in the sky", "up in the sky"),
    "night": ("at night", "in the night"),
    "grass": ("on the grass", "on the meadow"),
    "sea": ("in the sea", "in the ocean"),
    "sand": ("on the sand", "on the beach"),
    "plain": ("on a plain background", "on an empty background"),
}
MOTION_PHRASES = {
    "still": (("stays still", "staying still"), ("does not move", "not moving")),
    "moves right": (("moves right", "moving right"), ("goes to the right", "going to the right")),
    "moves left": (("moves left", "moving left"), ("goes to the left", "going to the left")),
    "rises": (("rises", "rising"), ("goes up", "going up")),
    "falls": (("falls", "falling"), ("goes down", "going down")),
    "grows": (("grows", "growing"), ("gets bigger", "getting bigger")),
    "shrinks": (("shrinks", "shrinking"), ("gets smaller", "getting smaller")),
    "spins": (("spins", "spinning"), ("turns around", "turning around")),
    "blinks": (("blinks", "blinking"), ("flashes", "flashing")),
}
"""Pairs of (it …, a thing …): the finite verb and the participle."""
SOUND_VERBS = {
    "bird": ("chirps", "chirping"),
    "bell": ("rings", "ringing"),
    "car": ("hums", "humming"),
    "boat": ("hoots", "hooting"),
    "clock": ("ticks", "ticking"),
    "drum": ("beats", "beating"),
    "train": ("whistles", "whistling"),
    "dog": ("barks", "barking"),
    "frog": ("croaks", "croaking"),
    "phone": ("rings", "ringing"),
    "rain": ("patters", "pattering"),
    "wind": ("blows", "blowing"),
    "waves": ("crash", "crashing"),
}
"""Pairs of (it …, the sound of it …)."""
PITCH_PHRASES = {
    "low": ("at low pitch", "at a low pitch", "with a deep tone"),
    "normal": ("at normal pitch", "at a normal pitch", "at a medium pitch"),
    "high": ("at high pitch", "at a high pitch", "with a high tone"),
}
PITCH_ADJECTIVES = {"low": ("low", "deep"), "normal": ("normal pitched",), "high": ("high", "high pitched")}
SPEED_PHRASES = {
    "slow": ("at slow speed", "at a slow speed", "slowly"),
    "normal": ("at normal speed", "at a normal speed", "at a medium speed"),
    "fast": ("at fast speed", "at a fast speed", "quickly"),
}
SPEED_ADJECTIVES = {"slow": ("slow",), "normal": ("normal speed",), "fast": ("fast", "quick")}


def with_article(noun_phrase: str) -> str:
    """The noun phrase after "a" or "an"; weather and water take none ("rain", "fast waves")."""
    if noun_phrase.split()[-1] in ("rain", "wind", "waves"):
        return noun_phrase
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def captions(value: Value) -> list[str]:
    """At most 64 distinct captions, each naming every attribute; the first is the canonical one.

    `parse` of each gives back exactly the attributes of the value (for a Sound of a thing, the thing too).
    """
    rng = random.Random(int.from_bytes(hashlib.sha256(f"captions {words(value)}".encode()).digest()[:8], "big"))
    found = {_canonical(value): None}
    for _ in range(2 * MOST_CAPTIONS):
        found[caption(value, rng)] = None
        if len(found) == MOST_CAPTIONS:
            break
    return list(found)


def caption(value: Value, rng: random.Random) -> str:
    """A caption for training, naming every attribute: words and their order drawn by ``rng``, no capitals or marks."""
    if isinstance(value, Scene):
        return _describe_scene(value, rng)
    if isinstance(value, Clip):
        return _describe_clip(value, rng)
    if isinstance(value, Sound):
        return _describe_sound(value, rng)
    raise ValueError(f"not a picture-book value: {value!r}")


def _canonical(value: Value) -> str:
    if isinstance(value, Clip):
        return f"{_canonical(value.scene)} {MOTION_PHRASES[value.motion][0][0]}"
    if isinstance(value, Scene):
        position, place = POSITION_PHRASES[value.position][0], PLACE_PHRASES[value.place][0]
        return f"a {value.size} {value.colour} {value.thing} {position} {place}"
    if isinstance(value, Sound):
        verb = SOUND_VERBS[value.source][0]
        return f"{with_article(value.source)} {verb} at {value.pitch} pitch and {value.speed} speed"
    raise ValueError(f"not a picture-book value: {value!r}")


def _one_of(phrases: tuple, rng: random.Random):
    """The canonical phrase half of the time, so that it is learned best."""
    return phrases[0] if rng.random() < 0.5 else rng.choice(phrases)


def _look(scene: Scene, rng: random.Random) -> tuple[str, str, str, str, str]:
    return (
        _one_of(THING_WORDS[scene.thing], rng),
        _one_of(COLOUR_WORDS[scene.colour], rng),
        _one_of(SIZE_WORDS[scene.size], rng),
        _one_of(POSITION_PHRASES[scene.position], rng),
        _one_of(PLACE_PHRASES[scene.place], rng),
    )


def _describe_scene(scene: Scene, rng: random.Random) -> str:
    thing, colour, size, position, place = _look(scene, rng)
    noun = f"{size} {colour} {thing}"
    one = with_article(noun)
    return rng.choice(
        (
            f"{one} {position} {place}",
            f"{one} {position} {place}",
            f"{one} {place} {position}",
            f"{place} {one} {position}",
            f"{position} {one} {place}",
            f"there is {one} {position} {place}",
            f"{place} there is {one} {position}",
            f"a picture of {one} {position} {place}",
            f"{noun} {position} {place}",
            f"the {thing} {position} {place} is {size} and {colour}",
            f"{with_article(f'{colour} {thing}')} {position} {place} that is {size}",
        )
    )


def _describe_clip(clip: Clip, rng: random.Random) -> str:
    thing, colour, size, position, place = _look(clip.scene, rng)
    does, doing = _one_of(MOTION_PHRASES[clip.motion], rng)
    noun = f"{size} {colour} {thing}"
    one = with_article(noun)
    return rng.choice(
        (
            f"{one} {position} {place} {does}",
            f"{one} {position} {place} {does}",
            f"{one} {place} {position} {does}",
            f"{one} {position} {does} {place}",
            f"{place} {one} {position} {does}",
            f"{position} {one} {does} {place}",
            f"there is {one} {position} {place} that {does}",
            f"a clip of {one} {position} {place} {doing}",
            f"{noun} {position} {place} {doing}",
            f"the {thing} {position} {place} is {size} and {colour} and {does}",
        )
    )


def _describe_sound(sound: Sound, rng: random.Random) -> str:
    source = _one_of(THING_WORDS.get(sound.source, (sound.source,)), rng)
    does, doing = SOUND_VERBS[sound.source]
    pitch, speed = _one_of(PITCH_PHRASES[sound.pitch], rng), _one_of(SPEED_PHRASES[sound.speed], rng)
    high = rng.choice(PITCH_ADJECTIVES[sound.pitch])
    fast = rng.choice(SPEED_ADJECTIVES[sound.speed])
    one = with_article(source)
    return rng.choice(
        (
            f"{one} {does} at {sound.pitch} pitch and {sound.speed} speed",
            f"{one} {does} {pitch} {speed}",
            f"{one} {does} {speed} {pitch}",
            f"{one} {doing} {pitch} {speed}",
            f"{one} {doing} {speed} and {pitch}",
            f"{with_article(f'{high} {source}')} {doing} {speed}",
            f"{with_article(f'{fast} {source}')} {doing} {pitch}",
            f"{with_article(f'{high} {fast} {source}')} {doing}",
            f"the sound of {one} {doing} {pitch} and {speed}",
            f"the {high} {fast} sound of {one}",
            f"{high} {fast} {doing} of {one}",
        )
    )
