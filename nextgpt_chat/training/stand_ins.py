"""Dialogues as turns for training: a medium is stood for by its kind and a key, and never rendered on the way."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ..content import MediaPart, TextPart, Turn
from ..picturebook.dialogues import Dialogue, MediaSlot
from . import worlddata


@dataclass(frozen=True)
class StandIn:
    """A medium of the world that was never rendered for the model: only its kind and the key of its embedding."""

    kind: str
    sha256: Hashable


def turns_of(dialogue: Dialogue, key: Callable[[MediaSlot], Hashable]) -> list[Turn]:
    """A dialogue as turns; media are stand-ins, and a slot's canonical caption travels with its part."""

    def part(item: str | MediaSlot) -> TextPart | MediaPart:
        if isinstance(item, str):
            return TextPart(item)
        return MediaPart(StandIn(item.kind, key(item)), caption=item.caption)  # type: ignore[arg-type]

    return [Turn(turn.role, tuple(part(item) for item in turn.parts)) for turn in dialogue.turns]


Said = tuple[tuple[str, str], ...]
"""(attribute, word) pairs of one medium. Empty: a medium from outside the world."""


@dataclass(frozen=True)
class SaidSlot(MediaSlot):
    """A medium that is only said, in words that it could not be rendered from."""

    said: Said = ()


@dataclass(frozen=True)
class BetweenSlot(MediaSlot):
    """A medium that is rendered between the words (``between.render_between``): its colour or pitch is no word's.

    ``unsaid``: the word that stands for it in the reply, which nobody is to learn to say there.
    """

    unsaid: str = ""


@dataclass(frozen=True)
class OnlySaidSlot(SaidSlot):
    """A medium of a reply of which only what is said is learned: the words, and that the medium comes after them."""


def said_of(slot: MediaSlot) -> Said:
    """The words about a medium, the canonical ones unless others were put in their place."""
    if isinstance(slot, SaidSlot):
        return slot.said
    return () if slot.value is None else tuple(worlddata.attributes(slot.value).items())


@dataclass(frozen=True)
class OnlyDecided(Dialogue):
    """A dialogue of whose last reply only is learned where media come and where none do."""
