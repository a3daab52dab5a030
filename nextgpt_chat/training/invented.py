"""Sounds with words that there are not: what is said of a sound is what was asked for, whichever pairs there are.

Of the few pairs of a source and a pitch, which of them there are is soon learned by heart, by reading and by making.
Here either the pitch or the source is a word that no sound has. Of the latter the pitch can be learned, because nothing
follows from such a source; of the world's own sources stage 3 leaves it out (``alignment.Examples.batch``).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from ..picturebook.dialogues import Dialogue, MediaSlot
from ..picturebook.reading import parse
from ..picturebook.values import COLOURS, POSITIONS, SOUNDS, Sound
from .stand_ins import OnlySaidSlot, SaidSlot, said_of

_SAID_PITCH = re.compile(r"\b\w+(?=[ -]pitch)", re.IGNORECASE)


OTHER_WORDS = (*COLOURS, *POSITIONS, "big", "small", "slow", "fast", "sandy", "snowy", "spinning", "still")
"""Words of the world that are not said of a pitch."""


def with_invented_pitch(spoken: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]] | None:
    """A message and its reply that both name the pitch, with a word in its place that there is not, or that is not
    said of a pitch; else None.

    A language model that has read of each source at two pitches only says those, whatever it is asked for (measured on
    held-out values: 13 of 100 replies wrong, nearly all of them in the pitch; with words that there are not 7, five of
    them "waves at normal pitch"). Having to say words that it has never read there, it learns to say what is asked for.

    >>> talk = [("user", "Play a high pitched bell."), ("assistant", "Hear how a bell rings at high pitch.")]
    >>> with_invented_pitch(talk, random.Random(2))
    [('user', 'Play a zetiku pitched bell.'), ('assistant', 'Hear how a bell rings at zetiku pitch.')]
    """
    if len(spoken) != 2 or any(len(_SAID_PITCH.findall(words)) != 1 for _, words in spoken):
        return None
    asked, answered = (parse(words).get("pitch") for _, words in spoken)
    if asked != answered:  # "make it lower"
        return None
    word = rng.choice(OTHER_WORDS)
    if rng.random() < 0.5:
        word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))
    return [(role, _SAID_PITCH.sub(word, words)) for role, words in spoken]


def asked_with_invented_pitch(dialogue: Dialogue, rng: random.Random) -> Dialogue:
    """A request for sounds and its reply, with the pitch as ``with_invented_pitch`` has it: only the words of the reply
    are to be learned, since no such sound can be made. Any other dialogue is returned as it is, and so is one in which
    a sound is given.

    >>> from ..picturebook.dialogues import dialogue
    >>> one = dialogue(random.Random(3), kind="make_audio")
    >>> [turn.text for turn in asked_with_invented_pitch(one, random.Random(0)).turns]
    ['let me hear a vessel at right pitch fast.', 'Hear how a boat hoots at right pitch and fast speed.']
    """
    if any(slot.kind == "audio" for turn in dialogue.turns[:-1] for slot in turn.slots):
        return dialogue
    told = with_invented_pitch([(turn.role, turn.text) for turn in dialogue.turns], rng)
    if told is None:
        return dialogue
    turns = []
    for turn, (_, words) in zip(dialogue.turns, told, strict=True):
        parts: list = [words if isinstance(part, str) else part for part in turn.parts]
        if turn is dialogue.turns[-1]:
            parts = [p if p is words else OnlySaidSlot(p.value, p.seed, p.kind, p.caption) for p in parts]
        turns.append(replace(turn, parts=tuple(parts)))
    return replace(dialogue, turns=tuple(turns), answers={})


def with_invented_source(dialogue: Dialogue, others: Sequence[str], rng: random.Random) -> Dialogue:
    """Any dialogue on sounds alone, of one source, with one of ``others`` in the place of its source wherever it is
    named, in the media too; of a last reply's medium only the words are to be learned. A dialogue in which that cannot
    be is returned as it is: where a user names the source in other words, or it changes.

    >>> from ..picturebook.dialogues import dialogue
    >>> one = dialogue(random.Random(53), kind="change_audio")
    >>> [turn.text for turn in with_invented_source(one, ["always"], random.Random(0)).turns][2:]
    ['make it higher, thanks', 'Hear how a always sounds at high pitch and normal speed.']
    """
    slots = [slot for turn in dialogue.turns for slot in turn.slots]
    sources = {slot.value.source for slot in slots if isinstance(slot.value, Sound)}
    if len(sources) != 1 or not all(isinstance(slot.value, Sound) for slot in slots):
        return dialogue
    (source,), word = sources, rng.choice(others)
    turns = []
    for turn in dialogue.turns:
        slot_type = OnlySaidSlot if turn is dialogue.turns[-1] else SaidSlot
        verb = "sounds" if turn.role == "assistant" else "sounding"
        parts = []
        for part in turn.parts:
            parts.append(_renamed(part, source, word, verb) if isinstance(part, str) else _said(part, word, slot_type))
            if isinstance(part, str) and parse(parts[-1]).get("source"):
                return dialogue
        turns.append(replace(turn, parts=tuple(parts)))
    return replace(dialogue, turns=tuple(turns), answers={})


def _renamed(text: str, source: str, word: str, verb: str) -> str:
    """``text`` with another word for its source, and the ``verb`` for what that does."""
    does = rf"\b{source} [a-z]+{'' if verb == 'sounds' else 'ing'}\b"
    return re.sub(rf"\b{source}\b", word, re.sub(does, f"{word} {verb}", text, flags=re.I), flags=re.I)


def _said(slot: MediaSlot, source: str, slot_type: type[SaidSlot]) -> SaidSlot:
    said = tuple((name, source if name == "source" else word) for name, word in said_of(slot))
    return slot_type(slot.value, slot.seed, slot.kind, slot.caption, said)


def has_known_source(dialogue: Dialogue) -> bool:
    """Whether any sound of a dialogue has a source of the world's."""
    slots = [slot for turn in dialogue.turns for slot in turn.slots if slot.kind == "audio"]
    return any(dict(said_of(slot)).get("source") in SOUNDS for slot in slots)
