"""Hugging Face's ZeroGPU: a GPU is lent for single calls, each made in a forked process. Elsewhere nothing here acts.

One call makes one reply, or one medium once more. Arguments and results are pickled, and what a call changes in memory
is lost: so the conversation is completed here, in the main process, from the events that come out.

Tried with a stand-in for the package ``spaces`` and with its source at hand (0.51), never on ZeroGPU itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..config import GenerationSettings
from ..content import Event, Failed, Finished, MediaReady, MediaStarted, Notice, Part, Reply, TextDelta, TextPart, Turn
from ..conversation import Conversation
from ..errors import BusyError, NextGPTError
from ..pipeline import NextGPTPipeline, random_seed
from .gpu_seconds import reply_seconds


@dataclass(frozen=True)
class _Wish:
    """What one call shall make: a reply, or (``part_id``) one medium once more."""

    turns: tuple[Turn, ...]
    settings: GenerationSettings
    seed: int
    modalities: Collection[str] | None = None
    part_id: str | None = None
    previews: bool = True

    def begin(self, pipeline: NextGPTPipeline) -> Generator[Event, None, None]:
        """Refuses at once what cannot be made; nothing is made before the first event is asked for."""
        conv, given = Conversation(self.turns), {"seed": self.seed, "previews": self.previews}
        if self.part_id is not None:
            return pipeline.remake(conv, self.part_id, self.settings, **given)
        return pipeline.stream(conv, self.settings, modalities=self.modalities, **given)

    def seconds(self, made: Collection[str]) -> int:
        """``made``: what the checkpoint makes where it decides itself."""
        media = [part for turn in self.turns for part in turn.media]
        again = [part.kind for part in media if part.id == self.part_id]
        return reply_seconds(self.settings, again or self.modalities or made, len(media))


@dataclass(frozen=True)
class _Refused:
    """An error of ours on its way out of the other process, of which else only its class's name would come."""

    error: NextGPTError


class ZeroGPUPipeline:
    """Stands in for a pipeline whose parts are on ZeroGPU's pretended device. One reply at a time.

    ``gpu``: the decorator ``spaces.GPU``. Everything else is the pipeline's own.
    """

    def __init__(self, pipeline: NextGPTPipeline, gpu: Callable[..., Any]) -> None:
        self._pipeline = pipeline

        def make(wish: _Wish) -> Iterator[Event | _Refused]:
            try:
                yield from wish.begin(pipeline)
            except NextGPTError as error:
                yield _Refused(error)

        self._make = gpu(make, duration=lambda wish: wish.seconds(pipeline.modalities))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def stream(
        self,
        conv: Conversation,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        modalities: Collection[str] | None = None,
        cancel: threading.Event | None = None,
        *,
        previews: bool = True,
    ) -> Iterator[Event]:
        """As the pipeline's own. Raises what it raises, and BusyError with ZeroGPU's own words where it lends no GPU,
        or takes it back."""
        names = {modalities} if isinstance(modalities, str) else modalities
        return self._start(self._wish(conv, settings, seed, modalities=names, previews=previews), cancel, conv)

    def remake(
        self,
        conv: Conversation,
        part_id: str,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        cancel: threading.Event | None = None,
        *,
        previews: bool = True,
    ) -> Iterator[Event]:
        """As the pipeline's own; raises as ``stream`` does."""
        return self._start(self._wish(conv, settings, seed, part_id=part_id, previews=previews), cancel, None)

    def _wish(self, conv: Conversation, settings: GenerationSettings | None, seed: int | None, **further: Any) -> _Wish:
        settings = (settings or GenerationSettings()).resolved(self._pipeline.defaults)
        seed = seed if seed is not None else settings.seed
        return _Wish(conv.turns, settings, random_seed() if seed is None else seed, **further)

    def _start(self, wish: _Wish, cancel: threading.Event | None, conv: Conversation | None) -> Iterator[Event]:
        wish.begin(self._pipeline).close()  # what cannot be made is refused before a GPU is asked for
        return self._events(wish, cancel or threading.Event(), conv)

    def _events(self, wish: _Wish, cancel: threading.Event, conv: Conversation | None) -> Iterator[Event]:
        """``conv`` gets the reply."""
        told: list[Event] = []
        reply = None
        try:
            if not cancel.is_set():
                with _lent(self._make(wish)) as events:
                    for event in events:
                        if isinstance(event, _Refused):
                            raise event.error
                        if isinstance(event, Finished):
                            reply = event.reply
                            continue
                        told.append(event)
                        yield event
                        if cancel.is_set():  # leaving closes the call, which ends its work
                            break
        except GeneratorExit:
            if conv is not None:
                conv.add_assistant(_so_far(told, wish.seed).parts, cancelled=True)
            raise
        reply = reply or _so_far(told, wish.seed)
        if conv is not None:
            conv.add_assistant(reply.parts, cancelled=reply.cancelled)
        yield Finished(reply)


@contextmanager
def _lent(call: Generator[Any, None, None]) -> Iterator[Generator[Any, None, None]]:
    """A call's events; it is closed at the end. ZeroGPU's own errors become one of ours."""
    try:
        with closing(call):
            yield call
    except gr.Error as error:
        title = getattr(error, "title", "") or "ZeroGPU"
        said = str(error.message).strip().rstrip(".")
        raise BusyError(f"{title}: {said}. Try again later, or ask for fewer steps or frames.") from error


def _so_far(told: Sequence[Event], seed: int) -> Reply:
    """The reply that was cancelled after these events."""
    parts: list[Part] = []
    words = ""
    for event in told:
        if isinstance(event, TextDelta):
            words += event.text
        elif isinstance(event, (MediaStarted, MediaReady)):
            parts += _text(words)
            words = ""
            parts += [event.part] if isinstance(event, MediaReady) else []
    notices = tuple(event.message for event in told if isinstance(event, (Notice, Failed)))
    return Reply(tuple(parts + _text(words)), seed, {}, True, notices)


def _text(words: str) -> list[Part]:
    return [TextPart(words.strip())] if words.strip() else []
