"""The Conversation: turns in their order, what may be done with them, and their form as JSON and as messages.

Knows no model and no page. Files go in through :mod:`nextgpt_chat.media`; archive.py makes the saved file.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any

import PIL.Image

from ..content import MEDIA_KINDS, Audio, Image, Media, MediaPart, Part, TextPart, Turn, Video
from ..errors import MediaError, NextGPTError
from ..media import Limits, read_media
from ..media.reading import Source
from . import archive
from .messages import to_messages, to_turns


class Conversation:
    """A talk between a user and the assistant. ``id`` names it; ``limits`` hold for the files that come in.

    Two conversations are equal when their turns are (media by content). Not safe for several threads at once.
    """

    def __init__(self, turns: Iterable[Turn] = (), *, id: str | None = None, limits: Limits | None = None) -> None:
        self._turns = list(turns)
        self.id = id or uuid.uuid4().hex
        self.limits = limits or Limits()

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    def __len__(self) -> int:
        return len(self._turns)

    def __bool__(self) -> bool:
        return True  # ``conversation or Conversation()`` must not drop an empty one

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversation) and self._turns == other._turns

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Conversation({len(self)} turns, id={self.id!r})"

    def add_user(self, text: str = "", files: Iterable[Source | MediaPart] | Source | MediaPart = ()) -> Turn:
        """Appends what the user says: the files in their order, then the words. Returns the new turn.

        ``files``: paths, bytes, PIL pictures, Image, Audio or Video values, or MediaParts (kept as they are).
        Raises MediaError or LimitError for a file that cannot be taken, NextGPTError when there is neither text nor
        file; the conversation is then unchanged.
        """
        if not isinstance(text, str):
            raise ValueError(f"text must be a str, not {text!r}")
        if isinstance(files, (str, os.PathLike, bytes, PIL.Image.Image, MediaPart, Image, Audio, Video)):
            files = [files]
        parts: list[Part] = [self._media_part(file) for file in files]
        if text.strip():
            parts.append(TextPart(text))
        if not parts:
            raise NextGPTError("There is nothing to send. Write some words or attach a file.")
        return self.append(Turn("user", tuple(parts)))

    def _media_part(self, file: Source | MediaPart) -> MediaPart:
        if isinstance(file, MediaPart):
            return file
        name = os.path.basename(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else ""
        return MediaPart(read_media(file, limits=self.limits), name=name)

    def add_assistant(self, parts: Iterable[Part], cancelled: bool = False) -> Turn:
        """Appends a reply (``cancelled``: it was stopped half-way). Returns the new turn."""
        return self.append(Turn("assistant", tuple(parts), cancelled))

    def append(self, turn: Turn) -> Turn:
        """Appends a turn made elsewhere, and returns it."""
        self._turns.append(turn)
        return turn

    def undo(self) -> Turn | None:
        """Removes the last user turn and all that follows it; returns that turn, or None where there is none."""
        for index in reversed(range(len(self._turns))):
            if self._turns[index].role == "user":
                removed = self._turns[index]
                del self._turns[index:]
                return removed
        return None

    def clear(self) -> None:
        """Removes every turn."""
        self._turns.clear()

    def copy(self) -> Conversation:
        """The same turns in a conversation of its own, with an id of its own."""
        return Conversation(self._turns, limits=self.limits)

    # JSON

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; media are named by content hash, and :meth:`media` holds them."""
        return {
            "version": archive.FORMAT_VERSION,
            "id": self.id,
            "turns": [
                {"role": turn.role, "cancelled": turn.cancelled, "parts": [_part_to_dict(part) for part in turn.parts]}
                for turn in self._turns
            ],
        }

    def media(self) -> dict[str, Media]:
        """Every medium of the conversation by its sha256, in order of first appearance."""
        return {part.media.sha256: part.media for turn in self._turns for part in turn.media}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], media: Mapping[str, Media], *, limits: Limits | None = None
    ) -> Conversation:
        """The inverse of :meth:`to_dict`. Raises ValueError for what is not such a value, MediaError for a newer one
        or a medium that ``media`` does not have."""
        archive.check_version(data)
        try:
            turns = [
                Turn(
                    _typed(turn["role"], str),
                    tuple(_part_from_dict(part, media) for part in _typed(turn["parts"], list)),
                    _typed(turn.get("cancelled", False), bool),
                )
                for turn in _typed(data["turns"], list)
            ]
            return cls(turns, id=_typed(data["id"], str), limits=limits)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a conversation: {type(error).__name__} {error}") from error

    # Files

    def save(self, path: str | os.PathLike) -> None:
        """Writes one ZIP file: ``conversation.json`` and the media, lossless, named by sha256. Replaces ``path`` at
        once or, on an error, not at all."""
        generated = {part.media.sha256 for turn in self._turns for part in turn.media if part.generated}
        archive.save(path, self.to_dict(), self.media(), generated)

    @classmethod
    def load(cls, path: str | os.PathLike, *, limits: Limits | None = None) -> Conversation:
        """Reads what :meth:`save` wrote, on any machine. ``limits`` hold for files added later.

        Raises MediaError for a file that is not a saved conversation, is damaged or of a newer version, LimitError
        for one that unpacks to too much.
        """
        data, media = archive.load(path)
        try:
            return cls.from_dict(data, media, limits=limits)
        except ValueError as error:
            raise archive.not_a_conversation(path, str(error)) from error

    # Messages

    def to_messages(self) -> list[dict[str, Any]]:
        """transformers' form, ``{"role", "content": [blocks]}``; blocks as in :func:`messages.block_of`."""
        return to_messages(self._turns)

    @classmethod
    def from_messages(cls, messages: Sequence[Mapping[str, Any]], *, limits: Limits | None = None) -> Conversation:
        """The inverse of :meth:`to_messages`. ``content`` may also be a plain str; blocks as in
        :func:`messages.part_of`. Media in the assistant's turns count as generated.

        Raises ValueError for an unknown role or block, and MediaError or LimitError as :meth:`add_user` does.
        """
        limits = limits or Limits()
        return cls(to_turns(messages, limits), limits=limits)


def _typed(value: Any, kind: type | UnionType) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"expected {getattr(kind, '__name__', kind)}, not {str(value)[:100]!r}")
    return value


def _part_to_dict(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    facts = {"sha256": part.media.sha256, "caption": part.caption, "name": part.name, "generated": part.generated}
    if isinstance(part.media, Video):
        facts["fps"] = float(part.media.fps)
    if part.took is not None:
        facts["took"] = float(part.took)
    return {"type": part.kind, **facts, "details": archive.plain(part.details), "id": part.id}


def _part_from_dict(data: Mapping[str, Any], media: Mapping[str, Media]) -> Part:
    if data["type"] == "text":
        return TextPart(_typed(data["text"], str))
    if data["type"] not in MEDIA_KINDS:
        raise ValueError(f"unknown part type {data['type']!r}")
    medium = media.get(_typed(data["sha256"], str))
    if medium is None or medium.kind != data["type"]:
        raise MediaError(f"The conversation refers to {data['type']} {data['sha256'][:12]}…, which is not with it.")
    return MediaPart(
        medium,
        caption=_typed(data.get("caption", ""), str),
        name=_typed(data.get("name", ""), str),
        generated=_typed(data.get("generated", False), bool),
        details=dict(_typed(data.get("details", {}), dict)),
        id=_typed(data.get("id") or uuid.uuid4().hex, str),
        took=None if data.get("took") is None else float(_typed(data["took"], int | float)),
    )
