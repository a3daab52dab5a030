"""A talk in memory: the conversation, its media files, and the turn that is being made."""

from __future__ import annotations

import logging
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from ..content import MediaPart
from ..conversation import Conversation
from ..errors import NextGPTError
from ..media import Limits
from .media_files import MediaFiles

if TYPE_CHECKING:
    from .runner import Job
    from .talk_reply import ReplyWriter

logger = logging.getLogger(__name__)


class OpenTalk:
    """One talk, shared by all sessions that have it open. ``owner`` None: it is not kept, and goes with its session.

    ``id`` names it in the store, from its first message on. ``shown`` is a place where a page keeps what it has
    rendered, turn by turn. By the turn's index: ``notices`` are sentences shown with a stored reply, ``ratings`` what
    the user thinks of it. ``unkept`` holds the sha256 of media that the store had no room for: they are shown from
    ``files`` as long as the talk is open.
    """

    def __init__(self, root: Path, limits: Limits, owner: str | None = None) -> None:
        self.owner = owner
        self.id: str | None = None
        self.conversation = Conversation(limits=limits)
        self.files = MediaFiles(root)
        self.unkept: set[str] = set()
        self.notices: dict[int, tuple[str, ...]] = {}
        self.ratings: dict[int, tuple[bool, str]] = {}
        self.shown: list = []
        self.job: Job | None = None
        self.writer: ReplyWriter | None = None
        self.reserved = False
        self.stop_asked = False  # while it is reserved: no job is there yet
        self.closed = False
        self.lock = threading.RLock()
        weakref.finalize(self, self.files.remove)

    @property
    def busy(self) -> bool:
        return self.reserved or self.job is not None

    @property
    def kept(self) -> bool:
        """Whether it is in the store."""
        return self.id is not None

    def shows(self, owner: str | None, talk_id: str) -> bool:
        """Whether it is this talk of this owner's, and still open."""
        return not self.closed and self.owner == owner is not None and self.id == talk_id

    def stores(self, part: MediaPart) -> bool:
        """Whether this medium is found in the store, else only in ``files``."""
        return self.kept and part.media.sha256 not in self.unkept

    def flush(self) -> None:
        """Stores what came of the reply so far: to be called before it is shown, so that a crash loses none of it."""
        writer = self.writer
        if writer is None:
            return
        try:
            writer.flush()
        except NextGPTError as error:
            logger.warning("A reply could not be stored yet: %s", error)

    def close(self) -> None:
        """Stops the running turn and deletes the files as soon as nothing writes them any more."""
        with self.lock:
            self.closed = True
            if self.job is not None:
                self.job.cancel()
            elif not self.reserved:
                self.files.remove()
