"""Who may act when: one action at a time in a talk, and one running turn of an owner in all talks together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ..errors import BusyError, NextGPTError
from .open_talk import OpenTalk

_STOP_SECONDS = 30.0  # a denoising step is far shorter


class TurnTaking:
    """Keeps count of what is under way in talks, whichever sessions show them."""

    def __init__(self) -> None:
        self._running: dict[str, OpenTalk] = {}  # by owner
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reserved(self, talk: OpenTalk) -> Iterator[None]:
        """Keeps every other action out while files are decoded or turns are moved. Raises BusyError where one is under
        way, NextGPTError for a deleted talk."""
        with talk.lock:
            if talk.busy:
                raise BusyError("A reply is still being made in this talk. Wait for it, or press Stop.")
            if talk.closed:
                raise NextGPTError("This talk was deleted. Choose another one from the list, or start a new one.")
            talk.reserved = True
        try:
            yield
        finally:
            with talk.lock:
                talk.reserved = talk.stop_asked = False
                if talk.closed and talk.job is None:
                    talk.files.remove()

    @contextlib.contextmanager
    def turn(self, talk: OpenTalk) -> Iterator[None]:
        """Reserves the talk, and the one running turn that its owner may have; a queued job goes on having it, until
        :meth:`ending`."""
        with self.reserved(talk):
            if talk.owner is not None:
                with self._lock:
                    if talk.owner in self._running:
                        raise BusyError(
                            "A reply is still being made in another one of your talks. Wait for it, or open that talk "
                            "and press Stop."
                        )
                    self._running[talk.owner] = talk
            try:
                yield
            finally:
                if talk.job is None:
                    self._rest(talk)

    @contextlib.contextmanager
    def ending(self, talk: OpenTalk) -> Iterator[None]:
        """The talk's job has ended: others may act when what is left to do for it is done, or has failed."""
        with talk.lock:
            try:
                yield
            finally:
                talk.job = None
                self._rest(talk)
                if talk.closed:
                    talk.files.remove()

    def stop(self, talk: OpenTalk) -> bool:
        """Asks the running turn to stop, or the one whose files are still being read; returns whether there was one."""
        with talk.lock:
            job = talk.job
            talk.stop_asked = job is None and talk.reserved
            asked = talk.stop_asked
        if job is not None:
            job.cancel()
        return asked or job is not None

    def stop_and_wait(self, talk: OpenTalk) -> None:
        """Stops a running turn and waits until it has stopped."""
        job = talk.job
        if job is not None:
            job.cancel()
            job.ended.wait(timeout=_STOP_SECONDS)

    def _rest(self, talk: OpenTalk) -> None:
        with self._lock:
            if talk.owner is not None and self._running.get(talk.owner) is talk:
                del self._running[talk.owner]
