"""Statements about a talk's turns, each within a transaction of the caller's."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from .talk_library import Batch
from .talk_records import Record, fold, title_of


def insert(
    connection: sqlite3.Connection,
    talk_id: str,
    record: Record,
    batch: Batch | None = None,
    notices: Sequence[str] = (),
) -> int:
    """Adds a turn at the end, with media from ``batch`` and the ``notices`` shown with it; returns its key."""
    row = (talk_id, count(connection, talk_id), record.role, record.cancelled, record.parts, record.words)
    key = connection.execute(
        "INSERT INTO turns (talk, position, role, cancelled, parts, words, notices) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*row, json.dumps(list(notices))),
    ).lastrowid
    assert key is not None
    if batch is not None:
        batch.use(connection, key, record.media)
    return key


def count(connection: sqlite3.Connection, talk_id: str) -> int:
    return connection.execute("SELECT COUNT(*) FROM turns WHERE talk = ?", (talk_id,)).fetchone()[0]


def touch(connection: sqlite3.Connection, talk_id: str) -> None:
    connection.execute("UPDATE talks SET updated = ? WHERE id = ?", (time.time(), talk_id))


def retitle(connection: sqlite3.Connection, talk_id: str) -> None:
    """The title of the first message, where the user gave none."""
    first = connection.execute(
        "SELECT parts FROM turns WHERE talk = ? AND role = 'user' ORDER BY position LIMIT 1", (talk_id,)
    ).fetchone()
    title = title_of(json.loads(first["parts"])) if first else ""
    connection.execute(
        "UPDATE talks SET title = ?, folded = ? WHERE id = ? AND NOT named", (title, fold(title), talk_id)
    )


def key_of(connection: sqlite3.Connection, talk_id: str, index: int) -> int | None:
    """The key of the turn at a place; None where there is none."""
    found = connection.execute(
        "SELECT key FROM turns WHERE talk = ? ORDER BY position LIMIT 1 OFFSET ?", (talk_id, index)
    ).fetchone()
    return found["key"] if found and index >= 0 else None
