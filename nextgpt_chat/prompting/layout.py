"""What every layout of conversations offers, and what they share: fitting, media, ends of turns.

User words are data: roles, separators, media marks and signal tokens are put in by id, never by parsing a string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ..content import Media, MediaPart, Turn
from ..errors import LimitError
from ..tokens import IMAGE_CLOSE, IMAGE_OPEN, ROLE_MARK, PlainTokenizer, SignalIds
from .segments import MediaSegment, Prompt, Segment, SignalSegment, TextSegment


class Template(Protocol):
    """A layout of conversations. ``stops``: strings at which a reply ends (they are never shown). ``end``: the tokens
    that end one in training (the v0 layouts may tokenise them together with the words before)."""

    name: str
    stops: tuple[str, ...]
    end: tuple[int, ...]

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        """Everything in front of the assistant's next reply."""

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        """A training sequence that ends with the last (assistant's) turn, with targets marked."""

    def fit(self, turns: Sequence[Turn], limit: int) -> Prompt:
        """The prompt within ``limit`` positions, oldest turns left out, and :func:`without_unanswered` ones. Raises
        LimitError if the last cannot fit."""


class Layout:
    """The common part of the layouts. ``sums_files``: whether one can add up a turn's files; ``add_files``: it does."""

    name = ""
    stops: tuple[str, ...] = (ROLE_MARK,)
    sums_files = False
    media_positions = 1
    """Of the language model a medium; as the checkpoint's input projection makes them."""

    def __init__(self, text: PlainTokenizer, signals: SignalIds, add_files: bool = False) -> None:
        self.text, self.signals, self.add_files = text, signals, add_files
        self._bos = () if text.bos is None else (text.bos,)
        # Without real tokens the marks are spelled as ordinary text (checkpoints from before November 2023).
        self._open = text.encode(IMAGE_OPEN) if signals.open is None else (signals.open,)
        self._close = text.encode(IMAGE_CLOSE) if signals.close is None else (signals.close,)
        self.end = text.extend("\n" + ROLE_MARK)

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        raise NotImplementedError

    def fit(self, turns: Sequence[Turn], limit: int) -> Prompt:
        if not turns:
            raise ValueError("a prompt needs at least one turn")
        turns = without_unanswered(turns)
        starts = [i for i, turn in enumerate(turns) if i == 0 or turn.role == "user"]
        for start in starts:
            prompt = Prompt(self.prompt(turns[start:]), left_out=start)
            if prompt.positions <= limit:
                return prompt
        raise LimitError(
            f"Your last message takes {prompt.positions} tokens; this checkpoint has room for {limit}. "
            "Shorten the message or attach fewer files."
        )

    def _files(self, turn: Turn) -> list[MediaSegment]:
        """The positions of a user's files: one each, or one for neighbours of one kind where files are added."""
        found: list[MediaSegment] = []
        for part in turn.media:
            if self.add_files and found and found[-1].media.kind == part.media.kind:
                found[-1] = self._position(found[-1].media, (*found[-1].added, part.media))
            else:
                found.append(self._position(part.media))
        return found

    def _position(self, media: Media, added: tuple[Media, ...] = ()) -> MediaSegment:
        return MediaSegment(media, added, self.media_positions)

    def _medium(self, position: MediaSegment) -> tuple[Segment, ...]:
        return (TextSegment(self._open), position, TextSegment(self._close))

    def _run(self, part: MediaPart, target: bool) -> SignalSegment:
        if part.kind not in self.signals.groups:
            raise ValueError(f"this checkpoint has no signal tokens for {part.kind!r}")
        return SignalSegment(part.kind, self.signals.groups[part.kind], part, target)


def without_unanswered(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without the messages whose replies were stopped or failed before there was anything of them, and
    without those replies: a model that reads a request and no reply carries it out in place of the next one. What was
    uploaded with them is still there, with the next message."""
    kept: list[Turn] = []
    uploads: tuple[MediaPart, ...] = ()
    for turn in turns:
        if turn.role == "assistant" and not turn.parts and kept and kept[-1].role == "user":
            uploads = tuple(kept.pop().media)
        elif turn.role == "user" and uploads:
            kept.append(replace(turn, parts=(*uploads, *turn.parts)))
            uploads = ()
        else:
            kept.append(turn)
    return kept


def last_reply(turns: Sequence[Turn]) -> Turn:
    """The assistant's turn at the end. Raises ValueError if there is none."""
    if not turns or turns[-1].role != "assistant":
        raise ValueError("a training example ends with an assistant's turn")
    return turns[-1]
