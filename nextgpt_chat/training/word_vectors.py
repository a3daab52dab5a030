"""Media in the second part of the language model's pretraining: all words about a medium, as one vector.

A language model that has only read text has no way to unpack five or six attributes from the one position that a medium
gets: with it frozen, stage 1 read 54 % of held-out pictures' things, 78 % of their places, and no more of those that it
was trained on. So it learns before, still from text alone, to read vectors that are sums of words: each word's own
embedding, shuffled in a fixed way that tells what it is said of ("left" of a place from "left" of a motion). The input
projection then has to turn directions of ImageBind's space into directions of this one (PICTUREBOOK: "pretrain the LM
with captions behind a media vector of attributes").

In some dialogues a word of the vector and of the reply is one that is never said there ("a big always clock"): the
model learns to say what the vector holds, and not that the pairs which are held out from training do not occur.
"""

from __future__ import annotations

import random
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..content import TextPart, Turn
from ..language_model import LanguageModel
from ..picturebook.dialogues import Dialogue, MediaSlot
from ..picturebook.reading import parse
from . import worlddata
from .stand_ins import Said, SaidSlot, said_of, turns_of

NOISE, BLURRED_NOISE = 0.2, 0.05
"""Length of the random vector that is added to one of unit mean square, in shares of its own."""
WEIGHTS = {"thing": (0.3, 1.15), "source": (0.3, 1.15), "motion": (0.55, 1.1)}
"""How much of a blurred vector's word is there, where not ``OTHER_WEIGHTS``: as much as ImageBind's embeddings have of
their codes (measured on held-out media, 5th to 95th percentile: things in pictures 0.26 to 1.11, in clips 0.39 to 1.14,
sources 0.80 to 1.07, motions 0.58 to 1.10, colours, sizes, positions and places 0.71 to 1.14)."""
OTHER_WEIGHTS = 0.8, 1.15
GHOSTS, OTHER_GHOSTS = {"thing": 0.45, "source": 0.45, "size": 0.45}, 0.3
"""And the most that is there of other words of the same attribute (95th percentile of the strongest: things 0.27,
sources 0.32, sizes 0.21, others below that)."""
PITCH_GHOSTS, MOTION_GHOST, MARGIN = (-0.15, 0.2), 0.22, 0.12
"""Of a pitch, which is a point on an arc; of a motion in a picture; what every word has more than its ghosts."""
OTHER_WORDS_SHARE = 0.7
"""Of the words that may be replaced."""
REPLACED = ("thing", "colour", "motion", "source", "pitch")
"""What is held out are pairs of these."""
TELLING = ("describe_", "ask")
"""Kinds of dialogues whose reply says nothing but what the medium shows."""
LENT = ("colour", "size", "position", "place", "pitch", "speed")
"""Attributes whose words may stand for another's."""


class WordVectors:
    """Vectors (D,) of media for a language model of width D.

    Blurred ones are sums as ImageBind's embeddings are: of some words there is less, and of others that the medium does
    not show a little. A language model that has read exact sums only takes any of these for what it is used to (with
    an input projection computed from the codes, it told 80 % of held-out sources and 76 % of things in clips).
    """

    def __init__(self, lm: LanguageModel, seed: int = 19, blurred: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lm, self.blurred = lm, blurred
        self.shuffles = {name: torch.randperm(lm.width, generator=generator) for name in worlddata.ATTRIBUTES}

    def of(self, media: Sequence[Said]) -> Tensor:
        """(n, D), differentiable with respect to the model's input embeddings."""
        return torch.stack([self._sum(said) for said in media])

    def word(self, name: str, word: str) -> Tensor:
        """(D,): one word's vector as it is said of attribute ``name``."""
        return self.lm.embed(self.lm.text.encode(word)).mean(0)[self.shuffles[name]]

    def _sum(self, said: Said) -> Tensor:
        if not said:
            return _noise_as_long_as(self.lm.embed([0])[0])
        weighed = _blurred(said) if self.blurred else [(name, word, 1.0) for name, word in said]
        total = (
            torch.stack([weight * self.word(name, word) for name, word, weight in weighed]).sum(0) / len(said) ** 0.5
        )
        return total + (BLURRED_NOISE if self.blurred else NOISE) * _noise_as_long_as(total)


def _blurred(said: Said) -> list[tuple[str, str, float]]:
    """(attribute, word, weight) of a medium's words and of some others. Drawn by torch, as all of a step's noise."""
    found = []
    for name, word in said:
        weight = _between(*WEIGHTS.get(name, OTHER_WEIGHTS))
        others = [other for other in worlddata.ATTRIBUTES[name] if other != word]
        if name == "pitch":
            ghosts = [_between(*PITCH_GHOSTS) for _ in others]
        else:
            others = [others[int(i)] for i in torch.randperm(len(others))[:3]]
            ghosts = [GHOSTS.get(name, OTHER_GHOSTS) * _between(0, 1) ** 2 for _ in others]
        found.append((name, word, weight))
        found += [(name, other, min(ghost, weight - MARGIN)) for other, ghost in zip(others, ghosts, strict=True)]
    names = {name for name, _ in said}
    if "colour" in names and "motion" not in names:
        motions = worlddata.ATTRIBUTES["motion"]
        found.append(("motion", motions[int(torch.randint(len(motions), ()))], MOTION_GHOST * _between(0, 1) ** 2))
    return found


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _noise_as_long_as(vector: Tensor) -> Tensor:
    return vector.detach().square().mean() ** 0.5 * torch.randn_like(vector)


def other_words(lm: LanguageModel) -> dict[str, list[str]]:
    """Attribute → words that are never said of it: single tokens that say nothing of the picture-book world, and as
    many of other attributes (they are the ones that a model has learned to say)."""
    pieces = (piece for piece in lm.tokenizer.get_vocab() if re.fullmatch("▁[a-z]{3,}", piece))
    neutral = sorted(piece[1:] for piece in pieces if not parse(piece[1:]))
    found = {}
    for name in REPLACED:
        own = {part for word in worlddata.ATTRIBUTES[name] for part in word.split()}  # "moves left": neither word
        world = [word for other in LENT for word in worlddata.ATTRIBUTES[other] if word not in own]
        found[name] = neutral + world * max(1, len(neutral) // len(world))
    return found


def with_other_words(dialogue: Dialogue, others: Mapping[str, Sequence[str]], rng: random.Random) -> Dialogue:
    """The dialogue with some words about its medium replaced, in the medium and in the reply; itself where none can be.

    ``others``: attribute → words to put in the place of its own (``other_words``).
    """
    replaced = _replaced(dialogue, rng)
    if not replaced:
        return dialogue
    # "moves" stays, for it is the word after it that says where to.
    new = {
        name: ("moves " if phrase.startswith("moves ") else "") + rng.choice(others[name])
        for name, phrase in replaced.items()
    }
    by_phrase = {phrase: f"{new[name]} sounds" if name == "source" else new[name] for name, phrase in replaced.items()}
    phrases = re.compile(rf"\b({'|'.join(by_phrase)})\b")

    def shown(item: str | MediaSlot) -> str | MediaSlot:
        if isinstance(item, str):
            return item
        said = tuple((name, new.get(name, word)) for name, word in said_of(item))
        return SaidSlot(item.value, item.seed, item.kind, item.caption, said)

    def told(item: str | MediaSlot) -> str | MediaSlot:
        return phrases.sub(lambda found: by_phrase[found[0]], item) if isinstance(item, str) else item

    asked, reply = dialogue.turns
    turns = (replace(asked, parts=tuple(map(shown, asked.parts))), replace(reply, parts=tuple(map(told, reply.parts))))
    return replace(dialogue, turns=turns, answers={})


def as_read(dialogue: Dialogue) -> list[Turn]:
    """A dialogue as turns whose media have their words as key, but for the last reply: that is text."""
    *turns, last = turns_of(dialogue, said_of)
    return [*turns, replace(last, parts=tuple(part for part in last.parts if isinstance(part, TextPart)))]


def _replaced(dialogue: Dialogue, rng: random.Random) -> dict[str, str]:
    """Attribute → its words in the reply, where one medium is told about and only the reply says them, once."""
    if not dialogue.kind.startswith(TELLING) or len(dialogue.turns) != 2 or len(dialogue.turns[0].slots) != 1:
        return {}
    said = dict(said_of(dialogue.turns[0].slots[0]))
    asked, reply = parse(dialogue.turns[0].text), dialogue.turns[1].text
    found = {}
    for name in REPLACED:
        word = said.get(name)
        if word is None or word in asked.values():
            continue
        # With a source goes its verb ("a dog barks"), which would tell it.
        pattern = {"source": rf"{word} [a-z]+", "motion": "stays still" if word == "still" else word}.get(name, word)
        phrases = re.findall(rf"\b{pattern}\b", reply)
        if len(phrases) == 1 and rng.random() < OTHER_WORDS_SHARE:
            found[name] = phrases[0]
    return found


def is_medium(key: Hashable) -> bool:
    """Whether a position's key is a medium's words, not a token's id."""
    return isinstance(key, tuple)
