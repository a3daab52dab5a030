"""What a dialogue is made of: frozen turns of words and media slots. Nothing is rendered here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from nextgpt_chat.picturebook.values import Clip, Scene, Sound, Value
from nextgpt_chat.picturebook.words import captions

MEDIA = ("image", "audio", "video")
"""The kinds of media in the order in which a reply gives them, unless another was asked for."""


def kind_of(value: Value) -> str:
    """ "image", "audio" or "video"."""
    for kind, shape in (("image", Scene), ("audio", Sound), ("video", Clip)):
        if isinstance(value, shape):
            return kind
    raise ValueError(f"not a picture-book value: {value!r}")


@cache
def canonical(value: Value) -> str:
    """The canonical caption of a value."""
    return captions(value)[0]


@dataclass(frozen=True)
class MediaSlot:
    """A place for a medium: in a user's turn a file, in the assistant's a run of signal tokens.

    ``value`` and ``seed`` say what to render (``draw``, ``play``, ``animate``); the value None is a medium from outside
    the world.
    ``caption`` is the canonical one: what the decoder is conditioned on.
    """

    value: Value | None
    seed: int
    kind: str
    caption: str


@dataclass(frozen=True)
class DialogueTurn:
    """``role``: "user" or "assistant". Text parts carry no white space at their ends."""

    role: str
    parts: tuple[str | MediaSlot, ...]

    @property
    def text(self) -> str:
        """The words alone."""
        return " ".join(part for part in self.parts if isinstance(part, str))

    @property
    def slots(self) -> tuple[MediaSlot, ...]:
        """The media alone."""
        return tuple(part for part in self.parts if isinstance(part, MediaSlot))


@dataclass(frozen=True)
class Dialogue:
    """One to six exchanges of a user's turn and an assistant's, and what is expected of the last reply.

    - ``answers``: attribute → value that the last reply's words must name (as `parse` reads them); for replies that
      tell something. Where several media disagree on an attribute, it is left out.
    - ``described``: the values that the last reply describes in words, in order.
    - ``targets``: the slots of the last reply.
    - ``forced``: the modalities of a reply that nobody asked for in words, since the user's turn has none: the pipeline
      forces the signal tokens after the words. Such a reply's words are the usual description, so whoever trains on it
      should leave the first signal token of each run out of the loss, or media come unasked.
    """

    kind: str
    turns: tuple[DialogueTurn, ...]
    answers: dict[str, str] = field(default_factory=dict)
    described: tuple[Value, ...] = ()
    forced: frozenset[str] = frozenset()

    @property
    def targets(self) -> tuple[MediaSlot, ...]:
        """The media that the last reply must produce."""
        return self.turns[-1].slots

    @property
    def values(self) -> tuple[Value, ...]:
        """Every value that is shown anywhere."""
        return tuple(slot.value for turn in self.turns for slot in turn.slots if slot.value is not None)
