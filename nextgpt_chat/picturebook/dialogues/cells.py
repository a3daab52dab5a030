"""One exchange for each of the 15 x 8 cells of what goes in and what comes out."""

from __future__ import annotations

import random
from collections.abc import Collection

from nextgpt_chat.picturebook.dialogues import chatting, making, requests, several, telling
from nextgpt_chat.picturebook.dialogues.defaults import ATTRIBUTES, complete, random_attributes
from nextgpt_chat.picturebook.dialogues.talk import Talk
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, Dialogue
from nextgpt_chat.picturebook.values import SOUNDING_THINGS, SOUNDS, THINGS

INPUTS = ("text", *MEDIA)


def cell(
    inputs: Collection[str], outputs: Collection[str], seed: int | random.Random, held_out: bool = False
) -> Dialogue:
    """A dialogue of one exchange with exactly these modalities.

    ``inputs``: a non-empty subset of {"text", "image", "audio", "video"}; ``outputs``: a subset of the media; text
    comes out always.

    - If media are to come out, those that go in show the same thing, and a picture and a clip the same scene.
    - What comes out shows that thing too. Its attributes are, in this order: what the text names, what the media that
      went in show, the defaults. A clip that is asked for in words moves, unless they say "still".
    - With text among the inputs, the words ask for exactly the outputs. Without, `Dialogue.forced` says what comes out;
      the words are the description that an unforced reply has.

    Raises ValueError for other modalities, or none.
    """
    inputs, outputs = frozenset(inputs), frozenset(outputs)
    if not inputs or not inputs <= set(INPUTS) or not outputs <= set(MEDIA):
        raise ValueError(f"no cell has the inputs {sorted(inputs)} and the outputs {sorted(outputs)}")
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    talk = Talk(rng, held_out)
    add_cell(talk, inputs, outputs)
    return talk.dialogue("cell")


def add_cell(talk: Talk, inputs: frozenset[str], outputs: frozenset[str]) -> None:
    """The exchange of a cell."""
    given = [kind for kind in MEDIA if kind in inputs]
    asked = [kind for kind in MEDIA if kind in outputs]
    if not asked:
        _words_only(talk, given, "text" in inputs)
    elif not given:
        if len(asked) == 1:
            making.make(talk, asked[0])
        else:
            making.make_of_one(talk, asked, _things(asked))
    else:
        text = "text" in inputs
        _from_media(talk, given, several.in_some_order(talk.rng, asked) if text else asked, text)


def _words_only(talk: Talk, given: list[str], text: bool) -> None:
    if not given:
        talk.rng.choice(chatting.SINGLE)(talk)
    elif len(given) == 1 and text and talk.rng.random() < 0.5:
        telling.ask_about(talk, talk.value(given[0]), talk.rng.choice(telling.question_keys(given[0])), upload=True)
    else:
        values = [talk.value(kind) for kind in given]
        texts = requests.DESCRIBE_SEVERAL if len(given) > 1 else requests.DESCRIBE_KIND[given[0]]
        talk.user(talk.rng.choice(texts) if text else "", *values)
        talk.describe(*values)


def _things(kinds: Collection[str]) -> tuple[str, ...]:
    """What has all of these kinds of media."""
    if "audio" not in kinds:
        return THINGS
    return SOUNDING_THINGS if {"image", "video"} & set(kinds) else SOUNDS


def _from_media(talk: Talk, given: list[str], asked: list[str], text: bool) -> None:
    things = _things([*given, *asked])

    def attempt():
        shown = random_attributes(talk.rng, things)
        values = [complete(kind, shown) for kind in given]
        known = {key: shown[key] for kind in given for key in ATTRIBUTES[kind]}
        named = making.overrides(talk, asked, 0.6 if talk.held_out else 0.3) if text else {}
        targets = [complete(kind, {**(making.without_still(known) if text else known), **named}) for kind in asked]
        return (values, named, targets), targets, values

    values, named, targets = talk.search(attempt)
    if not text:
        talk.user("", *values)
        talk.describe(*values, add=targets)
        return
    subject = talk.rng.choice(making.SUBJECTS[given[0]] if len(given) == 1 else ("this", "it", "this thing"))
    talk.user(several.make_all(talk.rng, asked, subject, named), *values, request=True)
    talk.make(*targets)
