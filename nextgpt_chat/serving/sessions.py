"""Sessions: one user's talk on the server, found by a random id."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import GenerationSettings
from ..conversation import Conversation
from ..media import Limits
from .media_files import MediaFiles

if TYPE_CHECKING:
    from .runner import Job


class Session:
    """One talk: the conversation, the user's settings, the files shown, and the turn that is being made (``job``).

    ``shown`` is a place where a page keeps what it has rendered, turn by turn; this module does not look into it.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.id = secrets.token_urlsafe(24)
        self.conversation = Conversation(limits=limits)
        self.settings = GenerationSettings()
        self.modalities: frozenset[str] | None = None  # None: the model decides
        self.files = MediaFiles(root)
        self.job: Job | None = None
        self.reserved = False
        self.closed = False
        self.shown: list = []
        self.lock = threading.RLock()

    @property
    def busy(self) -> bool:
        return self.reserved or self.job is not None

    def close(self) -> None:
        """Stops the running turn and deletes the session's files as soon as nothing writes them any more."""
        with self.lock:
            self.closed = True
            if self.job is not None:
                self.job.cancel()
            elif not self.reserved:
                self.files.remove()


class SessionStore:
    """Sessions by id, at most ``capacity``: the one unused for longest is closed first (running ones stay)."""

    def __init__(self, root: Path, limits: Limits, capacity: int = 1000) -> None:
        self.root = root
        self.limits = limits
        self.capacity = capacity
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self) -> Session:
        session = Session(self.root, self.limits)
        with self._lock:
            self._sessions[session.id] = session
            excess = len(self._sessions) - self.capacity
            idle = [other for other in self._sessions.values() if other is not session and not other.busy]
            dropped = idle[: max(0, excess)]
            for other in dropped:
                del self._sessions[other.id]
        for other in dropped:
            other.close()
        return session

    def get(self, session_id: str | None) -> Session | None:
        """The session, or None for an id that is unknown (never given out, or closed since)."""
        with self._lock:
            session = self._sessions.get(session_id or "")
            if session is not None:
                self._sessions.move_to_end(session.id)
            return session

    def close(self, session_id: str | None) -> None:
        """Forgets the session and frees what it holds; unknown ids are no error."""
        with self._lock:
            session = self._sessions.pop(session_id or "", None)
        if session is not None:
            session.close()

    def close_all(self) -> None:
        for session_id in list(self._sessions):
            self.close(session_id)
