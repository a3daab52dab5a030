"""What a user may do with a talk: send, retry, undo, clear, stop, change settings. One running turn per session."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import GenerationSettings
from ..content import MODALITIES, TextPart, Turn
from ..errors import BusyError, LimitError, NextGPTError
from ..media import Limits
from .runner import Job, Runner
from .sessions import Session, SessionStore

_MEDIA = Limits(clip_side=256, clip_bytes=96_000_000)
"""Clips are kept smaller than by default: many talks share one server's memory."""


@dataclass(frozen=True)
class ServiceLimits:
    """Caps for one turn and one talk; larger ones raise LimitError. ``media`` are those of each file."""

    media: Limits = _MEDIA
    files_per_turn: int = 10
    characters: int = 20_000
    turns: int = 400
    sessions: int = 1000


class ChatService:
    """All talks of one server. ``root``: folder for the files shown to browsers."""

    def __init__(self, runner: Runner, root: Path, limits: ServiceLimits | None = None) -> None:
        self.runner = runner
        self.limits = limits or ServiceLimits()
        self.sessions = SessionStore(root, self.limits.media, self.limits.sessions)

    def session(self, session_id: str | None) -> Session:
        """The session of this id, or a new one where there is none (any more)."""
        return self.sessions.get(session_id) or self.sessions.create()

    def send(self, session: Session, text: str, files: Sequence[str | os.PathLike] = ()) -> Job:
        """Adds the user's turn and queues the reply.

        Raises NextGPTError (MediaError, LimitError, BusyError) with the talk unchanged. If the reply fails, or is
        stopped before it began, the user's turn is taken out again: see :meth:`Job.events` for the error.
        """
        with self._reserved(session):
            self._check(session, text, files)
            self.runner.check_room()
            before = session.conversation.turns
            session.conversation.add_user(text, list(files))
            return self._submit(session, session.settings.seed, before)

    def retry(self, session: Session) -> Job:
        """Makes the last reply again, with another seed. Raises NextGPTError where there is nothing to make again."""
        with self._reserved(session):
            self.runner.check_room()
            before = session.conversation.turns
            turn = session.conversation.undo()
            if turn is None:
                raise NextGPTError("There is no reply to make again. Send a message first.")
            session.conversation.append(turn)
            return self._submit(session, secrets.randbelow(2**31), before)

    def undo(self, session: Session) -> Turn | None:
        """Takes back the last message and its reply; returns the user's turn. Raises BusyError while one is made."""
        with self._reserved(session):
            return session.conversation.undo()

    def clear(self, session: Session) -> None:
        """Empties the talk and deletes its files. A running turn is stopped and waited for (one denoising step)."""
        job = session.job
        if job is not None:
            job.cancel()
            job.ended.wait(timeout=30)
        with self._reserved(session):
            session.conversation.clear()
            session.shown.clear()
            session.files.remove()

    def stop(self, session: Session) -> bool:
        """Asks the running turn to stop; returns whether there was one."""
        job = session.job
        if job is not None:
            job.cancel()
        return job is not None

    def set(self, session: Session, path: str, value: Any) -> None:
        """Changes one setting by its path (``image.steps``); None means the checkpoint's own default.

        Raises LimitError for a value out of range, ValueError for an unknown path.
        """
        with session.lock:
            session.settings = session.settings.with_value(path, value)

    def set_modalities(self, session: Session, modalities: Iterable[str] | None) -> None:
        """What the next replies are made of; None lets the model decide. Raises ValueError for an unknown one."""
        chosen = None if modalities is None else frozenset(modalities)
        if chosen is not None and not chosen <= set(MODALITIES):
            raise ValueError(f"modalities are {sorted(chosen)}; they must be of {', '.join(MODALITIES)}")
        session.modalities = chosen

    def reset_settings(self, session: Session) -> None:
        with session.lock:
            session.settings = GenerationSettings()
            session.modalities = None

    def close(self) -> None:
        """Stops all work and deletes all sessions' files."""
        self.sessions.close_all()
        self.runner.close()

    @contextlib.contextmanager
    def _reserved(self, session: Session) -> Iterator[None]:
        """Keeps every other action out while files are decoded or turns are moved."""
        with session.lock:
            if session.busy:
                raise BusyError("A reply is still being made in this talk. Wait for it, or press Stop.")
            session.reserved = True
        try:
            yield
        finally:
            with session.lock:
                session.reserved = False
                if session.closed and session.job is None:
                    session.files.remove()

    def _check(self, session: Session, text: str, files: Sequence[Any]) -> None:
        if len(text) > self.limits.characters:
            raise LimitError(
                f"The message has {len(text)} characters; at most {self.limits.characters} are taken. Shorten it."
            )
        if len(files) > self.limits.files_per_turn:
            raise LimitError(
                f"{len(files)} files are attached; a message may have at most {self.limits.files_per_turn}. "
                "Send the others with the next message."
            )
        if len(session.conversation) >= self.limits.turns:
            raise LimitError(f"This talk has {len(session.conversation)} turns, the most it may have. Clear it.")

    def _submit(self, session: Session, seed: int | None, before: tuple[Turn, ...]) -> Job:
        """Queues the reply; the talk is put back to ``before`` where none comes of it."""

        def ended(job: Job) -> None:
            with session.lock:
                turns = session.conversation.turns
                job.undone = not turns or turns[-1].role == "user"
                if job.undone:
                    _restore(session, before)
                session.job = None
                if session.closed:
                    session.files.remove()

        with session.lock:  # ``ended`` waits for it, however quick the runner is
            try:
                session.job = self.runner.submit(
                    session.conversation, session.settings, seed, session.modalities, ended
                )
            except NextGPTError:
                _restore(session, before)
                raise
            return session.job


def _restore(session: Session, turns: tuple[Turn, ...]) -> None:
    session.conversation.clear()
    for turn in turns:
        session.conversation.append(turn)


def words_of(turn: Turn) -> str:
    """The user's own words in a turn, for giving them back."""
    return "\n".join(part.text for part in turn.parts if isinstance(part, TextPart))
