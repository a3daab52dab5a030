"""What the language model is pretrained on: dialogues as text, later with vectors of words in the place of media."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ..content import Turn
from ..picturebook.dialogues import Dialogue, as_text, dialogue
from .invented import with_invented_pitch
from .joining import DESCRIBING
from .language import as_turns
from .renaming import has_known_pair, renamed
from .stand_ins import SaidSlot
from .word_vectors import as_read, with_other_words

Others = Mapping[str, Sequence[str]]
"""Attribute → words that are never said of it (``word_vectors.other_words``)."""

INVENTED_SHARE = 0.3
"""Of the dialogues as text: those with an invented word for a pitch."""


def spoken(rng: random.Random, held_out: bool = False) -> list[tuple[str, str]]:
    """One dialogue without media."""
    return as_text(dialogue(rng, held_out=held_out), rng)


def said(rng: random.Random, held_out: bool = False) -> list[Turn]:
    """The first run's: text, some of it with words for a pitch that there are not."""
    if held_out or rng.random() >= INVENTED_SHARE:
        return as_turns(spoken(rng, held_out))
    told = None
    while told is None:
        told = with_invented_pitch(spoken(rng), rng)
    return as_turns(told)


READ_SHARE, TELLING_SHARE = 0.6, 0.5
"""Of the second run's dialogues: those in which media are vectors; of these, descriptions."""


def read(rng: random.Random, held_out: bool = False, *, others: Others) -> list[Turn]:
    """The second run's."""
    if rng.random() >= READ_SHARE:
        return said(rng, held_out)
    kind = rng.choice(DESCRIBING) if rng.random() < TELLING_SHARE else None
    one = dialogue(rng, held_out=held_out, kind=kind)
    return as_read(one if held_out else with_other_words(one, others, rng))


RENAMED_READ_SHARE = 0.65
RENAMED_SHARE = 0.6
"""Of the third run's dialogues without sounds."""
KNOWN_PAIRS_SHARE = 0.1
"""Of those with sounds: those that may have a source and a pitch of the world's own. At the share of the others the
language model soon knew their pairs by heart again (pitch of sounds that are changed right, held-out ones: 76 % after
300 steps, 43 % after 600)."""
MOST_TRIES = 8
KINDS = {
    None: 0.45,
    "describe": 0.3,
    "make_audio": 0.05,
    "change_audio": 0.1,
    "change_image": 0.05,
    "change_video": 0.05,
}
"""Kind of dialogue → share in the third run; None: any."""


def read_renamed(rng: random.Random, held_out: bool = False, *, others: Others) -> list[Turn]:
    """The third run's: words are other ones all through most dialogues."""
    one = dialogue(rng, held_out=True) if held_out else few_known_pairs(rng, others)
    if rng.random() < RENAMED_READ_SHARE:
        return as_read(one)
    is_renamed = any(isinstance(slot, SaidSlot) for turn in one.turns for slot in turn.slots)
    return as_turns(as_text(one, None if is_renamed else rng))  # other words for its captions are the world's own


def few_known_pairs(rng: random.Random, others: Others) -> Dialogue:
    """A dialogue, most often with other words, and seldom with a sound whose source and pitch are both the world's."""
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "describe":
        kind = rng.choice(DESCRIBING)
    for _ in range(MOST_TRIES):
        one = dialogue(rng, kind=kind)
        if not has_known_pair(one):
            if rng.random() >= RENAMED_SHARE:
                return one
            return renamed(one, others, rng) if rng.random() < 0.5 else with_other_words(one, others, rng)
        if rng.random() < KNOWN_PAIRS_SHARE:
            return one
        told = renamed(one, others, rng)
        told = told if told is not one else with_other_words(one, others, rng)
        if not has_known_pair(told):
            return told
    return one
