"""What an evaluation says to the pipeline: sentences of its own, not those of the training dialogues."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..picturebook.values import Clip, Scene, Sound, Value
from ..picturebook.words import (
    MOTION_PHRASES,
    PITCH_PHRASES,
    PLACE_PHRASES,
    POSITION_PHRASES,
    SIZE_WORDS,
    SPEED_PHRASES,
    with_article,
)

_MAKE = {
    "image": (
        "Please draw {0}.",
        "could you paint {0} for me?",
        "I'd love a picture of {0}",
        "draw me {0}, would you?",
        "Make an image that shows {0}.",
        "A drawing of {0}, please!",
    ),
    "audio": (
        "Let me hear {0}.",
        "please play the sound of {0}",
        "I want to listen to {0}",
        "Make the noise of {0}, please.",
        "can you make me a sound: {0}?",
    ),
    "video": (
        "Please make a clip of {0}.",
        "could you animate {0} for me?",
        "I'd like a short video of {0}",
        "Make a short film of {0}, please!",
        "show me a clip: {0}",
    ),
}
_DESCRIBE = {
    "image": (
        "Tell me everything about this picture.",
        "what can you see in this picture?",
        "Please describe the picture for me.",
        "What is shown here?",
    ),
    "audio": (
        "Tell me everything about this sound.",
        "what can you hear in this sound?",
        "Please describe this sound for me.",
        "What do I hear here?",
    ),
    "video": (
        "Tell me everything about this clip.",
        "what happens in this clip?",
        "Please describe this video for me.",
        "What is going on in this clip?",
    ),
}
QUESTIONS = {
    "thing": "What thing is it?",
    "source": "What makes this sound?",
    "colour": "What colour is it?",
    "size": "How big is it?",
    "position": "On which side is it?",
    "place": "Where is it, what is the place?",
    "motion": "How does it move?",
    "pitch": "How high is the pitch?",
    "speed": "How fast is it?",
}
"""Asked after a description that leaves an attribute out."""
_CHANGE = {
    "colour": ("Make it {0}.", "now in {0}, please", "can you change the colour to {0}?"),
    "size": ("Make it {0}.", "I want it {0}, please", "change the size to {0}"),
    "position": ("Put it {0}.", "move it so that it is {0}", "Now {0}, please."),
    "place": ("Put it {0}.", "now {0}, please", "Show it {0} instead."),
    "thing": ("Make it {0} instead.", "now {0}, please", "Change it to {0}."),
    "pitch": ("Now {0}, please.", "play it {0}", "I want it {0}."),
    "speed": ("Now {0}, please.", "play it {0}", "I want it {0}."),
    "motion": ("Now one where it {0}.", "change the clip so that it {0}", "I want a clip in which it {0}."),
}
_CROSS = {
    ("image", "audio"): (
        "What does this sound like?",
        "let me hear the sound that this makes",
        "Play me its noise, please.",
    ),
    ("audio", "image"): (
        "Draw what makes this sound.",
        "show me a picture of what I hear here",
        "Please paint the thing that sounds like this.",
    ),
}
_SEVERAL = {
    ("image", "audio"): ("Draw {0} and let me hear it too.", "I want a picture of {0}, and its sound"),
    ("audio", "video"): ("Make a clip of {0} and play its sound.", "a video of {0} and its noise, please"),
    ("image", "video"): ("Draw {0} and then make a clip of it.", "a picture of {0}, and a clip of it too"),
    ("image", "audio", "video"): ("Draw {0}, let me hear it, and make a clip of it.",),
    (): ("hello, who are you?", "What can you do?", "Thank you very much!"),
}
SEVERAL = tuple(_SEVERAL)
"""Sets of media that `several` asks for at once; the empty one is small talk."""


def phrase(value: Value, rng: random.Random) -> str:
    """A noun phrase that names every attribute of the value; for "make a picture of …"."""
    if isinstance(value, Clip):
        return f"{phrase(value.scene, rng)} {MOTION_PHRASES[value.motion][0][1]}"
    if isinstance(value, Sound):
        pitch, speed = rng.choice(PITCH_PHRASES[value.pitch]), rng.choice(SPEED_PHRASES[value.speed])
        return f"{with_article(value.source)} {' '.join(rng.sample((pitch, speed), 2))}"
    if isinstance(value, Scene):
        size = rng.choice(SIZE_WORDS[value.size])
        where = [rng.choice(POSITION_PHRASES[value.position]), rng.choice(PLACE_PHRASES[value.place])]
        rng.shuffle(where)
        return f"{with_article(f'{size} {value.colour} {value.thing}')} {' '.join(where)}"
    raise ValueError(f"not a picture-book value: {value!r}")


def make(kind: str, value: Value, rng: random.Random) -> str:
    """Asks for a medium of ``kind`` that shows ``value``."""
    return rng.choice(_MAKE[kind]).format(phrase(value, rng))


def describe(kind: str, rng: random.Random) -> str:
    """Asks for the description of an uploaded medium."""
    return rng.choice(_DESCRIBE[kind])


def change(attribute: str, word: str, rng: random.Random) -> str:
    """Asks to change one attribute of what was made or uploaded last."""
    said = {
        "position": lambda: POSITION_PHRASES[word][0],
        "place": lambda: PLACE_PHRASES[word][0],
        "thing": lambda: with_article(word),
        "pitch": lambda: PITCH_PHRASES[word][0],
        "speed": lambda: SPEED_PHRASES[word][0],
        "motion": lambda: MOTION_PHRASES[word][0][0],
    }.get(attribute, lambda: word)()
    return rng.choice(_CHANGE[attribute]).format(said)


def cross(given: str, asked: str, rng: random.Random) -> str:
    """Asks, of an uploaded medium of one kind, for one of another kind."""
    return rng.choice(_CROSS[given, asked])


def several(kinds: Sequence[str], scene: Scene, rng: random.Random) -> str:
    """Asks for several media of one thing at once (`SEVERAL`), or, of none, chats."""
    return rng.choice(_SEVERAL[tuple(kinds)]).format(with_article(f"{scene.colour} {scene.thing}"))
