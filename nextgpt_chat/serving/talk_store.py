"""Talks that are kept: who owns which, what was said, and which media belong to it. Knows no page and no model.

A talk of somebody else and one that never was are told by the same words: ids cannot be tried out.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sqlite3
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..content import MediaPart, Turn
from ..conversation import Conversation
from ..errors import BusyError, LimitError, NextGPTError
from . import talk_export, talk_page
from .talk_database import MEDIA, TalkDatabase
from .talk_library import Cleaned, MediaLibrary
from .talk_media import MediaFolder
from .talk_records import SharedTalk, TalkInfo, clean_title, conversation_of, fold, record_of
from .talk_reply import ReplyWriter
from .talk_rows import count, insert, key_of, retitle, touch

_NOT_HERE = (
    "This talk is not here: it was deleted, or it belongs to another browser. Choose one from the list, or start a "
    "new one."
)
NO_TURN = "This message is not in the talk any more. Reload the page to see the talk as it is."
_NO_MEDIUM = "This file is not here: its talk was deleted, or it belongs to another browser."
_NO_LINK = "There is no talk at this link: it is no longer shared, or the link is not complete. Ask for a new one."
_OWNER = re.compile(r"[0-9a-f]{64}")
_SEARCH_WORDS = 10


class TalkStore:
    """The talks in ``data_dir``: ``talks.sqlite3``, ``media/`` and ``secret`` (all readable by the server's user only).

    ``quota_bytes`` and ``max_age_days`` (None: for ever) hold for media, when :meth:`clean` is called; the words stay.
    ``min_free_bytes``: below so much free disk no new media are taken. ``sharing``: whether links may be given out.
    May be used by several threads. Raises NextGPTError where the folder cannot be used or is damaged; every method
    raises it where the database cannot be read or written.
    """

    def __init__(
        self,
        data_dir: str | Path,
        quota_bytes: int = 10_000_000_000,
        max_age_days: float | None = None,
        *,
        min_free_bytes: int = 1_000_000_000,
        talks_per_owner: int = 1000,
        sharing: bool = False,
    ) -> None:
        self.quota_bytes, self.max_age_days, self.sharing = quota_bytes, max_age_days, sharing
        self.talks_per_owner = talks_per_owner
        self._database = TalkDatabase(Path(data_dir))
        self._library = MediaLibrary(self._database, MediaFolder(Path(data_dir) / MEDIA, min_free_bytes))
        self._writers: weakref.WeakValueDictionary[str, ReplyWriter] = weakref.WeakValueDictionary()

    def close(self) -> None:
        for writer in list(self._writers.values()):
            writer.stop()
        self._database.close()

    # Owners

    @staticmethod
    def new_browser_id() -> str:
        """A random id for a browser to keep."""
        return secrets.token_urlsafe(32)

    def owner_of(self, browser_id: str) -> str:
        """The owner's key of a browser's id, the same after a restart. Raises NextGPTError for an id not like ours."""
        return self._database.owner_of(browser_id)

    # The list of talks

    def create(self, owner: str) -> str:
        """Begins a talk; returns its unguessable id. Raises LimitError for an owner with too many."""
        return self._create(owner, ())

    def talks(self, owner: str, search: str = "") -> list[TalkInfo]:
        """The owner's talks, the one last used first. ``search``: words that must all be found, each in the title or
        in a turn's text, captions or file names, whatever their case."""
        condition, values = "", []
        for word in fold(search).split()[:_SEARCH_WORDS]:
            condition += (
                " AND (instr(talks.folded, ?) OR EXISTS"
                " (SELECT 1 FROM turns WHERE turns.talk = talks.id AND instr(turns.words, ?)))"
            )
            values += [word, word]
        rows = self._database.rows(
            "SELECT *, (SELECT COUNT(*) FROM turns WHERE turns.talk = talks.id) AS turns FROM talks"
            f" WHERE owner = ?{condition} ORDER BY updated DESC, rowid DESC",
            owner,
            *values,
        )
        return [_info(row) for row in rows]

    def info(self, owner: str, talk_id: str) -> TalkInfo:
        """One line of the list. Raises NextGPTError for a talk that the owner does not have."""
        _check_id(talk_id, _NOT_HERE)
        rows = self._database.rows(
            "SELECT *, (SELECT COUNT(*) FROM turns WHERE turns.talk = talks.id) AS turns FROM talks"
            " WHERE id = ? AND owner = ?",
            talk_id,
            owner,
        )
        if not rows:
            raise NextGPTError(_NOT_HERE)
        return _info(rows[0])

    def rename(self, owner: str, talk_id: str, title: str) -> str:
        """Gives a title of at most 60 characters and returns it; an empty one brings back that of the first message."""
        title = clean_title(title)
        with self._talk(owner, talk_id) as connection:
            connection.execute(
                "UPDATE talks SET title = ?, folded = ?, named = ? WHERE id = ?",
                (title, fold(title), bool(title), talk_id),
            )
            retitle(connection, talk_id)
        return self.info(owner, talk_id).title

    def delete(self, owner: str, talk_id: str) -> None:
        """Removes a talk, with the media that no other one has. A reply being written to it is dropped."""
        with self._talk(owner, talk_id) as connection:
            connection.execute("DELETE FROM talks WHERE id = ?", (talk_id,))
            unused = self._library.drop_unused(connection)
        self._library.remove_files(unused)

    # What was said

    def load(self, owner: str, talk_id: str) -> Conversation:
        """The talk, media by the same sha256 as when they came. A medium that was cleaned away, or whose file is
        damaged, stands as words; an unfinished reply as a cancelled turn."""
        _check_id(talk_id, _NOT_HERE)
        rows = self._database.rows(
            "SELECT turns.* FROM turns JOIN talks ON talks.id = turns.talk WHERE talks.id = ? AND owner = ?"
            " ORDER BY position",
            talk_id,
            owner,
        )
        if not rows:
            self.info(owner, talk_id)
        return conversation_of(talk_id, rows, self._library.read)

    def notices(self, owner: str, talk_id: str) -> dict[int, tuple[str, ...]]:
        """Sentences that were shown with a reply without being part of it, by the turn's index."""
        self.info(owner, talk_id)
        rows = self._database.rows(
            "SELECT position, notices FROM turns WHERE talk = ? AND notices != '[]' ORDER BY position", talk_id
        )
        return {row["position"]: tuple(json.loads(row["notices"])) for row in rows}

    def append_turn(self, owner: str, talk_id: str, turn: Turn) -> int:
        """Stores a turn at the talk's end; returns its index. Raises LimitError where there is no room for its media,
        BusyError while a reply is being written; the talk is then unchanged."""
        return self.replace_from(owner, talk_id, None, [turn])

    def replace_from(
        self,
        owner: str,
        talk_id: str,
        turn_index: int | None,
        turns: Iterable[Turn] = (),
        notices: Mapping[int, Sequence[str]] | None = None,
    ) -> int:
        """Takes the turns from ``turn_index`` on out of the talk (None: none of them) and puts ``turns`` there, for
        edit, undo and retry, with the ``notices`` shown with them by their index; returns the talk's last index, -1
        for an empty one. Errors as in :meth:`append_turn`."""
        turns = list(turns)
        self.info(owner, talk_id)  # a stranger's media are not even encoded
        with self._library.batch(_media(turns)) as batch, self._talk(owner, talk_id) as connection:
            self._check_quiet(talk_id)
            there = count(connection, talk_id)
            if turn_index is not None and not 0 <= turn_index <= there:
                raise NextGPTError(NO_TURN)
            keep = there if turn_index is None else turn_index
            connection.execute("DELETE FROM turns WHERE talk = ? AND position >= ?", (talk_id, keep))
            for index, turn in enumerate(turns, keep):
                insert(connection, talk_id, record_of(turn), batch, (notices or {}).get(index, ()))
            retitle(connection, talk_id)
            touch(connection, talk_id)
            unused = self._library.drop_unused(connection)
        self._library.remove_files(unused)
        return keep + len(turns) - 1

    def change_turn(self, owner: str, talk_id: str, index: int, turn: Turn) -> None:
        """Puts ``turn`` in the place of the one at ``index``; its notices and its rating stay. Errors as in
        :meth:`append_turn`."""
        self.info(owner, talk_id)
        with self._library.batch(turn.media) as batch, self._talk(owner, talk_id) as connection:
            self._check_quiet(talk_id)
            key = key_of(connection, talk_id, index)
            if key is None:
                raise NextGPTError(NO_TURN)
            record = record_of(turn)
            connection.execute(
                "UPDATE turns SET cancelled = ?, parts = ?, words = ? WHERE key = ?",
                (record.cancelled, record.parts, record.words, key),
            )
            batch.use(connection, key, record.media)
            touch(connection, talk_id)

    def rate(self, owner: str, talk_id: str, index: int, liked: bool | None, reason: str = "") -> None:
        """What the owner thinks of the reply at ``index``, with a reason of at most 500 characters; None takes it back.

        Raises NextGPTError where there is no reply at this place.
        """
        with self._talk(owner, talk_id) as connection:
            key = key_of(connection, talk_id, index)
            if key is None:
                raise NextGPTError(NO_TURN)
            connection.execute("DELETE FROM ratings WHERE turn = ?", (key,))
            if liked is not None:
                connection.execute(
                    "INSERT INTO ratings (turn, liked, reason, at) VALUES (?, ?, ?, ?)",
                    (key, bool(liked), reason.strip()[:500], time.time()),
                )

    def ratings(self, owner: str, talk_id: str) -> dict[int, tuple[bool, str]]:
        """Index of a reply → whether it was liked, and why."""
        self.info(owner, talk_id)
        rows = self._database.rows(
            "SELECT (SELECT COUNT(*) FROM turns AS earlier WHERE earlier.talk = turns.talk AND earlier.position < "
            "turns.position) AS place, liked, reason FROM ratings JOIN turns ON turns.key = ratings.turn "
            "WHERE turns.talk = ?",
            talk_id,
        )
        return {row["place"]: (bool(row["liked"]), row["reason"]) for row in rows}

    def begin_reply(self, owner: str, talk_id: str, every: float = 0.25) -> ReplyWriter:
        """Adds the assistant's turn, as a cancelled one without words, and returns what writes it (see ReplyWriter).

        Raises NextGPTError where the last turn is not the user's, BusyError where another reply is being written.
        """
        with self._talk(owner, talk_id) as connection:
            self._check_quiet(talk_id)
            last = connection.execute(
                "SELECT role FROM turns WHERE talk = ? ORDER BY position DESC LIMIT 1", (talk_id,)
            ).fetchone()
            if last is None or last["role"] != "user":
                raise NextGPTError("There is no message to answer in this talk. Send one first.")
            key = insert(connection, talk_id, record_of(Turn("assistant", (), cancelled=True)))
            writer = ReplyWriter(
                lambda turn, notices, missing: self._write_reply(talk_id, key, turn, notices, missing),
                lambda: self._remove_reply(key),
                every,
            )
            self._writers[talk_id] = writer
        return writer

    # Media

    def media_path(self, owner: str, media_id: str) -> Path:
        """A file that browsers show, of the medium with this sha256. Raises NextGPTError where the owner has no talk
        with it, MediaError where its file is damaged."""
        return self._library.path("owner", owner, media_id, _NO_MEDIUM)

    def shared_media_path(self, token: str, media_id: str) -> Path:
        """As :meth:`media_path`, for those who have the link of a talk with it."""
        _check_id(token if self.sharing else None, _NO_LINK)
        return self._library.path("token", token, media_id, _NO_LINK)

    def media_bytes(self) -> int:
        """What all media take on the disk."""
        return self._library.bytes()

    def clean(self) -> Cleaned:
        """Keeps to the age and the quota: removes the media of the talks unused for longest, empty talks after a day,
        and files that belong to no talk. ``str()`` of the answer says what went. Talks being written are left alone."""
        busy = [talk_id for talk_id, writer in list(self._writers.items()) if writer.open]
        return self._library.clean(busy, self.quota_bytes, self.max_age_days)

    # Files and links

    def export_zip(self, owner: str, talk_id: str, path: str | Path) -> Path:
        """Writes the talk as one ZIP file that :meth:`import_zip` and Conversation.load read."""
        title = self.info(owner, talk_id).title
        return talk_export.write_zip(self.load(owner, talk_id), title, Path(path))

    def import_zip(self, owner: str, file: str | Path) -> str:
        """A talk from an exported file; returns its id. Raises MediaError for a file that is not one, LimitError for
        one that is too large."""
        conversation, title = talk_export.read_zip(Path(file))
        talk_id = self._create(owner, conversation.turns)
        if title:
            self.rename(owner, talk_id, title)
        return talk_id

    def export_html(
        self, owner: str, talk_id: str, language: str = "en", say: Mapping[str, str] = talk_page.ENGLISH
    ) -> str:
        """The talk as one page that needs nothing else (see :func:`talk_page.page`)."""
        title = self.info(owner, talk_id).title
        source = talk_page.within(lambda media_id: self.media_path(owner, media_id))
        return talk_page.page(self.load(owner, talk_id), title, source, language=language, say=say)

    def share(self, owner: str, talk_id: str) -> str:
        """The unguessable token of the talk's link, made at first. Raises NextGPTError where sharing is off."""
        if not self.sharing:
            raise NextGPTError("Sharing is switched off on this server. Export the talk and send the file instead.")
        with self._talk(owner, talk_id) as connection:
            connection.execute(
                "UPDATE talks SET token = ? WHERE id = ? AND token IS NULL", (secrets.token_urlsafe(24), talk_id)
            )
            return connection.execute("SELECT token FROM talks WHERE id = ?", (talk_id,)).fetchone()["token"]

    def unshare(self, owner: str, talk_id: str) -> None:
        """The link leads nowhere from now on, and never will again."""
        with self._talk(owner, talk_id) as connection:
            connection.execute("UPDATE talks SET token = NULL WHERE id = ?", (talk_id,))

    def shared(self, token: str) -> SharedTalk:
        """What is at a link. Raises NextGPTError for an unknown one, or where sharing is off."""
        _check_id(token if self.sharing else None, _NO_LINK)
        found = self._database.rows("SELECT id, owner, title FROM talks WHERE token = ?", token)
        if not found:
            raise NextGPTError(_NO_LINK)
        return SharedTalk(found[0]["title"], self.load(found[0]["owner"], found[0]["id"]))

    # Within

    @contextlib.contextmanager
    def _talk(self, owner: str, talk_id: str) -> Iterator[sqlite3.Connection]:
        """A transaction on a talk of the owner's."""
        _check_id(talk_id, _NOT_HERE)
        with self._database.transaction() as connection:
            if not connection.execute("SELECT 1 FROM talks WHERE id = ? AND owner = ?", (talk_id, owner)).fetchone():
                raise NextGPTError(_NOT_HERE)
            yield connection

    def _create(self, owner: str, turns: Collection[Turn]) -> str:
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"an owner is what owner_of() returns, not {owner!r}")
        talk_id, now = secrets.token_urlsafe(16), time.time()
        with self._library.batch(_media(turns)) as batch, self._database.transaction() as connection:
            (kept,) = connection.execute("SELECT COUNT(*) FROM talks WHERE owner = ?", (owner,)).fetchone()
            if kept >= self.talks_per_owner:
                raise LimitError(f"There are {kept} talks, the most that are kept for one browser. Delete old ones.")
            connection.execute(
                "INSERT INTO talks (id, owner, created, updated) VALUES (?, ?, ?, ?)", (talk_id, owner, now, now)
            )
            for turn in turns:
                insert(connection, talk_id, record_of(turn), batch)
            retitle(connection, talk_id)
        return talk_id

    def _check_quiet(self, talk_id: str) -> None:
        writer = self._writers.get(talk_id)
        if writer is not None and writer.open:
            raise BusyError("A reply is still being written in this talk. Wait for it, or press Stop.")

    def _write_reply(
        self, talk_id: str, key: int, turn: Turn, notices: tuple[str, ...], missing: Collection[str]
    ) -> bool:
        parts = [part for part in turn.media if part.media.sha256 not in missing]
        with self._library.batch(parts) as batch, self._database.transaction() as connection:
            record = record_of(turn, missing)
            there = connection.execute(
                "UPDATE turns SET cancelled = ?, parts = ?, words = ?, notices = ? WHERE key = ?",
                (record.cancelled, record.parts, record.words, json.dumps(notices), key),
            ).rowcount
            if there:
                batch.use(connection, key, record.media)
                touch(connection, talk_id)
            return bool(there)

    def _remove_reply(self, key: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM turns WHERE key = ?", (key,))
            unused = self._library.drop_unused(connection)
        self._library.remove_files(unused)


def _check_id(value: object, message: str) -> None:
    """Ids come from browsers: what cannot be one of ours does not reach the database."""
    if not isinstance(value, str) or not value.isascii():
        raise NextGPTError(message)


def _media(turns: Iterable[Turn]) -> list[MediaPart]:
    return [part for turn in turns for part in turn.media]


def _info(row: sqlite3.Row) -> TalkInfo:
    return TalkInfo(row["id"], row["title"], row["created"], row["updated"], row["turns"], row["token"])
