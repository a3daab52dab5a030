"""Turns as rows of the database and back. A medium that was removed is told in words where it stood."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..content import MEDIA_KINDS, Media, Turn, storable
from ..conversation import Conversation
from ..conversation.archive import FORMAT_VERSION

TITLE_CHARACTERS = 60
REMOVED = "removed"
_NOUNS = {"image": "picture", "audio": "sound", "video": "clip"}


@dataclass(frozen=True)
class TalkInfo:
    """A line of the list of talks. ``title`` is empty before the first message; times in seconds since 1970;
    ``token``: what its link ends in, where it is shared."""

    id: str
    title: str
    created: float
    updated: float
    turns: int
    token: str | None = None

    @property
    def shared(self) -> bool:
        return self.token is not None


@dataclass(frozen=True)
class SharedTalk:
    """A talk as those see it who have its link; changing ``conversation`` changes nothing in the store."""

    title: str
    conversation: Conversation


@dataclass(frozen=True)
class Record:
    """One turn as it is stored: ``parts`` is JSON in Conversation's own form, ``words`` what a search looks through,
    ``media`` the sha256 of the media that it refers to."""

    role: str
    cancelled: bool
    parts: str
    words: str
    media: tuple[str, ...]


def record_of(turn: Turn, missing: Collection[str] = ()) -> Record:
    """``missing``: sha256 of media that cannot be stored; words take their place. Raises ValueError for details that
    are not JSON."""
    parts = Conversation([turn]).to_dict()["turns"][0]["parts"]
    parts = [_removed(part) if part.get("sha256") in missing else part for part in parts]
    media = tuple({part["sha256"]: None for part in parts if part["type"] in MEDIA_KINDS})
    return Record(turn.role, turn.cancelled, json.dumps(parts), words_of(parts), media)


def words_of(parts: Iterable[Mapping[str, Any]]) -> str:
    """Texts, captions and file names, folded."""
    return fold(" ".join(str(part.get(key, "")) for part in parts for key in ("text", "caption", "name")))


def without_media(parts: str, digests: Collection[str]) -> str:
    """The stored parts, with words in the place of some media."""
    kept = [_removed(part) if part.get("sha256") in digests else part for part in json.loads(parts)]
    return json.dumps(kept)


def _removed(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": REMOVED, "kind": part["type"], "caption": part["caption"], "name": part["name"]}


def conversation_of(
    talk_id: str, rows: Iterable[Mapping[str, Any]], read: Callable[[str], Media | None]
) -> Conversation:
    """The talk of some rows of turns; ``read`` gives a medium by its sha256, or None where it is not there."""
    turns, media = [], {}
    for row in rows:
        parts = []
        for part in json.loads(row["parts"]):
            digest = part.get("sha256")
            if digest is not None and digest not in media:
                medium = read(digest)
                if medium is None:
                    part = _removed(part)
                else:
                    media[digest] = medium
            parts.append({"type": "text", "text": _in_words(part)} if part["type"] == REMOVED else part)
        turns.append({"role": row["role"], "cancelled": bool(row["cancelled"]), "parts": parts})
    # Where FORMAT_VERSION changes, a migration must bring the stored parts to the new form.
    return Conversation.from_dict({"version": FORMAT_VERSION, "id": talk_id, "turns": turns}, media)


def _in_words(part: Mapping[str, Any]) -> str:
    about = part["caption"] or part["name"]
    return f"[{_NOUNS[part['kind']]} no longer kept{': ' if about else ''}{about}]"


def title_of(parts: Iterable[Mapping[str, Any]]) -> str:
    """At most 60 characters of a message's words; of one without words, what was attached."""
    parts = list(parts)
    title = clean_title(" ".join(part["text"] for part in parts if part["type"] == "text"))
    media = [part for part in parts if part["type"] != "text"]
    names = [part["name"] or _NOUNS[part.get("kind", part["type"])].capitalize() for part in media]
    return title or clean_title(", ".join(names))


def clean_title(text: str) -> str:
    """One line of printable characters, at most 60, cut at a word where one ends near."""
    line = " ".join(text.split())
    line = storable("".join(letter for letter in line if letter.isprintable()))
    if len(line) <= TITLE_CHARACTERS:
        return line
    cut = line[: TITLE_CHARACTERS - 1]
    end = cut.rfind(" ")
    return (cut[:end] if end >= TITLE_CHARACTERS // 2 else cut) + "…"


def fold(text: str) -> str:
    """As texts are compared in a search: whatever their case."""
    return storable(text.casefold())
