"""Any dialogue: the kinds and their shares, and dialogues as text for the language model's pretraining."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from nextgpt_chat.picturebook.dialogues import chatting, making, sessions, telling
from nextgpt_chat.picturebook.dialogues.cells import add_cell
from nextgpt_chat.picturebook.dialogues.talk import Talk
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, Dialogue, MediaSlot
from nextgpt_chat.picturebook.words import caption

TEXT_ONLY_KINDS = (
    "greet", "thank", "goodbye", "identity", "abilities", "small_talk", "knowledge", "decline", "no_sound_or_picture",
)  # fmt: skip
"""Kinds without any medium."""


def _any_cell(talk: Talk, text: bool) -> None:
    given = [kind for kind in MEDIA if talk.rng.random() < 0.5] or [talk.rng.choice(MEDIA)]
    asked = [kind for kind in MEDIA if talk.rng.random() < 0.5] or [talk.rng.choice(MEDIA)]
    add_cell(talk, frozenset([*given, *(["text"] if text else [])]), frozenset(asked))


def _told(tell: Callable[[Talk, str], None], talk: Talk) -> None:
    tell(talk, talk.rng.choice(MEDIA))


_BUILDERS: dict[str, tuple[float, Callable[[Talk], object]]] = {
    "make_image": (11, partial(making.make, kind="image")),
    "make_audio": (8, partial(making.make, kind="audio")),
    "make_video": (10, partial(making.make, kind="video")),
    "make_several": (8, making.make_several),
    "no_sound_or_picture": (1.5, making.no_sound_or_picture),
    "describe_image": (4, partial(telling.describe, kind="image")),
    "describe_audio": (3, partial(telling.describe, kind="audio")),
    "describe_video": (4, partial(telling.describe, kind="video")),
    "describe_without_words": (4, partial(_told, partial(telling.describe, words=False))),
    "describe_several": (3, telling.describe_several),
    "ask": (7, partial(_told, telling.ask)),
    "yes_or_no": (4, partial(_told, telling.yes_or_no)),
    "compare": (1, telling.compare),
    "across_to_image": (3.5, partial(making.across_to, asked="image")),
    "across_to_audio": (4.5, partial(making.across_to, asked="audio")),
    "across_to_video": (4, partial(making.across_to, asked="video")),
    "change_image": (5, partial(making.change_kind, kind="image")),
    "change_audio": (3.5, partial(making.change_kind, kind="audio")),
    "change_video": (5, partial(making.change_kind, kind="video")),
    "change_several": (3, making.change_one_of_several),
    "refer_back": (5, sessions.refer_back),
    "session": (7, sessions.session),
    "media_and_words": (6, partial(_any_cell, text=True)),
    "forced": (3, partial(_any_cell, text=False)),
    "greet": (0.8, chatting.greet),
    "thank": (0.5, chatting.thank),
    "goodbye": (0.5, chatting.say_goodbye),
    "identity": (0.7, chatting.identity),
    "abilities": (0.7, chatting.abilities),
    "small_talk": (1.2, chatting.small_talk),
    "knowledge": (1.2, chatting.knowledge),
    "decline": (3.5, chatting.decline),
}
KINDS: dict[str, float] = {kind: weight for kind, (weight, _) in _BUILDERS.items()}
"""Kind of dialogue → its weight."""


def dialogue(rng: random.Random | int, held_out: bool = False, kind: str | None = None) -> Dialogue:
    """A dialogue, of a kind drawn by `KINDS` unless one is given.

    ``rng``: a generator or a seed. ``held_out=False`` is for training: no value in it is held out, and no sentence of
    the assistant's names a held-out pair. ``held_out=True`` is for evaluation: the values made in the last reply are
    held out wherever the request decides them, else (defaults never are) a value shown on the way. Raises ValueError
    for an unknown kind.
    """
    rng = rng if isinstance(rng, random.Random) else random.Random(rng)
    if kind is None:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind not in _BUILDERS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    talk = Talk(rng, held_out)
    _BUILDERS[kind][1](talk)
    return talk.dialogue(kind)


def as_text(dialogue: Dialogue, rng: random.Random | None = None) -> list[tuple[str, str]]:
    """The turns as (role, words): a user's medium becomes its caption in brackets, the assistant's are left out.

    ``rng`` draws other words for the captions in brackets; None takes the canonical ones.
    """
    turns = []
    for turn in dialogue.turns:
        words = []
        for part in turn.parts:
            if isinstance(part, str):
                words.append(part)
            elif turn.role == "user":
                words.append(f"({_caption(part, rng)})")
        turns.append((turn.role, " ".join(words)))
    return turns


def _caption(slot: MediaSlot, rng: random.Random | None) -> str:
    return slot.caption if rng is None or slot.value is None or rng.random() < 0.5 else caption(slot.value, rng)


def text_corpus(seed: int, n: int, held_out: bool = False) -> Iterator[list[tuple[str, str]]]:
    """``n`` dialogues of all kinds as text, for the language model's pretraining (or its evaluation)."""
    rng = random.Random(seed)
    for _ in range(n):
        yield as_text(dialogue(rng, held_out), rng)
