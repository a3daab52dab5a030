"""Media of a reply that were made once more: where they stand in a talk, and what they were made of."""

from __future__ import annotations

from collections.abc import Sequence

from ..content import MediaPart, Turn
from ..errors import NextGPTError
from .conversation import Conversation

REMADE = "again_of"
"""In a part's details: the id of the one that it was made again of."""


def find_generated(turns: Sequence[Turn], part_id: str) -> tuple[int, MediaPart]:
    """Index of the assistant's turn with this medium, and the medium; of one made again, the one it was made of.

    Raises NextGPTError where the talk has no such medium, or not the model's.
    """
    made = [(i, part) for i, turn in enumerate(turns) if turn.role == "assistant" for part in turn.media]
    found = {part.id: (index, part) for index, part in reversed(made) if part.generated}
    first = found[part_id][1].details.get(REMADE, part_id) if part_id in found else part_id
    # A loaded talk may say anything of its parts.
    if not isinstance(first, str) or first not in found or REMADE in found[first][1].details:
        raise NextGPTError("This talk has no such picture, sound or clip of the model's any more.")
    return found[first]


def add_remade(conv: Conversation, part: MediaPart) -> int:
    """Puts a medium that was made again into its turn, behind the one it was made of and those made before it.

    Returns the turn's index. Raises NextGPTError where that one has gone.
    """
    turns = list(conv.turns)
    index, first = find_generated(turns, part.details[REMADE])
    parts = list(turns[index].parts)
    family = [i for i, one in enumerate(parts) if isinstance(one, MediaPart) and _of(one) == first.id]
    parts.insert(family[-1] + 1, part)
    turns[index] = Turn("assistant", tuple(parts), turns[index].cancelled)
    conv.clear()
    for turn in turns:
        conv.append(turn)
    return index


def _of(part: MediaPart) -> str:
    return part.details.get(REMADE, part.id)
