"""The media of all talks, rows and files together: stored once each, given out by owner, cleaned by age and quota."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..content import Media, MediaPart
from ..errors import LimitError, MediaError, NextGPTError
from .talk_database import TalkDatabase
from .talk_media import MediaFolder, StoredMedium, Written
from .talk_records import without_media

logger = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAY = 86_400.0


@dataclass(frozen=True)
class Cleaned:
    """What a clean-up removed; ``str()`` says it in words. ``bytes``: what that freed on the disk."""

    old: int = 0
    over_quota: int = 0
    empty_talks: int = 0
    left_over: int = 0
    bytes: int = 0
    max_age_days: float | None = None
    quota_bytes: int = 0

    @property
    def something(self) -> bool:
        return bool(self.old or self.over_quota or self.empty_talks or self.left_over)

    def __str__(self) -> str:
        said = []
        if self.old:
            said.append(f"{_count(self.old, 'medium', 'media')} of talks unused for over {self.max_age_days:g} days")
        if self.over_quota:
            said.append(
                f"{_count(self.over_quota, 'medium', 'media')} of the talks unused for longest, to keep within "
                f"{_size(self.quota_bytes)}"
            )
        if self.empty_talks:
            said.append(_count(self.empty_talks, "empty talk", "empty talks"))
        if self.left_over:
            said.append(_count(self.left_over, "left-over file", "left-over files"))
        return f"Removed {'; '.join(said)} ({_size(self.bytes)} freed)." if said else "There was nothing to remove."


class Batch:
    """Media about to be stored with some turns: encoded before the transaction, put in place within it."""

    def __init__(self, database: TalkDatabase, files: MediaFolder, parts: Iterable[MediaPart]) -> None:
        self._files = files
        self._parts: dict[str, MediaPart] = {}
        for part in parts:  # a content that both came in and was made counts as made
            if part.generated or part.media.sha256 not in self._parts:
                self._parts[part.media.sha256] = part
        self._written: dict[str, Written] = {}
        try:
            for digest, part in self._parts.items():
                if not database.rows("SELECT 1 FROM media WHERE sha256 = ? AND generated >= ?", digest, part.generated):
                    self._write(part)
        except BaseException:
            self.close()
            raise

    def use(self, connection: sqlite3.Connection, key: int, digests: Iterable[str]) -> None:
        """Ties media to the turn of this key; new ones get their row and their file."""
        for digest in digests:
            part = self._parts[digest]
            row = connection.execute("SELECT generated FROM media WHERE sha256 = ?", (digest,)).fetchone()
            if row is None or row["generated"] < part.generated:
                written = self._written.get(digest) or self._write(part)  # deleted by another talk meanwhile
                new = written.medium
                self._files.place(written)
                connection.execute(
                    "INSERT INTO media (sha256, kind, suffix, fps, generated, bytes) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (sha256) DO UPDATE SET generated = excluded.generated, bytes = excluded.bytes",
                    (new.sha256, new.kind, new.suffix, new.fps, new.generated, written.size),
                )
            connection.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (key, digest))

    def close(self) -> None:
        """Removes the temporary files that were not put in place."""
        for written in self._written.values():
            self._files.drop(written)

    def _write(self, part: MediaPart) -> Written:
        written = self._written[part.media.sha256] = self._files.write(part.media, part.generated)
        return written


class MediaLibrary:
    """Media by sha256 for the talks of one database."""

    def __init__(self, database: TalkDatabase, files: MediaFolder) -> None:
        self._database, self._files = database, files

    @contextlib.contextmanager
    def batch(self, parts: Iterable[MediaPart]) -> Iterator[Batch]:
        """Encodes those that are not stored yet. Raises LimitError where there is no room."""
        batch = Batch(self._database, self._files, parts)
        try:
            yield batch
        finally:
            batch.close()

    def read(self, sha256: str) -> Media | None:
        """The medium, or None (and a line in the log) where its file is missing or damaged."""
        rows = self._database.rows("SELECT * FROM media WHERE sha256 = ?", sha256)
        try:
            return self._files.read(_medium(rows[0])) if rows else None
        except (MediaError, LimitError) as error:
            logger.warning("%s", error)
            return None

    def path(self, column: str, value: str, media_id: str, message: str) -> Path:
        """A file for browsers of a medium in one of the talks whose ``column`` is ``value``; NextGPTError(message)
        where there is none. Raises MediaError where its file is damaged."""
        rows = []
        if isinstance(media_id, str) and _SHA256.fullmatch(media_id):
            rows = self._database.rows(
                "SELECT media.* FROM media JOIN uses USING (sha256) JOIN turns ON turns.key = uses.turn"
                f" JOIN talks ON talks.id = turns.talk WHERE media.sha256 = ? AND talks.{column} = ? LIMIT 1",
                media_id,
                value,
            )
        if not rows:
            raise NextGPTError(message)
        medium = _medium(rows[0])
        if self._files.needs_copy(medium):
            self._add_copy(medium, message)
        return self._files.shown(medium)

    def _add_copy(self, medium: StoredMedium, message: str) -> None:
        temporary, place, size = self._files.write_shown(medium)
        try:
            with self._database.transaction() as connection:
                changed = connection.execute(
                    "UPDATE media SET bytes = bytes + ? WHERE sha256 = ?",
                    (0 if place.exists() else size, medium.sha256),
                )
                if not changed.rowcount:
                    raise NextGPTError(message)
                self._files.move(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)

    def bytes(self) -> int:
        """What all media take on the disk, by the books."""
        return self._database.rows("SELECT COALESCE(SUM(bytes), 0) AS total FROM media")[0]["total"]

    @staticmethod
    def drop_unused(connection: sqlite3.Connection) -> list[str]:
        """Removes the rows of media that no turn refers to; their sha256, for :meth:`remove_files` afterwards."""
        unused = "FROM media WHERE NOT EXISTS (SELECT 1 FROM uses WHERE uses.sha256 = media.sha256)"
        digests = [row["sha256"] for row in connection.execute(f"SELECT sha256 {unused}")]
        if digests:
            connection.execute(f"DELETE {unused}")
        return digests

    def remove_files(self, digests: Collection[str]) -> None:
        """Deletes the files of media without a row. A transaction keeps others from storing them again meanwhile."""
        if not digests:
            return
        with self._database.transaction() as connection:
            for digest in digests:
                if not connection.execute("SELECT 1 FROM media WHERE sha256 = ?", (digest,)).fetchone():
                    self._files.remove(digest)

    def clean(self, busy: Collection[str], quota_bytes: int, max_age_days: float | None) -> Cleaned:
        """See ``TalkStore.clean``; ``busy``: talks that are being written."""
        now, freed = time.time(), self.bytes()
        with self._database.transaction() as connection:
            # Oldest first by the talk that used it last: a medium of an old and a new talk is as young as the new one.
            candidates = connection.execute(
                "SELECT media.sha256, media.bytes, MAX(talks.updated) AS used FROM media JOIN uses USING (sha256)"
                " JOIN turns ON turns.key = uses.turn JOIN talks ON talks.id = turns.talk"
                f" GROUP BY media.sha256 HAVING NOT MAX(talks.id IN ({','.join('?' * len(busy))}))"
                " ORDER BY used, MIN(turns.key)",
                tuple(busy),
            ).fetchall()
            oldest = now - max_age_days * _DAY if max_age_days is not None else float("-inf")
            old = [row["sha256"] for row in candidates if row["used"] < oldest]
            kept = freed - sum(row["bytes"] for row in candidates if row["used"] < oldest)
            over = []
            for row in candidates[len(old) :]:
                if kept <= quota_bytes:
                    break
                over.append(row["sha256"])
                kept -= row["bytes"]
            for digest in (*old, *over):
                _take_out(connection, digest)
            empty = connection.execute(
                "DELETE FROM talks WHERE updated < ? AND NOT EXISTS (SELECT 1 FROM turns WHERE talk = talks.id)",
                (now - _DAY,),
            ).rowcount
            unused = self.drop_unused(connection)
        self.remove_files(unused)
        freed -= self.bytes()
        with self._database.transaction() as connection:
            known = {row["sha256"] for row in connection.execute("SELECT sha256 FROM media")}
            left_over = self._files.sweep(known)
        return Cleaned(len(old), len(over), empty, len(left_over), freed + sum(left_over), max_age_days, quota_bytes)


def _take_out(connection: sqlite3.Connection, digest: str) -> None:
    """Words in the place of a medium, in every turn."""
    rows = connection.execute(
        "SELECT key, parts FROM turns JOIN uses ON uses.turn = turns.key WHERE uses.sha256 = ?", (digest,)
    ).fetchall()
    for row in rows:
        parts = without_media(row["parts"], {digest})
        connection.execute("UPDATE turns SET parts = ? WHERE key = ?", (parts, row["key"]))
    connection.execute("DELETE FROM uses WHERE sha256 = ?", (digest,))


def _medium(row: sqlite3.Row) -> StoredMedium:
    return StoredMedium(row["sha256"], row["kind"], row["suffix"], row["fps"], bool(row["generated"]))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
