"""The talks' database: SQLite, its schema and migrations, and the server's secret. Knows no conversation."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BusyError, LimitError, NextGPTError

FILE = "talks.sqlite3"
SECRET = "secret"
MEDIA = "media"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE talks (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL DEFAULT '',
            folded TEXT NOT NULL DEFAULT '', named INTEGER NOT NULL DEFAULT 0,
            created REAL NOT NULL, updated REAL NOT NULL, token TEXT UNIQUE)""",
        "CREATE INDEX talks_of_owner ON talks (owner, updated)",
        # ``key`` is never used twice: a reply still being written cannot land in a turn that took its place.
        """CREATE TABLE turns (
            key INTEGER PRIMARY KEY AUTOINCREMENT, talk TEXT NOT NULL REFERENCES talks ON DELETE CASCADE,
            position INTEGER NOT NULL, role TEXT NOT NULL, cancelled INTEGER NOT NULL, parts TEXT NOT NULL,
            words TEXT NOT NULL, notices TEXT NOT NULL DEFAULT '[]', UNIQUE (talk, position))""",
        """CREATE TABLE media (
            sha256 TEXT PRIMARY KEY, kind TEXT NOT NULL, suffix TEXT NOT NULL, fps REAL, generated INTEGER NOT NULL,
            bytes INTEGER NOT NULL)""",
        """CREATE TABLE uses (
            turn INTEGER NOT NULL REFERENCES turns ON DELETE CASCADE, sha256 TEXT NOT NULL REFERENCES media,
            PRIMARY KEY (turn, sha256)) WITHOUT ROWID""",
        "CREATE INDEX uses_of_medium ON uses (sha256)",
    ),
    (
        """CREATE TABLE ratings (
            turn INTEGER PRIMARY KEY REFERENCES turns ON DELETE CASCADE, liked INTEGER NOT NULL,
            reason TEXT NOT NULL, at REAL NOT NULL)""",
    ),
)
"""Statements that bring a database from version n to n + 1; PRAGMA user_version counts them. Only ever append."""

_WAIT_SECONDS = 20.0  # for another process's transaction
_BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{20,128}")


class TalkDatabase:
    """The database in ``folder``, made where there is none. One connection, used by one thread at a time.

    Raises NextGPTError, and leaves everything as it is, where the database is damaged or newer than this program,
    or where the database, the media or the secret are there without the others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self._lock = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_media_have_their_database()
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise NextGPTError(
                f"The talks' folder {folder} cannot be used: {error}. Choose another one or change its permissions."
            ) from error
        self._connection = sqlite3.connect(
            self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            with self._told():
                self._connection.row_factory = sqlite3.Row
                self._prepare()
            self._secret = self._read_secret()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Ends the connection; further use raises sqlite3.ProgrammingError."""
        with self._lock:
            self._connection.close()

    def owner_of(self, browser_id: str) -> str:
        """HMAC-SHA256 of a browser's id with the server's secret, hex: all that is kept of the id.

        Raises NextGPTError for an id that is not 20 to 128 letters, digits, - and _ (others would be guessable).
        """
        if not isinstance(browser_id, str) or not _BROWSER_ID.fullmatch(browser_id):
            raise NextGPTError("This browser's id is not a valid one. Reload the page to get a new one.")
        return hmac.new(self._secret, b"owner:" + browser_id.encode(), hashlib.sha256).hexdigest()

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """What a SELECT finds."""
        with self._lock, self._told():
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and nobody else writes meanwhile, in this process or another. Not to be nested.

        Raises BusyError where another process does not let go, LimitError for a full disk, NextGPTError for damage.
        """
        with self._lock, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself ends some that fail
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        if [row[0] for row in run("PRAGMA quick_check(1)")] != ["ok"]:
            raise self._damaged("its pages contradict each other")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise NextGPTError(
                f"{self.path} was written by a newer version of this program (format {version}; this one knows up to "
                f"{len(MIGRATIONS)}). Update the program, or choose another folder for the talks."
            )
        run("PRAGMA journal_mode = WAL")  # a commit survives a killed process, and readers do not wait
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA secure_delete = ON")  # what a user deleted is not left in the file
        run("PRAGMA trusted_schema = OFF")
        run("BEGIN IMMEDIATE")
        try:
            version = run("PRAGMA user_version").fetchone()[0]  # another process may have been quicker
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    run(statement)
            run(f"PRAGMA user_version = {len(MIGRATIONS)}")
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def _check_media_have_their_database(self) -> None:
        """A fresh database next to old media would count them all as left over, and delete them."""
        media = self.folder / MEDIA
        if media.is_dir() and any(media.rglob("*.*")) and not (self.path.exists() and self.path.stat().st_size):
            raise NextGPTError(
                f"{media} holds media, but their talks' database {self.path} is missing or empty. "
                f"Put the database back, or remove the folder {media} to start anew."
            )

    def _read_secret(self) -> bytes:
        path = self.folder / SECRET
        known = self.rows("SELECT value FROM facts WHERE name = 'secret_check'")
        try:
            if not path.exists():
                if known:
                    raise NextGPTError(
                        f"The secret {path} is missing; without it nobody can find their talks again. "
                        f"Put it back, or remove {self.path} and {self.folder / MEDIA} to start anew."
                    )
                _create_secret(path)
            secret = path.read_bytes().strip()
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
        except OSError as error:
            raise NextGPTError(f"The secret {path} cannot be read: {error}. Change its permissions.") from error
        check = hmac.new(secret, b"check", hashlib.sha256).hexdigest()
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO facts VALUES ('secret_check', ?)", (check,))
        (row,) = self.rows("SELECT value FROM facts WHERE name = 'secret_check'")
        if len(secret) < 32 or not hmac.compare_digest(row["value"], check):
            raise NextGPTError(
                f"{path} is not the secret that the talks in {self.path} were stored with. Put the right one back."
            )
        return secret

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's troubles as sentences; mistakes in our own statements stay what they are."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "locked" in reason or "busy" in reason:
                raise BusyError("Another process is using the talks. Try again in a moment.") from error
            if "full" in reason:
                raise LimitError("The server's disk is full: nothing more can be stored. Delete old talks.") from error
            raise NextGPTError(
                f"The talks in {self.path} could not be read or written: {reason}. Check the disk and the permissions."
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> NextGPTError:
        return NextGPTError(
            f"The talks' database {self.path} is damaged ({reason}). It was left as it is: put a backup in its place, "
            "or choose another folder for the talks."
        )


def _create_secret(path: Path) -> None:
    """Writes a new secret, whole or not at all, readable by its owner only; leaves one that is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, never replaces one that another process made meanwhile
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
