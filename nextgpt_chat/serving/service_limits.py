"""What one server takes of a user: how much at once, how long a talk, how large a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LimitError
from ..media import Limits

_MEDIA = Limits(clip_side=256, clip_bytes=96_000_000)
"""Clips are kept smaller than by default: many talks share one server's memory."""


@dataclass(frozen=True)
class ServiceLimits:
    """Caps for one turn and one talk; larger ones raise LimitError. ``media`` are those of each file."""

    media: Limits = _MEDIA
    files_per_turn: int = 10
    characters: int = 20_000
    turns: int = 400
    sessions: int = 1000

    def check(self, turns: int, text: str, files: Sequence[Any]) -> None:
        """Raises LimitError for a message that a talk of so many ``turns`` cannot take."""
        if len(text) > self.characters:
            raise LimitError(
                f"The message has {len(text)} characters; at most {self.characters} are taken. Shorten it."
            )
        if len(files) > self.files_per_turn:
            raise LimitError(
                f"{len(files)} files are attached; a message may have at most {self.files_per_turn}. "
                "Send the others with the next message."
            )
        if turns >= self.turns:
            raise LimitError(f"This talk has {turns} turns, the most it may have. Start a new talk.")
