"""Dialogues in which words are other ones from beginning to end, in what is asked, shown and said.

A language model that reads of the world's own pairs alone (a bell is high or low, never normal) says those, whatever it
is asked for or shown. With other words in their place it has nothing but the talk itself to go by.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..picturebook.dialogues import Dialogue, DialogueTurn, MediaSlot, dialogue
from ..picturebook.reading import parse
from ..picturebook.values import PITCHES, SOUNDS
from ..picturebook.words import SOUND_VERBS
from .stand_ins import OnlyDecided, OnlySaidSlot, SaidSlot, said_of

RENAMED_SHARE = 0.6
"""Of the words that may be replaced."""
RENAMED = ("thing", "colour", "source", "pitch")
"""What is held out are pairs of these, and of motions, whose phrases differ too much to be replaced."""

Renaming = Mapping[tuple[str, str], str]
"""(attribute, its word) → the word in its place."""


def renamed(one: Dialogue, others: Mapping[str, Sequence[str]], rng: random.Random) -> Dialogue:
    """The dialogue with some words replaced wherever they are said and in what the media show; itself where they are
    said in ways of their own (a synonym, a verb), or where the reply would say one that it cannot know.

    ``others``: attribute → words to put in the place of its own (``word_vectors.other_words``).

    >>> from ..picturebook.dialogues import dialogue
    >>> others = {name: ["always", "under"] for name in RENAMED}
    >>> told = renamed(dialogue(random.Random(50), kind="make_audio"), others, random.Random(1))
    >>> [turn.text for turn in told.turns]
    ['play the under pitched sound of a always', 'Hear how a always sounds at under pitch and normal speed.']
    """
    new = _new_words(one, others, rng)
    turns = tuple(_renamed_turn(turn, new) for turn in one.turns)
    texts = [part for turn in turns for part in turn.parts if isinstance(part, str)]
    if not new or any(_is_said(pair, text) for pair in new for text in texts):
        return one
    made = {pair for slot in one.turns[-1].slots for pair in said_of(slot)}
    if made & set(new) - _known(one, turns, new):
        return one
    return replace(one, turns=turns, answers={})


MOST_TRIES = 8


def renamed_one(kind: str, others: Mapping[str, Sequence[str]], rng: random.Random) -> Dialogue:
    """A dialogue of ``kind`` that could be renamed, with no sound of a known pair; now and then one as it is."""
    for _ in range(MOST_TRIES):
        one = dialogue(rng, kind=kind)
        told = renamed(one, others, rng)
        if told is not one and not has_known_pair(told):
            break
    return told


def only_said(one: Dialogue) -> Dialogue:
    """The dialogue with only what is said in its last reply to be learned, where its media are in other words: they
    cannot be made."""
    *before, reply = one.turns
    parts = (
        OnlySaidSlot(part.value, part.seed, part.kind, part.caption, part.said) if isinstance(part, SaidSlot) else part
        for part in reply.parts
    )
    return replace(one, turns=(*before, replace(reply, parts=tuple(parts))))


def only_decided(one: Dialogue, words: str) -> Dialogue:
    """The dialogue with ``words`` in place of its last request's, in their place among the files. They may ask for
    something else than what is said then, so only which media come after it is to be learned. Itself where there are no
    words, or where media come unasked.

    >>> one = dialogue(random.Random(1), kind="describe_audio")
    >>> [turn.text for turn in only_decided(one, "draw it").turns]
    ['draw it', 'I hear how a car hums at normal pitch and normal speed.']
    """
    *before, request, reply = one.turns
    if one.forced or not words or not request.text:
        return one
    request = replace(request, parts=tuple(words if isinstance(part, str) else part for part in request.parts))
    return OnlyDecided(one.kind, (*before, request, reply), described=one.described)


def has_known_pair(one: Dialogue) -> bool:
    """Whether some sound has both a source and a pitch of the world's: of those pairs there are fewest."""
    slots = [slot for turn in one.turns for slot in turn.slots if slot.kind == "audio" and slot.value is not None]
    said = [dict(said_of(slot)) for slot in slots]
    return any(words["source"] in SOUNDS and words["pitch"] in PITCHES for words in said)


def has_known_source(one: Dialogue) -> bool:
    """Whether any sound of a dialogue has a source of the world's."""
    slots = [slot for turn in one.turns for slot in turn.slots if slot.kind == "audio"]
    return any(dict(said_of(slot)).get("source") in SOUNDS for slot in slots)


def _new_words(one: Dialogue, others: Mapping[str, Sequence[str]], rng: random.Random) -> Renaming:
    """Nothing, where two words would become the same."""
    said = defaultdict(set)
    for slot in (slot for turn in one.turns for slot in turn.slots):
        for name, word in said_of(slot):
            said[name].add(word)
    both = said["thing"] & said["source"]  # said as either, it cannot be told which
    new = {
        (name, word): rng.choice(others[name])
        for name in RENAMED
        for word in sorted(said[name] - both)
        if rng.random() < RENAMED_SHARE
    }
    return new if len(set(new.values())) == len(new) else {}


def _renamed_turn(turn: DialogueTurn, new: Renaming) -> DialogueTurn:
    return replace(turn, parts=tuple(_renamed_part(part, new) for part in turn.parts))


def _renamed_part(part: str | MediaSlot, new: Renaming) -> str | MediaSlot:
    if isinstance(part, str):
        return _renamed_text(part, new)
    if part.value is None:
        return part
    said = tuple((name, new.get((name, word), word)) for name, word in said_of(part))
    return SaidSlot(part.value, part.seed, part.kind, _renamed_text(part.caption, new), said)


def _renamed_text(text: str, new: Renaming) -> str:
    for (name, word), other in new.items():
        if name == "source":  # what an unknown source does is to sound
            text = re.sub(rf"\b{word} {re.escape(SOUND_VERBS[word][0])}\b", f"{other} sounds", text)
        text = re.sub(rf"\b{word}\b" + ("(?=[ -]pitch)" if name == "pitch" else ""), other, text)
    return text


def _is_said(pair: tuple[str, str], text: str) -> bool:
    name, word = pair
    read = parse(text)
    return read.get(name) == word or (name == "source" and read.get("thing") == word)


def _known(one: Dialogue, turns: Sequence[DialogueTurn], new: Renaming) -> set[tuple[str, str]]:
    """What a user has shown, and what one has said in the words of ``new``."""
    known = {pair for turn in one.turns if turn.role == "user" for slot in turn.slots for pair in said_of(slot)}
    asked = " ".join(turn.text for turn in turns if turn.role == "user")
    return known | {pair for pair, other in new.items() if re.search(rf"\b{re.escape(other)}\b", asked)}
