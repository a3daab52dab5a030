"""The clean-up of stored media: once at the start, then every hour, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .talk_library import Cleaned

logger = logging.getLogger(__name__)

HOUR = 3600.0


class Cleaner:
    """Calls ``clean`` at once and ``every`` so many seconds, from :meth:`start` to :meth:`close`."""

    def __init__(self, clean: Callable[[], Cleaned], every: float = HOUR) -> None:
        self._clean, self._every = clean, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clean-up", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, after the clean-up under way."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                cleaned = self._clean()
                if cleaned.something:
                    logger.info("%s", cleaned)
            except Exception:  # the next one may do better
                logger.exception("The clean-up of stored media failed")
            self._over.wait(self._every)
