"""Runs a decoder in a thread of its own, so that its progress can be handed on between denoising steps."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import PIL.Image
from torch import Tensor

from ..content import Media, MediaProgress

logger = logging.getLogger(__name__)

PREVIEW_EVERY = 3  # steps
PREVIEW_SHARE = 0.25  # of the time of a medium may go into its previews


class Renderer:
    """One worker thread, kept from medium to medium: each new thread would set up its own pool of kernels' threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="decoder")

    def render(
        self,
        ident: str,
        decoder: Any,
        conditioning: Tensor,
        options: Mapping[str, Any],
        should_stop: Callable[[], bool],
        previews: bool,
    ) -> Generator[MediaProgress, None, Media]:
        """Yields progress, returns the medium. ``options``: further arguments of ``decoder.decode``.

        Raises what the decoder raises (``Cancelled`` among it). Closing this generator stops the decoder and waits for
        it: no work goes on behind the caller's back.
        """
        events: queue.SimpleQueue[MediaProgress | None] = queue.SimpleQueue()
        closed = threading.Event()
        preview = _Previews(decoder.preview) if previews else None

        def on_step(step: int, steps: int, latents: Tensor) -> None:
            picture = preview.of(step, steps, latents) if preview else None
            events.put(MediaProgress(ident, step, steps, picture))

        def work() -> Media:
            try:
                return decoder.decode(
                    conditioning,
                    on_step=on_step,
                    should_stop=lambda: closed.is_set() or should_stop(),
                    **options,
                )
            finally:
                events.put(None)

        future = self._pool.submit(work)
        try:
            while (event := events.get()) is not None:
                yield event
            return future.result()
        finally:
            closed.set()
            wait([future])


class _Previews:
    """Every third step, as long as previews stay a small share of the work (for pictures one costs about a step)."""

    def __init__(self, make: Callable[[Tensor], PIL.Image.Image | None]) -> None:
        self._make: Callable[[Tensor], PIL.Image.Image | None] | None = make
        self._began = time.perf_counter()
        self._spent = self._last = 0.0

    def of(self, step: int, steps: int, latents: Tensor) -> PIL.Image.Image | None:
        if self._make is None or step % PREVIEW_EVERY or step == steps:
            return None
        began = time.perf_counter()
        if self._spent + self._last > PREVIEW_SHARE * (began - self._began):
            return None
        try:
            return self._make(latents)
        except Exception:  # a medium must not fail for want of its preview
            logger.exception("A preview could not be made")
            self._make = None
            return None
        finally:
            self._last = time.perf_counter() - began
            self._spent += self._last
