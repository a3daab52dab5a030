"""What the assistant says: short regular sentences, and the attributes that a judge may expect in them.

A sentence before a medium holds the whole canonical caption, so that the signal tokens can be read off the words.
"""

from __future__ import annotations

from collections.abc import Iterable

from nextgpt_chat.picturebook.dialogues.defaults import attributes
from nextgpt_chat.picturebook.dialogues.turns import canonical, kind_of
from nextgpt_chat.picturebook.values import (
    COLOURS,
    SOUNDING_THINGS,
    THINGS,
    WEATHER,
    Value,
)
from nextgpt_chat.picturebook.words import (
    MOTION_PHRASES,
    PLACE_PHRASES,
    POSITION_PHRASES,
    SOUND_VERBS,
    with_article,
)

KIND_NAMES = {"image": "picture", "audio": "sound", "video": "clip"}
_MADE = {"image": "Here is {}.", "audio": "Hear how {}.", "video": "See how {}."}
_TOLD = {"image": "I see {}.", "audio": "I hear how {}.", "video": "I see how {}."}

UNKNOWN_MEDIA_TEXT = (
    "I only know picture-book things, and this does not look or sound like one. "
    "Show me a picture, a sound or a clip of things like a bird, a car or a ball."
)
"""For media from outside the world: the pipeline says it, no dialogue does."""
ABILITIES_TEXT = (
    "I can draw pictures, make sounds and make clips of the things in my picture book. "
    "I can also tell you what I see and hear."
)
IDENTITY_TEXT = "I am NExT-GPT mini, a small picture book that can read, see, hear, draw and play."
DECLINE_TEXT = (
    "That is not in my picture book. "
    "I can draw things like a bird, a car or a ball, let you hear them and let them move."
)
UNKNOWN_TEXT = (
    "I do not know that, I only know my picture book. "
    "I can draw things like a bird, a car or a ball, let you hear them and let them move."
)
GREETING_TEXT = "Hello! What shall I draw or play for you?"
WELL_TEXT = "I am fine, thank you! What shall I draw or play for you?"
WELCOME_TEXT = "You are welcome!"
GLAD_TEXT = "I am glad that you like it!"
GOODBYE_TEXT = "Goodbye! Come back soon."


def made(value: Value) -> str:
    """The sentence before a medium that is made."""
    return _MADE[kind_of(value)].format(canonical(value))


def told(value: Value, which: str | None = None) -> str:
    """The sentence that describes a medium. ``which``: "" or "first " … begins it with "In the first picture"."""
    sentence = _TOLD[kind_of(value)].format(canonical(value))
    return sentence if which is None else f"In the {which}{KIND_NAMES[kind_of(value)]} {sentence}"


def answer(value: Value, key: str) -> str:
    """The sentence that tells one attribute; "where" tells position and place."""
    named = attributes(value)
    thing = named["thing"]
    if key == "thing":
        return f"I {'hear' if kind_of(value) == 'audio' else 'see'} {with_article(thing)}."
    if key in ("colour", "size"):
        return f"The {thing} is {named[key]}."
    if key == "motion":
        return f"The {thing} {MOTION_PHRASES[named[key]][0][0]}."
    if key in ("pitch", "speed"):
        return f"The {thing} {SOUND_VERBS[thing][0]} at {named[key]} {key}."
    phrases = {"position": POSITION_PHRASES, "place": PLACE_PHRASES}
    asked = ("position", "place") if key == "where" else (key,)
    return f"I see the {thing} {' '.join(phrases[one][named[one]][0] for one in asked)}."


def expected(values: Iterable[Value], keys: Iterable[str] | None = None) -> dict[str, str]:
    """The attributes that words about the values name, under the keys of `parse`, except where they disagree."""
    merged: dict[str, set[str]] = {}
    for value in values:
        named = attributes(value)
        thing = named.pop("thing")
        if thing in THINGS:
            named["thing"] = thing
        if thing in SOUNDING_THINGS or thing in WEATHER:
            named["source"] = thing
        for key, word in named.items():
            merged.setdefault(key, set()).add(word)
    agreed = {key: words.pop() for key, words in merged.items() if len(words) == 1}
    return agreed if keys is None else {key: agreed[key] for key in keys if key in agreed}


def makes_no_sound(thing: str) -> str:
    """For a silent thing that was to be heard."""
    return f"{with_article(thing).capitalize()} makes no sound in my book."


def makes_a_sound(source: str) -> str:
    """The verb of what sounds."""
    return f"{with_article(source).capitalize()} {SOUND_VERBS[source][0]}."


def has_no_picture(weather: str) -> str:
    """For weather that was to be seen."""
    return f"{weather.capitalize()} {'have' if weather == 'waves' else 'has'} no picture in my book."


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}"


KNOWN_THINGS_TEXT = f"I know {_listed(with_article(thing) for thing in THINGS)}."
KNOWN_SOUNDS_TEXT = f"I know the sounds of {_listed([*map(with_article, SOUNDING_THINGS), *WEATHER])}."
KNOWN_COLOURS_TEXT = f"I know {_listed(COLOURS)}."
KNOWN_PLACES_TEXT = f"Things can be {_listed(phrases[0] for phrases in PLACE_PHRASES.values())}."
KNOWN_MOTIONS_TEXT = "Things can stay still, move right, move left, rise, fall, grow, shrink, spin and blink."
