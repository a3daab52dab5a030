"""Hugging Face's ZeroGPU: a GPU is lent for single calls, each made in a forked process. Elsewhere nothing here acts.

A turn is split: one call reads the talk and samples the words, and one more makes each medium that the model asked for,
so that a turn of words only asks for seconds and a clip for as many as its steps and frames need. Arguments and results
are pickled, and what a call changes in memory is lost: conversations are completed here, in the main process.

Tried with a stand-in for the ``spaces`` package and with its source at hand (0.51), never on ZeroGPU itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import gradio as gr
import numpy as np
import torch

from ..config import GenerationSettings
from ..content import (
    Event,
    Failed,
    Finished,
    Image,
    MediaPart,
    MediaReady,
    MediaStarted,
    Notice,
    Part,
    Reply,
    TextDelta,
    TextPart,
    Turn,
)
from ..conversation import Conversation
from ..errors import BusyError, NextGPTError
from ..pipeline import NextGPTPipeline, Renderer, failure_message, random_seed
from .gpu_seconds import medium_seconds, words_seconds


@dataclass(frozen=True)
class Deferred:
    """Stands for a medium that another call will make: its conditioning as float32, and its decoder's options."""

    kind: str
    conditioning: np.ndarray
    options: dict[str, Any]
    seconds: ClassVar[float] = 0.0


@dataclass(frozen=True)
class _Refused:
    """An error of ours on its way out of the other process, which would keep only its class's name."""

    error: NextGPTError


class _Deferring(Renderer):
    """Makes nothing; says what would have to be made."""

    def render(
        self,
        ident: str,
        decoder: Any,
        conditioning: torch.Tensor,
        options: Mapping[str, Any],
        should_stop: Callable[[], bool],
        previews: bool,
    ) -> Generator[Any, None, Any]:
        yield from ()
        return Deferred(decoder.kind, conditioning.detach().float().cpu().numpy(), dict(options))


@dataclass
class _Told:
    """What has been told of a reply so far: what stands in the conversation when it ends, however it ends."""

    parts: list[Part] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    words: str = ""

    def add(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self.words += event.text
        elif isinstance(event, MediaStarted):
            self.end_words()
        elif isinstance(event, MediaReady):
            self.end_words()
            self.parts.append(event.part)
        elif isinstance(event, (Notice, Failed)):
            self.notices.append(event.message)

    def end_words(self) -> None:
        if self.words.strip():
            self.parts.append(TextPart(self.words.strip()))
        self.words = ""

    def reply(self, seed: int, cancelled: bool) -> Reply:
        self.end_words()
        return Reply(tuple(self.parts), seed, dict(self.timings), cancelled, tuple(self.notices))


class ZeroGPUPipeline:
    """Stands in for a pipeline whose parts are on ZeroGPU's pretended device. One reply at a time.

    ``gpu``: the decorator ``spaces.GPU``. Everything but ``stream`` is the pipeline's own.
    """

    def __init__(self, pipeline: NextGPTPipeline, gpu: Callable[..., Any]) -> None:
        self._pipeline = pipeline
        talker = NextGPTPipeline(
            pipeline.model, pipeline.manifest, known_world=pipeline.known_world, renderer=_Deferring()
        )
        renderer = Renderer()

        def say(
            turns: tuple[Turn, ...], settings: GenerationSettings, seed: int, modalities: frozenset[str] | None
        ) -> Iterator[Event | _Refused]:
            try:
                yield from talker.stream(Conversation(turns), settings, seed, modalities)
            except NextGPTError as error:
                yield _Refused(error)

        def make(part: MediaPart, previews: bool) -> Iterator[Event]:
            task: Any = part.media
            conditioning = torch.from_numpy(task.conditioning)
            try:
                media = yield from renderer.render(
                    part.id, pipeline.model.decoders[task.kind], conditioning, task.options, lambda: False, previews
                )
            except Exception as error:
                yield Failed(part.id, failure_message(task.kind, error))
                return
            facts = {name: value for name, value in part.details.items() if name != "seconds"}
            if not isinstance(media, Image):
                facts["seconds"] = round(media.seconds, 3)
            yield MediaReady(part.id, replace(part, media=media, details=facts))
            if notice := getattr(media, "notice", None):
                yield Notice(notice)

        self._say = gpu(say, duration=_seconds_to_say)
        self._make = gpu(make, duration=_seconds_to_make)

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
        """As the pipeline's own, with words that follow the first medium told when that is made.

        Raises what it raises, and BusyError with ZeroGPU's own words where it lends no GPU.
        """
        cancel = cancel or threading.Event()
        settings = (settings or GenerationSettings()).resolved(self._pipeline.defaults)
        seed = seed if seed is not None else settings.seed
        seed = random_seed() if seed is None else seed
        told = _Told()
        began = time.perf_counter()
        wanted = None if modalities is None else frozenset(modalities)
        try:
            for event in self._events(conv.turns, settings, seed, wanted, cancel, previews, told):
                told.add(event)
                yield event
        except GeneratorExit:
            conv.add_assistant(told.reply(seed, True).parts, cancelled=True)
            raise
        told.timings["total"] = time.perf_counter() - began
        reply = told.reply(seed, cancel.is_set())
        conv.add_assistant(reply.parts, cancelled=reply.cancelled)
        yield Finished(reply)

    def _events(
        self,
        turns: tuple[Turn, ...],
        settings: GenerationSettings,
        seed: int,
        modalities: frozenset[str] | None,
        cancel: threading.Event,
        previews: bool,
        told: _Told,
    ) -> Iterator[Event]:
        """Everything but Finished. A call is left as soon as ``cancel`` is set: closing it ends its work."""
        if cancel.is_set():
            return
        later: list[Event] = []  # the GPU is given back before the first medium is made
        began = False
        with _lent(self._say(turns, settings, seed, modalities)) as said:
            for event in said:
                if isinstance(event, _Refused):
                    raise event.error
                if isinstance(event, Finished):
                    told.timings |= event.reply.timings
                elif began:
                    later.append(event)
                else:
                    yield event
                    began = isinstance(event, MediaStarted)
                if cancel.is_set():
                    return
        for event in later:
            if isinstance(event, MediaReady) and isinstance(event.part.media, Deferred):
                yield from self._medium(event.part, cancel, previews, told)
            else:
                yield event
            if cancel.is_set():
                return

    def _medium(self, part: MediaPart, cancel: threading.Event, previews: bool, told: _Told) -> Iterator[Event]:
        began, kind = time.perf_counter(), part.kind
        try:
            with _lent(self._make(part, previews)) as made:
                for event in made:
                    if cancel.is_set():
                        return
                    yield event
        except BusyError as error:
            yield Failed(part.id, str(error))
        finally:
            told.timings[kind] = told.timings.get(kind, 0.0) + time.perf_counter() - began


@contextmanager
def _lent(call: Generator[Any, None, None]) -> Iterator[Generator[Any, None, None]]:
    """A call's events; it is closed at the end. Where no GPU was lent, ZeroGPU's reason becomes an error of ours."""
    try:
        with closing(call):
            yield call
    except gr.Error as error:
        raise BusyError(f"{getattr(error, 'title', '') or 'ZeroGPU'}: {error.message!s}") from error


def _seconds_to_say(
    turns: tuple[Turn, ...], settings: GenerationSettings, seed: int, modalities: frozenset[str] | None
) -> int:
    return words_seconds(settings, sum(len(turn.media) for turn in turns))


def _seconds_to_make(part: MediaPart, previews: bool) -> int:
    task: Any = part.media
    return medium_seconds(task.kind, task.options)
