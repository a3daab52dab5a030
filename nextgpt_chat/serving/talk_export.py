"""A talk as a ZIP file that can be read back."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
import zipfile
import zlib
from pathlib import Path

from ..content import MediaPart, Turn
from ..conversation import Conversation
from ..conversation.archive import DOCUMENT
from ..errors import LimitError, MediaError
from ..media.writing import replacing
from .talk_records import clean_title

TITLE = "title.json"
FILE_BYTES = 500_000_000
_DOCUMENT_BYTES = 4_000_000
_TITLE_BYTES = 10_000
_ENTRIES = 500
_TURNS = 400


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
