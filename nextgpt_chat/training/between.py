"""Renderings between the words: things in colours, and sounds at pitches, that no word of the world names.

Colours and pitches are few, and a tenth of the (thing, colour) and a fifth of the (source, pitch) pairs are held out.
An encoder that sees the others only learns them by heart, and that the rest never occurs: it then reads held-out pairs
as something else (measured: sources at held-out pitches 54 % right, things in held-out colours 74 %, all others 99 %).
Things in any colour and sources at any pitch leave it nothing to learn by heart. A decoder draws held-out pairs worse
for the same reason (measured: no white clock and no white car, 90 % of all others) and is shown these renderings with
captions that leave the colour or the pitch out. What comes near to a held-out pair is left out here too, and the colour
or the pitch of these renderings is never named.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from ..content import Audio, Image, Video
from ..picturebook import CLIP_FPS, SAMPLE_RATE, animate, captions, draw, play
from ..picturebook.dialogues import Dialogue, MediaSlot
from ..picturebook.drawing import RGB, SHADES
from ..picturebook.reading import parse
from ..picturebook.sounds import PITCH_FACTORS, PITCH_JITTER
from ..picturebook.values import (
    COLOURS,
    HELD_OUT_LOOKS,
    HELD_OUT_PITCHES,
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
)
from . import worlddata
from .stand_ins import BetweenSlot, SaidSlot

NEAR_COLOUR = 70.0
"""Distance in RGB below which a shade could be taken for the held-out colour's."""
NEAR_PITCH = 0.2
"""Octaves below which a pitch could be taken for the held-out one; words are 0.7 octaves apart."""
LOWEST, HIGHEST = 0.35, 2.8
"""Factors of the pitch, beyond the words on both sides, so that every word lies between others."""
HIGHEST_OF = {"bird": 2.05}
"""Any higher, and all of it would lie above what is played at all."""


def any_shade(thing: str, rng: np.random.Generator) -> RGB:
    """A random shade that is not near to a colour in which ``thing`` is held out."""
    forbidden = [shade for colour, shade in SHADES.items() if (thing, colour) in HELD_OUT_LOOKS]
    while True:
        shade = tuple(int(c) for c in rng.integers(0, 256, 3))
        if all(math.dist(shade, other) > NEAR_COLOUR for other in forbidden):
            return shade


def any_pitch(source: str, rng: np.random.Generator) -> float:
    """A random factor of the pitch that is not near to one at which ``source`` is held out."""
    forbidden = [factor for word, factor in PITCH_FACTORS.items() if (source, word) in HELD_OUT_PITCHES]
    while True:
        factor = float(2 ** rng.uniform(math.log2(LOWEST), math.log2(HIGHEST_OF.get(source, HIGHEST))))
        if all(abs(math.log2(factor / other)) > NEAR_PITCH for other in forbidden):
            return factor


def render_between(
    value: Scene | Clip | Sound, seed: int, rng: np.random.Generator
) -> tuple[Image | Video | Audio, float]:
    """The medium, and for a sound the octaves of its pitch above the normal one (else 0)."""
    if isinstance(value, Scene):
        return Image.from_pil(draw(value, seed, any_shade(value.thing, rng))), 0.0
    if isinstance(value, Clip):
        return Video(animate(value, seed, any_shade(value.scene.thing, rng)), CLIP_FPS), 0.0
    factor = any_pitch(value.source, rng)
    return Audio(play(value, seed, factor), SAMPLE_RATE), math.log2(factor)


def rendered_between(value: Scene | Clip | Sound, seed: int) -> Image | Video | Audio:
    """As ``render_between``, the same for the same seed."""
    return render_between(value, seed, np.random.default_rng(seed))[0]


def unnamed_caption(value: Scene | Clip | Sound) -> str:
    """The canonical caption without the word for the colour or the pitch.

    >>> unnamed_caption(Scene("clock", "red", "small", "left", "night"))
    'a small clock on the left at night'
    >>> unnamed_caption(Sound("phone", "low", "fast"))
    'a phone rings at fast speed'
    """
    said = captions(value)[0]
    if isinstance(value, Sound):
        return said.replace(f" at {value.pitch} pitch and ", " at ", 1)
    scene = value.scene if isinstance(value, Clip) else value
    return said.replace(f" {scene.colour} ", " ", 1)


def word_octaves(sound: Sound) -> float:
    """The octaves of a sound's word for its pitch above the normal one."""
    return math.log2(PITCH_FACTORS[sound.pitch])


@dataclass(frozen=True)
class TenthsSound:
    """A sound whose pitch is a number of tenths of an octave above the normal one."""

    source: str
    speed: str
    tenths: int


@cache
def tenths_sounds() -> tuple[TenthsSound, ...]:
    """All of them from LOWEST to HIGHEST that are not near to a held-out pitch.

    A word for a pitch means a place on this scale to every source. A decoder that has been told of each source two
    pitches only makes a held-out one of either (measured: of held-out sounds the pitch was right in 48 %, of others in
    98 %).
    """
    found = []
    for source in SOUNDS:
        reach = math.log2(LOWEST), math.log2(HIGHEST_OF.get(source, HIGHEST))
        forbidden = [math.log2(factor) for word, factor in PITCH_FACTORS.items() if (source, word) in HELD_OUT_PITCHES]
        for tenths in range(math.ceil(10 * reach[0]), math.floor(10 * reach[1]) + 1):
            if all(abs(tenths / 10 - other) > NEAR_PITCH for other in forbidden):
                found += [TenthsSound(source, speed, tenths) for speed in SPEEDS]
    return tuple(found)


def play_tenths(value: TenthsSound, seed: int) -> np.ndarray:
    """As ``play``, the pitch up to 4 % off."""
    off = np.random.default_rng(seed).uniform(1 - PITCH_JITTER, 1 + PITCH_JITTER)
    return play(Sound(value.source, "normal", value.speed), seed, off * 2 ** (value.tenths / 10))


def tenths_caption(value: TenthsSound | Sound) -> str:
    """The canonical caption with a number for the pitch.

    >>> tenths_caption(TenthsSound("phone", "fast", -9)), tenths_caption(Sound("phone", "high", "fast"))
    ('a phone rings at -9 pitch and fast speed', 'a phone rings at +7 pitch and fast speed')
    """
    if isinstance(value, Sound):
        value = TenthsSound(value.source, value.speed, round(10 * word_octaves(value)))
    said = captions(Sound(value.source, "normal", value.speed))[0]
    return said.replace("normal pitch", f"{value.tenths:+d} pitch", 1)


_LOOKS = (*COLOURS, *SIZES, *POSITIONS, *PLACES)
ASKED_WORDS = {
    "thing": _LOOKS,
    "colour": tuple(word for word in (*THINGS, *_LOOKS) if word not in COLOURS),
    "source": (*PITCHES, *SPEEDS),
    "pitch": tuple(word for word in (*SOUNDS, *SPEEDS) if word not in PITCHES),
}
"""Attribute → words of captions that are never said of it."""
ASKED_SHARE = 0.7
"""Of the words that may be replaced."""


def asked_otherwise(dialogue: Dialogue, rng: random.Random) -> Dialogue:
    """A request for one medium, its reply and the decoder's caption, with other words for the thing and its colour or
    the source and its pitch, where request and reply both say them once ("draw a big sky clock"). Any other dialogue is
    returned as it is.

    It is for output projections what an invented pitch is for words: they learn to pass on what is said, not which
    pairs there are.
    """
    if len(dialogue.turns) != 2 or dialogue.turns[0].slots or len(dialogue.turns[1].slots) != 1:
        return dialogue
    (slot,) = dialogue.turns[1].slots
    texts, words = [slot.caption, *(turn.text for turn in dialogue.turns)], worlddata.attributes(slot.value)
    new = {
        name: rng.choice(others)
        for name, others in ASKED_WORDS.items()
        if name in words and all(len(re.findall(rf"\b{words[name]}\b", text)) == 1 for text in texts)
        if rng.random() < ASKED_SHARE
    }
    if not new:
        return dialogue
    by_word = {words[name]: word for name, word in new.items()}
    said = re.compile(rf"\b({'|'.join(by_word)})\b")

    def changed(text: str) -> str:
        return said.sub(lambda found: by_word[found[0]], text)

    shown = SaidSlot(slot.value, slot.seed, slot.kind, changed(slot.caption), tuple({**words, **new}.items()))
    turns = (
        replace(turn, parts=tuple(changed(part) if isinstance(part, str) else shown for part in turn.parts))
        for turn in dialogue.turns
    )
    return replace(dialogue, turns=tuple(turns), answers={})


def _off_held_out(value: Scene | Clip | Sound, seed: int) -> float:
    """How far ``rendered_between`` is from the nearest held-out pair of the value's thing or source: in octaves, or in
    RGB; 0 where there is none."""
    rng = np.random.default_rng(seed)
    if isinstance(value, Sound):
        pitch = any_pitch(value.source, rng)
        held = [PITCH_FACTORS[word] for source, word in HELD_OUT_PITCHES if source == value.source]
        return min((abs(math.log2(pitch / other)) for other in held), default=0.0)
    thing = value.scene.thing if isinstance(value, Clip) else value.thing
    shade = any_shade(thing, rng)
    return min((math.dist(shade, SHADES[word]) for other, word in HELD_OUT_LOOKS if other == thing), default=0.0)


RENDERINGS, CANDIDATES = 100, 4
"""How many different renderings between the words of one value there are, and of how many the hardest is taken."""


def told_between(dialogue: Dialogue, others: Mapping[str, Sequence[str]], rng: random.Random) -> Dialogue:
    """The description of one medium with its colour or pitch between the words, and in the reply, in that word's place,
    one of ``others`` (attribute → words). Any other dialogue is returned as it is.

    Told of the world's own pairs only, a language model learns which there are, whatever ImageBind shows it: each low
    car was a low bird. Measured on held-out media (n = 60), before and after 700 steps with these: sources 74 → 98 %,
    things in pictures 85 → 92 %, in clips 73 → 78 % right; but pitches, which are not said here, 80 → 58 %.

    >>> from ..picturebook.dialogues import dialogue
    >>> one = dialogue(random.Random(1), kind="describe_audio")
    >>> told_between(one, {"pitch": ["always"]}, random.Random(2)).turns[1].text
    'I hear how a car hums at always pitch and normal speed.'
    """
    if not dialogue.kind.startswith("describe_") or len(dialogue.turns) != 2 or len(dialogue.turns[0].slots) != 1:
        return dialogue
    asked, reply = dialogue.turns
    (slot,) = asked.slots
    name = "pitch" if slot.kind == "audio" else "colour"
    word = worlddata.attributes(slot.value)[name]
    said = re.compile(rf"\b{word}\b(?= pitch)" if name == "pitch" else rf"\b{word}\b")
    if len(said.findall(reply.text)) != 1:
        return dialogue
    unsaid = rng.choice([other for other in others[name] if other not in reply.text.split()])
    # Nearest to what is held out there is most to learn: each low phone was a bell, none of the others.
    seed = min((rng.randrange(RENDERINGS) for _ in range(CANDIDATES)), key=partial(_off_held_out, slot.value))
    shown = BetweenSlot(slot.value, seed, slot.kind, slot.caption, unsaid)
    asked = replace(asked, parts=tuple(shown if part is slot else part for part in asked.parts))
    reply = replace(reply, parts=tuple(said.sub(unsaid, part) for part in reply.parts))
    return replace(dialogue, turns=(asked, reply), answers={})


def given_between(dialogue: Dialogue, rng: random.Random) -> Dialogue:
    """The dialogue with all that a user gives between the words: sounds where nobody names a pitch, pictures and clips
    where nobody names a colour. What is made of them follows from the source or the thing alone, and a model that is
    only given the world's own pairs learns which there are all the same."""
    named = {name for turn in dialogue.turns for name in parse(turn.text)}

    def shown(part: str | MediaSlot) -> str | MediaSlot:
        if isinstance(part, str) or part.value is None or ("pitch" if part.kind == "audio" else "colour") in named:
            return part
        return BetweenSlot(part.value, rng.randrange(RENDERINGS), part.kind, part.caption)

    turns = (
        replace(turn, parts=tuple(map(shown, turn.parts))) if turn.role == "user" else turn for turn in dialogue.turns
    )
    return replace(dialogue, turns=tuple(turns))
