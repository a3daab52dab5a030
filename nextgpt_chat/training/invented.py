"""Sounds at pitches that there are not, in text: what is said of a sound is what was asked for, whichever pairs there
are."""

from __future__ import annotations

import random
import re

from ..picturebook.reading import parse
from ..picturebook.values import COLOURS, POSITIONS

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
