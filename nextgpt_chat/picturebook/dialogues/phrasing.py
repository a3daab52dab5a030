"""How people put things: synonyms, noun phrases of what they name, and the ways in which they type."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from nextgpt_chat.picturebook.words import SOUND_VERBS, with_article

# The first word of every row is the canonical one and is said most.

THINGS_SAID = {
    "bird": ("bird", "birdie", "songbird", "sparrow"),
    "bell": ("bell", "handbell", "doorbell"),
    "car": ("car", "auto", "automobile", "taxi"),
    "boat": ("boat", "ship", "sailboat", "vessel"),
    "clock": ("clock", "alarm clock", "timepiece"),
    "drum": ("drum", "snare drum", "bongo"),
    "train": ("train", "locomotive", "steam train"),
    "dog": ("dog", "puppy", "doggy", "hound"),
    "frog": ("frog", "toad", "froggy"),
    "phone": ("phone", "telephone", "mobile phone"),
    "ball": ("ball", "football", "beach ball"),
    "star": ("star",),
    "heart": ("heart",),
    "house": ("house", "cottage", "hut", "home"),
    "tree": ("tree", "oak", "pine tree"),
    "flower": ("flower", "blossom", "tulip", "daisy"),
    "fish": ("fish", "goldfish"),
    "rain": ("rain", "drizzle"),
    "wind": ("wind", "breeze"),
    "waves": ("waves", "surf"),
}
COLOURS_SAID = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden", "gold"),
    "green": ("green", "emerald", "lime"),
    "blue": ("blue", "azure", "navy"),
    "purple": ("purple", "violet", "lilac"),
    "pink": ("pink", "rosy"),
    "brown": ("brown", "chocolate", "chestnut"),
    "white": ("white", "snowy", "snow white"),
    "black": ("black", "ebony", "jet black"),
}
SIZES_SAID = {
    "small": ("small", "little", "tiny", "mini"),
    "medium": ("medium", "medium sized", "middle sized"),
    "big": ("big", "large", "huge", "giant", "enormous"),
}
POSITIONS_SAID = {
    "left": ("on the left", "on the left side", "at the left", "to the left"),
    "middle": ("in the middle", "in the center", "in the centre"),
    "right": ("on the right", "on the right side", "at the right", "to the right"),
}
PLACES_SAID = {
    "sky": ("in the sky", "up in the sky", "in the air", "in the clouds"),
    "night": ("at night", "in the night", "in the dark", "under the stars"),
    "grass": ("on the grass", "on the meadow", "on the lawn", "in a field"),
    "sea": ("in the sea", "in the ocean", "on the water", "on the sea"),
    "sand": ("on the sand", "on the beach", "in the desert", "on a beach"),
    "plain": ("on a plain background", "on an empty background", "on a blank page", "with no background"),
}
PLACE_NOUNS = {
    "sky": ("the sky", "sky"),
    "night": ("night", "the night"),
    "grass": ("grass", "a meadow"),
    "sea": ("the sea", "the ocean"),
    "sand": ("sand", "a beach"),
    "plain": ("plain", "a blank page"),
}
MOTIONS_SAID = {
    "still": (("stay still", "stays still", "staying still"), ("stand still", "stands still", "standing still")),
    "moves right": (
        ("move right", "moves right", "moving right"),
        ("go to the right", "goes to the right", "going to the right"),
        ("slide to the right", "slides to the right", "sliding to the right"),
        ("move to the right", "moves to the right", "moving to the right"),
    ),
    "moves left": (
        ("move left", "moves left", "moving left"),
        ("go to the left", "goes to the left", "going to the left"),
        ("slide to the left", "slides to the left", "sliding to the left"),
        ("move to the left", "moves to the left", "moving to the left"),
    ),
    "rises": (("rise", "rises", "rising"), ("go up", "goes up", "going up"), ("fly up", "flies up", "flying up")),
    "falls": (("fall", "falls", "falling"), ("go down", "goes down", "going down"), ("drop", "drops", "dropping")),
    "grows": (
        ("grow", "grows", "growing"),
        ("get bigger", "gets bigger", "getting bigger"),
        ("get larger", "gets larger", "getting larger"),
    ),
    "shrinks": (("shrink", "shrinks", "shrinking"), ("get smaller", "gets smaller", "getting smaller")),
    "spins": (
        ("spin", "spins", "spinning"),
        ("turn around", "turns around", "turning around"),
        ("rotate", "rotates", "rotating"),
    ),
    "blinks": (
        ("blink", "blinks", "blinking"),
        ("flash", "flashes", "flashing"),
        ("twinkle", "twinkles", "twinkling"),
    ),
}
"""Triples: let it …, it …, a thing …"""
PITCHES_SAID = {
    "low": ("at low pitch", "at a low pitch", "with a deep tone", "in a low tone"),
    "normal": ("at normal pitch", "at a normal pitch", "at a medium pitch"),
    "high": ("at high pitch", "at a high pitch", "with a high tone", "in a high tone"),
}
PITCH_WORDS = {"low": ("low", "deep"), "normal": ("normal pitched",), "high": ("high", "high pitched", "shrill")}
SPEEDS_SAID = {
    "slow": ("slowly", "at slow speed", "at a slow pace"),
    "normal": ("at normal speed", "at a normal pace", "at a medium speed"),
    "fast": ("fast", "quickly", "at fast speed", "rapidly"),
}
SPEED_WORDS = {"slow": ("slow",), "normal": ("normal speed",), "fast": ("fast", "quick", "rapid")}

SAID = {
    "thing": THINGS_SAID,
    "colour": COLOURS_SAID,
    "size": SIZES_SAID,
    "position": POSITIONS_SAID,
    "place": PLACES_SAID,
    "pitch": PITCHES_SAID,
    "speed": SPEEDS_SAID,
}


def one_of(rng: random.Random, phrases: Sequence) -> str | tuple:
    """The first in half of the cases, else any."""
    return phrases[0] if rng.random() < 0.5 else rng.choice(phrases)


def say(rng: random.Random, key: str, word: str) -> str:
    """A way to say a value of an attribute (a phrase, for position, place, pitch and speed)."""
    return one_of(rng, SAID[key][word])


def motion(rng: random.Random, word: str) -> tuple[str, str, str]:
    """A motion after "let it", after "it", and after a noun."""
    return one_of(rng, MOTIONS_SAID[word])


def a(noun: str) -> str:
    """With its article, if it takes one."""
    return noun if noun.split()[-1] in ("drizzle", "surf") else with_article(noun)


def scene_phrase(rng: random.Random, named: Mapping[str, str]) -> str:
    """A noun phrase with the named ones among the attributes of a scene."""
    said = {key: say(rng, key, named[key]) for key in ("size", "colour", "thing", "position", "place") if key in named}
    if said.get("size") == "medium" and len(said) == 2:
        said["size"] = "medium sized"
    where = [said[key] for key in ("position", "place") if key in said]
    if rng.random() < 0.25:
        where.reverse()
    look = [said[key] for key in ("size", "colour") if key in said]
    noun = " ".join([*look, said["thing"]])
    form = rng.random()
    if form < 0.08 and len(said) > 2:
        return ", ".join([said["thing"], *look, *where])
    if form < 0.16 and look:
        return " ".join([a(said["thing"]), *where, "that is", " and ".join(look)])
    if form < 0.24 and where:
        return f"{a(noun)}. it should be {' '.join(where)}"
    if form < 0.30 and look and where:
        return f"{a(said['thing'])} {' '.join(where)}, it must be {' and '.join(look)}"
    if form < 0.34 and len(where) == 2:
        return f"{where[0]} {a(noun)} {where[1]}"
    return " ".join([a(noun), *where])


def plain_scene_phrase(rng: random.Random, named: Mapping[str, str]) -> str:
    """The same as one noun phrase in the usual order, for places where more follows."""
    parts = [say(rng, key, named[key]) for key in ("size", "colour", "thing") if key in named]
    where = [say(rng, key, named[key]) for key in ("position", "place") if key in named]
    return " ".join([a(" ".join(parts)), *where])


def clip_phrase(rng: random.Random, named: Mapping[str, str]) -> str:
    """A noun phrase of a thing and its motion, if that is named."""
    if "motion" not in named:
        return plain_scene_phrase(rng, named)
    _, does, doing = motion(rng, named["motion"])
    form = rng.random()
    if form < 0.2 and "place" in named:
        first = plain_scene_phrase(rng, {key: word for key, word in named.items() if key != "place"})
        return f"{first} {doing} {say(rng, 'place', named['place'])}"
    one = plain_scene_phrase(rng, named)
    if form < 0.5:
        return f"{one} {doing}"
    if form < 0.75:
        return f"{one} that {does}"
    if form < 0.85:
        return f"{one}. it {does}"
    return f"{one}, {doing}"


def sound_phrase(rng: random.Random, named: Mapping[str, str]) -> str:
    """A noun phrase of what sounds, and of how, if that is named."""
    thing = named["thing"]
    noun, doing = say(rng, "thing", thing), SOUND_VERBS[thing][1]
    how = [say(rng, key, named[key]) for key in ("pitch", "speed") if key in named]
    if rng.random() < 0.3:
        how.reverse()
    adjectives = [
        one_of(rng, words[named[key]])
        for key, words in (("pitch", PITCH_WORDS), ("speed", SPEED_WORDS))
        if key in named
    ]
    form = rng.random()
    if form < 0.3:
        return " ".join([a(noun), doing, *([" and ".join(how)] if rng.random() < 0.3 and how else how)])
    if form < 0.5:
        return " ".join([a(noun), *how])
    if form < 0.7:
        return a(" ".join([*adjectives, noun]))
    if form < 0.8:
        return " ".join([a(" ".join([*adjectives, noun])), doing])
    if form < 0.9 and adjectives:
        return f"{a(noun)}, {' and '.join(adjectives)}"
    return " ".join(["the", *adjectives, "sound of", a(noun)])


_BEFORE = ("please ", "please ", "please ", "hey, ", "ok, ", "now ", "now please ", "hi, ", "and ", "so, ")
_AFTER = (" please", " please", ", please", ", thanks", " thank you", " pls", " ok")


def typed(rng: random.Random, text: str, request: bool = False) -> str:
    """As somebody types it: with or without capitals, full stops and, for a request, politeness; rarely with a slip."""
    question = text.endswith("?")
    if request and rng.random() < 0.3:
        if not question and rng.random() < 0.6:
            text = rng.choice(_BEFORE) + text
        elif "please" not in text:
            text = text.removesuffix("?") + rng.choice(_AFTER) + ("?" if question else "")
    if rng.random() < 0.03:
        text = _slip(rng, text)
    ending = rng.random()
    if question:
        text = text[:-1] if ending < 0.25 else text
    elif text[-1] not in ".!":
        text += "." if ending < 0.45 else "!" if ending < 0.52 else ""
    case = rng.random()
    if case < 0.55:
        text = re.sub(r"(?:^|[.!?] )[a-z]", lambda match: match[0].upper(), text)
        return re.sub(r"\bi\b", "I", text)
    return text.upper() if case < 0.56 else text


def _slip(rng: random.Random, text: str) -> str:
    """Two neighbouring letters inside a long word swapped, or one lost."""
    places = [match.start() + rng.randrange(1, len(match[0]) - 2) for match in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text
    at = rng.choice(places)
    return text[:at] + (text[at + 1] + text[at] if rng.random() < 0.5 else text[at + 1]) + text[at + 2 :]
