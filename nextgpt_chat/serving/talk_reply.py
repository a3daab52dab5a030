"""Writing a reply down while it streams, so that a crash loses nothing of it that was shown."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from ..content import Event, Failed, Finished, MediaReady, MediaStarted, Notice, Part, TextDelta, TextPart, Turn
from ..errors import LimitError, NextGPTError

logger = logging.getLogger(__name__)

Write = Callable[[Turn, tuple[str, ...], Collection[str]], bool]
"""Stores (turn, notices, sha256 of media to leave out); whether the talk still has this reply. LimitError for media
that there is no room for."""


class ReplyWriter:
    """Takes the pipeline's events. Words are stored ``every`` so many seconds, everything else at once.

    Until ``Finished`` the reply stands as a cancelled turn. A page that calls :meth:`flush` before it shows words
    never shows any that a crash could lose. For any thread; as a context manager it ends the reply in any case.
    """

    def __init__(self, write: Write, remove: Callable[[], None], every: float = 0.25) -> None:
        self._write, self._remove, self._every = write, remove, every
        self._parts: list[Part] = []
        self._notices: list[str] = []
        self._missing: set[str] = set()
        self._cancelled = True
        self._dirty = False
        self._timer: threading.Timer | None = None
        self._stored_at = float("-inf")
        self._lock = threading.RLock()
        self.open = True
        """Whether more may come: not after Finished, :meth:`stop`, :meth:`abandon`, or the talk's deletion."""

    def feed(self, event: Event) -> bool:
        """Takes an event; returns whether all that came so far is stored. Events after the end are ignored.

        Raises LimitError once for a medium that there is no room for: the reply is stored without it and goes on.
        Raises NextGPTError where the database cannot be written.
        """
        with self._lock:
            if not self.open:
                return True
            if isinstance(event, TextDelta):
                last = self._parts[-1] if self._parts else None
                if isinstance(last, TextPart):
                    self._parts[-1] = TextPart(last.text + event.text)
                else:
                    self._parts.append(TextPart(event.text))
                self._dirty = True
                if time.monotonic() - self._stored_at >= self._every:
                    self._store()
                elif self._timer is None:  # words are stored even if nothing follows for long
                    self._timer = threading.Timer(self._every, self._late)
                    self._timer.daemon = True
                    self._timer.start()
            elif isinstance(event, MediaReady):
                self._parts.append(event.part)
                self._store(changed=True)
            elif isinstance(event, (Notice, Failed)):
                self._notices.append(event.message)
                self._store(changed=True)
            elif isinstance(event, MediaStarted):
                self._store()
            elif isinstance(event, Finished):
                self._parts = list(event.reply.parts)
                self._notices += [notice for notice in event.reply.notices if notice not in self._notices]
                self._cancelled = event.reply.cancelled
                try:
                    self._store(changed=True)
                finally:
                    self.open = False
            return not self._dirty

    def flush(self) -> None:
        """Stores what came so far, now."""
        with self._lock:
            self._store()

    def stop(self) -> None:
        """Ends the reply as a cancelled turn with what came so far; nothing where it has ended."""
        with self._lock:
            try:
                if self.open:
                    self._store()
            finally:
                self.open = False

    def abandon(self) -> None:
        """Takes the reply out of the talk, where it has not ended."""
        with self._lock:
            if self.open:
                self.open = self._dirty = False
                self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _store(self, changed: bool = False) -> None:
        self._dirty |= changed
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.open or not self._dirty:
            return
        turn = Turn("assistant", tuple(self._parts), self._cancelled)
        trouble = None
        try:
            there = self._write(turn, tuple(self._notices), self._missing)
        except LimitError as error:
            fresh = {part.media.sha256 for part in turn.media} - self._missing
            if not fresh:
                raise
            trouble = error
            self._missing |= self._unstorable(turn, fresh)
            there = self._write(turn, tuple(self._notices), self._missing)
        self._dirty = False
        self._stored_at = time.monotonic()
        if not there:
            self.open = False
        if trouble is not None:
            raise trouble

    def _unstorable(self, turn: Turn, candidates: set[str]) -> set[str]:
        """Which media must be left out: each one is tried with those before it."""
        left_out = set(candidates)
        for digest in [part.media.sha256 for part in turn.media if part.media.sha256 in candidates]:
            try:
                self._write(turn, tuple(self._notices), self._missing | (left_out - {digest}))
                left_out.discard(digest)
            except LimitError:
                continue
        return left_out

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            try:
                self._store()
            except NextGPTError as error:  # the next event tells the caller
                logger.warning("A reply could not be stored yet: %s", error)
