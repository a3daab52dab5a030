"""Where signal tokens start: at the words after which a caption says what they are to hold.

A language model that has read "… a big red dog" goes on with the colour after another "big", and its state there is
the colour's. A signal token whose row is that of a size makes it do the same without being told. From the rows of an
earlier model, trained on, hardly any of what the states at [IMG0..3] tell was the colour (share of their variance that
goes with it: 6 % at the best token; from words 78 % at the second), and of that the output projection passed on nothing
(held-out colours after 1,500 steps: 11 of 100, as many as by chance).
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..language_model import LanguageModel
from ..picturebook.dialogues import dialogue
from ..picturebook.words import MOTION_PHRASES, PLACE_PHRASES, POSITION_PHRASES
from . import worlddata

ORDER = {
    "image": ("size", "colour", "thing", "position", "place"),
    "audio": ("source", "pitch", "speed"),
    "video": ("size", "colour", "thing", "position", "place", "motion"),
}
"""What the canonical captions say, in their order."""
CAPTIONS = 200
NOISE = 1.0
"""Length of the random vector that tells signal tokens from words and from each other, in shares of the row's own: what
a linear reader finds in the states is the same as with 0.05, and the language model can tell what comes next."""


@torch.no_grad()
def start_at_words(lm: LanguageModel, seed: int = 31) -> None:
    """Sets the input rows of all signal tokens of the picture-book world's kinds of media."""
    generator = torch.Generator().manual_seed(seed)
    table = lm.network.get_input_embeddings().weight
    for kind, tokens in lm.signals.groups.items():
        before = _words_before(lm, kind)
        for token, names in zip(tokens, _shared_out(ORDER[kind], len(tokens)), strict=True):
            row = torch.stack([before[name] for name in names]).mean(0)
            noise = torch.randn(len(row), generator=generator).to(row) / len(row) ** 0.5
            table[token] = (row + NOISE * row.norm() * noise).to(table)


def _shared_out(names: tuple[str, ...], count: int) -> list[tuple[str, ...]]:
    """``count`` groups in order: each name for several tokens, or the last token for several names.

    >>> _shared_out(("size", "colour", "thing"), 2), _shared_out(("source", "pitch"), 3)
    ([('size',), ('colour', 'thing')], [('source',), ('source',), ('pitch',)])
    """
    if count < len(names):
        return [*((name,) for name in names[: count - 1]), names[count - 1 :]]
    return [(names[place * len(names) // count],) for place in range(count)]


def _words_before(lm: LanguageModel, kind: str) -> dict[str, Tensor]:
    """Attribute → (D,): the mean embedding of the token before its phrase in captions."""
    rng, found = random.Random(7), {name: [] for name in ORDER[kind]}
    for _ in range(CAPTIONS):
        (slot,) = dialogue(rng, kind=f"make_{kind}").turns[-1].slots
        said = worlddata.attributes(slot.value)
        for name in ORDER[kind]:
            start, _, _ = slot.caption.partition(_phrase(name, said[name]))
            if start.strip():  # "rain patters …" has nothing before its source
                found[name].append(lm.text.encode(start.strip())[-1])
    return {name: lm.embed(ids).float().mean(0) for name, ids in found.items()}


def _phrase(name: str, word: str) -> str:
    phrases = {"position": POSITION_PHRASES, "place": PLACE_PHRASES}
    if name == "motion":
        return MOTION_PHRASES[word][0][0]
    return phrases[name][word][0] if name in phrases else word
