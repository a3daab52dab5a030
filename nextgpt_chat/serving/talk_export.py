"""A talk as files for others: a ZIP that can be read back, and one HTML page that needs nothing else.

What is in a talk came from anyone: on the page everything is escaped, and the page forbids itself scripts and
connections.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import uuid
import zipfile
import zlib
from collections.abc import Callable
from html import escape
from pathlib import Path

from ..content import MediaPart, Part, TextPart, Turn
from ..conversation import Conversation
from ..conversation.archive import DOCUMENT
from ..errors import LimitError, MediaError, NextGPTError
from ..media.writing import replacing
from .talk_records import clean_title, storable

TITLE = "title.json"
FILE_BYTES = 500_000_000
_DOCUMENT_BYTES = 4_000_000
_TITLE_BYTES = 10_000
_ENTRIES = 500
_TURNS = 400
_NOUNS = {"image": "picture", "audio": "sound", "video": "clip"}
MIME = {".png": "image/png", ".wav": "audio/wav", ".mp4": "video/mp4"}


def write_zip(conversation: Conversation, title: str, path: Path) -> Path:
    """Conversation.save's file with the title added, which Conversation.load reads too. Replaces ``path`` at once or,
    on an error, not at all. Raises MediaError, LimitError."""
    with replacing(path) as temporary:
        conversation.save(temporary)
        try:
            with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as file:
                file.writestr(TITLE, json.dumps({"title": title}))
        except OSError as error:
            raise MediaError(f"The talk could not be saved to {path}: {error}. Choose another place.") from error
    return path


def read_zip(path: Path) -> tuple[Conversation, str]:
    """The conversation, and the title or "". Parts get ids of our own, for those of the file may be anything.

    Raises MediaError for a file that is not one, LimitError for over 500 MB, 400 turns, or 4 MB of words.
    """
    title = _check(path)
    conversation = Conversation.load(path)
    if len(conversation) > _TURNS:
        raise LimitError(
            f"{path.name} has {len(conversation)} turns; at most {_TURNS} are taken. Export a shorter talk."
        )
    return Conversation(_own_ids(turn) for turn in conversation.turns), title


def _check(path: Path) -> str:
    """Raises for a file too large to be read at all; returns its title."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
            total = max(sum(entry.file_size for entry in entries), os.path.getsize(path))
            words = max((entry.file_size for entry in entries if entry.filename == DOCUMENT), default=0)
            if total > FILE_BYTES or words > _DOCUMENT_BYTES or len(entries) > _ENTRIES:
                raise LimitError(
                    f"{path.name} holds {len(entries)} files of {total / 1e6:.0f} MB together, {words / 1e6:.1f} MB of "
                    f"it words; at most {_ENTRIES} files, {FILE_BYTES / 1e6:.0f} MB and {_DOCUMENT_BYTES / 1e6:.0f} "
                    "MB are taken. Export a shorter talk."
                )
            if TITLE not in file.namelist() or file.getinfo(TITLE).file_size > _TITLE_BYTES:
                return ""
            title = json.loads(file.read(TITLE))["title"]
            return clean_title(title) if isinstance(title, str) else ""
    except FileNotFoundError:
        return ""  # Conversation.load says it
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
        return ""  # so does it here
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""  # no title of ours: the talk itself may still be good


def _own_ids(turn: Turn) -> Turn:
    parts = [dataclasses.replace(p, id=uuid.uuid4().hex) if isinstance(p, MediaPart) else p for p in turn.parts]
    return dataclasses.replace(turn, parts=tuple(parts))


Source = Callable[[str], str]
"""The address of a medium by its sha256, for ``src``. Raises NextGPTError or OSError where it is not there."""


def within(path_of: Callable[[str], Path]) -> Source:
    """Media as part of the page itself; ``path_of`` gives a medium's file by its sha256."""

    def source(sha256: str) -> str:
        path = path_of(sha256)
        return f"data:{MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"

    return source


def page(conversation: Conversation, title: str, source: Source, media_from: str = "data:") -> str:
    """One HTML page with its style sheet within, no scripts. With ``source`` of :func:`within` it needs nothing else.

    ``media_from``: where the page lets its media come from (a source of a content security policy).

    Generated media and the assistant's turns are labelled; media carry their caption as their description.
    """
    heading = _text(title) or "A talk"
    turns = "\n".join(_turn(turn, source) for turn in conversation.turns)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(media=media_from)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{heading}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1 dir="auto">{heading}</h1>
{turns}
</main>
<footer>A talk with NExT-GPT chat. The assistant's words and what is marked “AI-generated” were made by a model and
may be wrong.</footer>
</body>
</html>
"""


def _turn(turn: Turn, source: Source) -> str:
    assistant = turn.role == "assistant"
    name = 'Assistant <span class="label">AI-generated</span>' if assistant else "User"
    parts = "\n".join(_part(part, source) for part in turn.parts)
    stopped = '\n<p class="note">This reply was stopped before its end.</p>' if turn.cancelled else ""
    return f'<article class="{turn.role}">\n<h2>{name}</h2>\n{parts}{stopped}\n</article>'


def _part(part: Part, source: Source) -> str:
    if isinstance(part, TextPart):
        return f'<p class="words" dir="auto">{_text(part.text)}</p>'
    noun = _NOUNS[part.kind]
    about = _text(part.caption or part.name) or f"A {noun} without a description"
    label = '<span class="label">AI-generated</span> ' if part.generated else ""
    known = part.details if part.took is None else {**part.details, "made in seconds": round(part.took, 1)}
    facts = ", ".join(f"{_text(str(key))}: {_text(_value(value))}" for key, value in known.items())
    details = f"\n<details><summary>Details</summary>{facts}</details>" if facts else ""
    caption = f'<figcaption>{label}<span dir="auto">{about}</span>{details}</figcaption>'
    return f"<figure>\n{_player(part, about, source)}\n{caption}\n</figure>"


def _player(part: MediaPart, about: str, source: Source) -> str:
    try:
        address = escape(source(part.media.sha256), quote=True)
    except (NextGPTError, OSError):  # deleted meanwhile
        return f'<p class="note">This {_NOUNS[part.kind]} is no longer kept.</p>'
    if part.kind == "image":
        return f'<img src="{address}" alt="{about}">'
    tag = part.kind
    return f'<{tag} controls preload="metadata" aria-label="{about}" src="{address}"></{tag}>'


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    """Escaped for content and for quoted attributes; control characters, which HTML forbids, left out."""
    kept = "".join(letter for letter in storable(text) if letter in "\t\n" or (letter >= " " and letter != "\x7f"))
    return escape(kept, quote=True)


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src {media}; media-src {media}; base-uri 'none'; "
    "form-action 'none'"
)
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --words: #1c1c22; --user: #e9effc; --soft: #565660; --line: #c9c9d2 }
@media (prefers-color-scheme: dark) {
  :root { --page: #17171c; --words: #ececf1; --user: #243352; --soft: #b4b4c0; --line: #44444f }
}
body { margin: 0; background: var(--page); color: var(--words); font: 16px/1.5 system-ui, sans-serif }
main, footer { max-width: 46rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: .9rem; margin: 0 0 .3rem; color: var(--soft) }
article { margin: 1rem 0; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .8rem }
article.user { background: var(--user); margin-inline-start: 10% }
.words { white-space: pre-wrap; margin: .3rem 0 } .note, footer, details { color: var(--soft); font-size: .9rem }
figure { margin: .6rem 0 } img, video { max-width: 100%; border-radius: .5rem } audio { width: 100% }
.label { font-size: .75rem; font-weight: 600; border: 1px solid var(--line); border-radius: .4rem; padding: 0 .35rem }
"""
