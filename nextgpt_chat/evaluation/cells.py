"""Every set of modalities in, every set of media out: which of these 15 x 8 cells succeed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from ..content import MEDIA_KINDS, MODALITIES, MediaPart, Reply
from ..conversation import Conversation
from ..errors import NextGPTError
from ..picturebook import parse
from ..picturebook.dialogues import UNKNOWN_MEDIA_TEXT, Dialogue, cell
from .cases import attributes
from .gates import judge_medium
from .picturebook import medium_of, produced

Cell = tuple[tuple[str, ...], tuple[str, ...]]
"""(modalities in, media out)."""

MATCHED = {"image": ("thing", "colour"), "audio": ("source",), "video": ("thing", "motion")}
"""What a medium must have right to match what was asked."""


def _subsets(of: tuple[str, ...], least: int) -> list[tuple[str, ...]]:
    return [some for size in range(least, len(of) + 1) for some in itertools.combinations(of, size)]


CELLS: tuple[Cell, ...] = tuple(itertools.product(_subsets(MODALITIES, 1), _subsets(MEDIA_KINDS, 0)))


def run_cell(pipeline: Any, inputs: tuple[str, ...], outputs: tuple[str, ...], seed: int) -> bool:
    """Whether one held-out request of a cell is answered with exactly its media, each matching what was asked.

    Without words among the inputs nothing can be asked for, so the modalities are then set by the user.
    """
    dialogue = cell(inputs, outputs, seed, held_out=True)
    user = dialogue.turns[-2]
    talk = Conversation()
    talk.add_user(user.text, files=[medium_of(slot.value, slot.seed) for slot in user.slots])
    wanted = None if "text" in inputs else {"text", *outputs}
    return matches(dialogue, pipeline.reply(talk, seed=seed, modalities=wanted))


def matches(dialogue: Dialogue, reply: Reply) -> bool:
    """Whether a reply gives exactly the media of the dialogue's last turn, each like it, and says what it asks."""
    if produced(reply) != sorted(slot.kind for slot in dialogue.targets):
        return False
    made = {part.kind: part.media for part in reply.parts if isinstance(part, MediaPart)}
    for slot in dialogue.targets:
        asked, seen = attributes(slot.value), judge_medium(made[slot.kind])
        if any(seen[key] != asked[key] for key in MATCHED[slot.kind]):
            return False
    if dialogue.targets:
        return True
    if not dialogue.answers:
        return bool(reply.text.strip())
    said = parse(reply.text)
    return all(said.get(key) == word for key, word in dialogue.answers.items() if key in ("thing", "source")) and any(
        said.get(key) == word for key, word in dialogue.answers.items()
    )


def measure_cell(pipeline: Any, one: Cell, seeds: int, seed: int = 0) -> tuple[int, str]:
    """(successes of ``seeds``, the first of them ``seed``; first error message or "") of a cell."""
    right, error = 0, ""
    for number in range(seeds):
        try:
            right += run_cell(pipeline, *one, seed + number)
        except NextGPTError as problem:
            error = error or str(problem)
    return right, error


def cells(
    pipeline: Any, seeds: int = 10, progress: Callable[[str, int, int], None] | None = None, seed: int = 0
) -> dict[Cell, tuple[int, str]]:
    """What ``measure_cell`` answers, of every cell."""
    table: dict[Cell, tuple[int, str]] = {}
    for number, one in enumerate(CELLS):
        table[one] = measure_cell(pipeline, one, seeds, seed)
        if progress:
            progress("cells", number + 1, len(CELLS))
    return table


def says_unknown(reply: Reply) -> bool:
    """Whether a reply, or a notice with it, says that a medium is not of the picture-book world."""
    said = " ".join((reply.text, *reply.notices)).lower()
    return UNKNOWN_MEDIA_TEXT.lower()[:24] in said or "only know" in said or "unknown" in said


def unknown_share(pipeline: Any, files: Iterable[Any], question: str = "What is this?", seed: int = 0) -> float:
    """Share of the files (paths, pictures, sounds, clips from outside the world) that are said to be unknown."""
    said = []
    for number, file in enumerate(files):
        talk = Conversation()
        talk.add_user(question, files=[file])
        said.append(says_unknown(pipeline.reply(talk, seed=seed + number)))
    if not said:
        raise ValueError("no files were given")
    return sum(said) / len(said)
