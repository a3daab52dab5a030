"""One thread loads the pipeline and makes every turn, one after the other: the model is never used twice at once.

A stop asked for by a user sets a flag that the pipeline looks at between tokens and denoising steps; the next turn
begins only when the stopped one has really ended.
"""

from __future__ import annotations

import contextvars
import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from ..config import GenerationSettings
from ..content import Event, Finished, MediaProgress, Notice
from ..conversation import Conversation
from ..errors import BusyError, NextGPTError

logger = logging.getLogger(__name__)

_REMEMBERED_TURNS = 20
_FAULT = "Something went wrong while the model was loaded; the server's log says more. Run the doctor command."


class Pipeline(Protocol):
    """What the runner needs of a pipeline. ``name``, ``summary``, ``licence`` (str), ``modalities`` and ``defaults``
    (the checkpoint's own settings) are used where they exist, and ``remake``, which makes one medium once more."""

    def stream(
        self,
        conv: Conversation,
        *,
        settings: GenerationSettings | None,
        seed: int | None,
        modalities: Any,
        cancel: threading.Event | None,
    ) -> Iterator[Event]: ...


@dataclass(frozen=True)
class Status:
    """What the runner does: ``phase`` is "loading", "ready" or "failed" (``message`` then says why)."""

    phase: str
    message: str = ""
    seconds: float = 0.0
    """Since loading began, until it ended."""


@dataclass(frozen=True)
class Waiting:
    """The turn has not begun: ``ahead`` others are before it; ``loading`` while the model is not there yet.
    ``seconds``: about how long it will wait, judged by the turns before; None where there were none."""

    ahead: int
    loading: bool
    seconds: float | None = None


@dataclass(frozen=True)
class Remake:
    """A medium (``part_id``) of a talk to be made once more, with these settings."""

    part_id: str
    settings: GenerationSettings
    seed: int


class Job:
    """One turn to make. :meth:`watch` is read by any number of threads; :meth:`cancel` may be called from any."""

    def __init__(
        self,
        runner: Runner,
        conversation: Conversation,
        settings: GenerationSettings | None,
        seed: int | None,
        modalities: Any,
        on_end: Callable[[Job], None],
        on_event: Callable[[Event], Event | None],
        remakes: Sequence[Remake] = (),
    ) -> None:
        self.remakes = tuple(remakes)
        """Media to make once more, one after the other; none: a reply is made."""
        self.conversation = conversation
        self.settings = settings
        self.seed = seed
        self.modalities = modalities
        self.turns = conversation.turns
        """The talk when the turn was queued; the last one is the user's."""
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self.started = False
        self.undone = False
        """Set when it ends: no reply came of it and the talk is as it was before."""
        self.error: BaseException | None = None
        self.context = contextvars.copy_context()
        """Of the request that asked for it: ZeroGPU charges whom that names."""
        self._runner = runner
        self._on_end = on_end
        self._on_event = on_event
        self._events: list[Event | None] = []
        self._over = False
        self._news = threading.Condition()

    def cancel(self) -> None:
        """Stops the turn: at once where it waits, else after the token or denoising step under way."""
        self.cancelled.set()
        self._runner.forget(self)

    def watch(self, tick: float = 0.2) -> Iterator[Event | Waiting | None]:
        """Waiting while it waits, then the pipeline's events from the first on; None after ``tick`` seconds without.

        Ends when the work has ended. Raises what the pipeline raised. The turn goes on when nobody watches it.
        """
        seen = 0
        while True:
            with self._news:
                self._news.wait_for(partial(self._more_than, seen), timeout=tick)
                fresh, over = self._events[seen:], self._over
            seen += len(fresh)
            yield from (event for event in fresh if event is not None)
            if not fresh:
                if over:
                    break
                yield None if self.started else self._runner.waiting(self)
        if self.error is not None:
            raise self.error

    def events(self, tick: float = 0.2) -> Iterator[Event | Waiting | None]:
        """As :meth:`watch`; closing this generator cancels the turn."""
        try:
            yield from self.watch(tick)
        finally:
            self.cancel()

    def _more_than(self, seen: int) -> bool:
        return len(self._events) > seen or self._over

    def put(self, event: Event) -> None:
        """Called by the runner: ``on_event`` first hears of it, then those who watch."""
        more = self._on_event(event)
        with self._news:
            last = self._events[-1] if self._events else None
            if isinstance(event, MediaProgress) and isinstance(last, MediaProgress) and last.id == event.id:
                self._events[-1] = None  # nobody needs an old step, and its preview takes room
            self._events += [event] if more is None else [event, more]
            self._news.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Called once, by the runner, when no more work is done for this turn."""
        self.error = error
        try:
            self._on_end(self)
        finally:
            self.ended.set()
            with self._news:
                self._over = True
                self._news.notify_all()


class Runner:
    """Owns the pipeline. ``load`` makes it, in the runner's thread, after :meth:`start`.

    ``capacity``: turns that may wait or run. ``turn_seconds``: a turn is stopped after so long.
    """

    def __init__(self, load: Callable[[], Any], capacity: int = 16, turn_seconds: float = 900.0) -> None:
        self.pipeline: Any = None
        self._load = load
        self._capacity = capacity
        self._turn_seconds = turn_seconds
        self._jobs: deque[Job] = deque()
        self._current: Job | None = None
        self._current_began = 0.0
        self._took: deque[float] = deque(maxlen=_REMEMBERED_TURNS)
        self._change = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._began = time.monotonic()
        self._loaded_after: float | None = None
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    @property
    def status(self) -> Status:
        seconds = self._loaded_after if self._loaded_after is not None else time.monotonic() - self._began
        if self._failure is not None:
            known = isinstance(self._failure, NextGPTError)
            return Status("failed", str(self._failure) if known else _FAULT, seconds)
        return Status("loading" if self.pipeline is None else "ready", "", seconds)

    def submit(
        self,
        conversation: Conversation,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        modalities: Any = None,
        on_end: Callable[[Job], None] = lambda job: None,
        on_event: Callable[[Event], Event | None] = lambda event: None,
        remakes: Sequence[Remake] = (),
    ) -> Job:
        """Queues a turn, or media to be made once more (``remakes``). Raises BusyError when too many wait.
        ``on_end`` runs in the runner's or the caller's thread, before those who watch hear of the end; ``on_event`` in
        the runner's, before they see the event, and may return one to follow it."""
        job = Job(self, conversation, settings, seed, modalities, on_end, on_event, remakes)
        with self._change:
            self.check_room()
            self._jobs.append(job)
            self._change.notify_all()
        return job

    def tell(
        self,
        conversation: Conversation,
        events: Iterable[Event],
        on_end: Callable[[Job], None] = lambda job: None,
        on_event: Callable[[Event], Event | None] = lambda event: None,
    ) -> Job:
        """A turn that needs no pipeline: ``events`` are told at once, in the caller's thread, and the job has ended."""
        job = Job(self, conversation, None, None, None, on_end, on_event)
        job.started = True
        for event in events:
            job.put(event)
        job.end()
        return job

    def check_room(self) -> None:
        """Raises BusyError when no further turn may be queued."""
        if self._closed:
            raise BusyError("The server is shutting down. Try again in a minute.")
        if len(self._jobs) + (self._current is not None) >= self._capacity:
            seconds = self._seconds_before(len(self._jobs))
            when = "soon" if seconds is None else f"in about {max(1, round(seconds))} s"
            raise BusyError(f"The server is busy: {self._capacity} replies are under way or waiting. Try again {when}.")

    def _seconds_before(self, queued: int) -> float | None:
        """About how long until the running turn and ``queued`` more are made."""
        if not self._took or self.pipeline is None:
            return None
        typical = statistics.median(self._took)
        running = 0.0 if self._current is None else max(0.0, typical - (time.monotonic() - self._current_began))
        return running + queued * typical

    def waiting(self, job: Job) -> Waiting:
        with self._change:
            ahead = list(self._jobs).index(job) if job in self._jobs else 0
            running = self._current is not None
            return Waiting(ahead + running, self.pipeline is None, self._seconds_before(ahead))

    def forget(self, job: Job) -> None:
        """Takes a cancelled turn out of the queue, if it has not begun."""
        with self._change:
            if job not in self._jobs:
                return
            self._jobs.remove(job)
        job.end()

    def close(self) -> None:
        """Stops the running turn, drops the waiting ones and ends the thread (within one denoising step)."""
        with self._change:
            self._closed = True
            jobs = [*self._jobs, *filter(None, [self._current])]
            self._change.notify_all()
        for job in jobs:
            job.cancel()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            self.pipeline = self._load()
        except BaseException as error:  # the page must say so, whatever it was
            self._failure = error
            if isinstance(error, NextGPTError):
                logger.error("The model could not be loaded: %s", error)
            else:
                logger.exception("The model could not be loaded")
        self._loaded_after = time.monotonic() - self._began
        while True:
            with self._change:
                self._change.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._current = self._jobs.popleft()
                self._current_began = time.monotonic()
            error: BaseException | None = None
            try:
                job.context.run(self._make, job)
            except BaseException as raised:  # one turn's failure must not end the thread
                error = raised
            with self._change:
                self._current = None
                if error is None:
                    self._took.append(time.monotonic() - self._current_began)
            try:
                job.end(error)
            except Exception:
                logger.exception("Tidying up after a turn failed")

    def _make(self, job: Job) -> None:
        if self._failure is not None:
            raise self._failure if isinstance(self._failure, NextGPTError) else NextGPTError(_FAULT)
        if job.cancelled.is_set():
            return
        job.started = True
        began = time.monotonic()
        late = False
        # The stream is always read to its end, also after a cancel: only then has the pipeline tidied up.
        for event in self._events_of(job):
            job.put(event)
            if not late and not isinstance(event, Finished) and time.monotonic() - began > self._turn_seconds:
                late = True
                job.put(Notice(f"This reply was stopped after {self._turn_seconds:g} seconds, the longest allowed."))
                job.cancelled.set()

    def _events_of(self, job: Job) -> Iterator[Event]:
        if not job.remakes:
            given = {"settings": job.settings, "seed": job.seed, "modalities": job.modalities}
            yield from self.pipeline.stream(job.conversation, cancel=job.cancelled, **given)
        for one in job.remakes:
            if job.cancelled.is_set():
                return
            given = {"settings": one.settings, "seed": one.seed}
            yield from self.pipeline.remake(job.conversation, one.part_id, cancel=job.cancelled, **given)
