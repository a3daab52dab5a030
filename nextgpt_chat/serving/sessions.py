"""Sessions: what one page (a tab of a browser) has open and how it is set, found by a random id."""

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
from .open_talk import OpenTalk

if TYPE_CHECKING:
    from .runner import Job


class Session:
    """An open talk and the user's settings. ``owner``: whose talks it may open; None where none are kept.

    ``attached``: files of media that go into a message, perhaps one of another talk. ``search``: words that the list
    of talks is to have, as the page was asked. ``language``: tag of the one that the browser asks for. ``asked``: id of
    the talk that was last to be opened; ``opening`` is held while the first one is. ``watched``: the reply in the
    making that the page shows.
    """

    def __init__(self, talk: OpenTalk, root: Path) -> None:
        self.id = secrets.token_urlsafe(24)
        self.owner = talk.owner
        self.talk = talk
        self.attached = MediaFiles(root)
        self.settings = GenerationSettings()
        self.modalities: frozenset[str] | None = None  # None: the model decides
        self.search = ""
        self.language = "en"
        self.asked = ""
        self.opening = threading.Lock()
        self.watched: Job | None = None
        self.closed = False
        self.lock = threading.RLock()

    @property
    def conversation(self) -> Conversation:
        return self.talk.conversation

    @property
    def files(self) -> MediaFiles:
        return self.talk.files

    @property
    def job(self) -> Job | None:
        return self.talk.job

    @property
    def busy(self) -> bool:
        return self.talk.busy

    def show(self, talk: OpenTalk) -> None:
        """Opens another talk. One that is not kept could not be opened again: it ends here."""
        with self.lock:
            left, self.talk = self.talk, talk
        if left is not talk and left.owner is None:
            left.close()

    def close(self) -> None:
        """Ends it. A talk that is kept stays, and a reply that is being made in it is made to its end."""
        self.closed = True
        self.attached.remove()
        if self.owner is None:
            self.talk.close()


class SessionStore:
    """Sessions by id, at most ``capacity``: the one unused for longest is closed first (running ones stay).

    ``root``: folder for the files of talks that are not kept, and for what is attached.
    """

    def __init__(self, root: Path, limits: Limits, capacity: int = 1000) -> None:
        self.root = root
        self.limits = limits
        self.capacity = capacity
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def new_talk(self, owner: str | None = None) -> OpenTalk:
        """An empty talk that no session shows yet."""
        return OpenTalk(self.root, self.limits, owner)

    def create(self, owner: str | None = None) -> Session:
        session = Session(self.new_talk(owner), self.root)
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
