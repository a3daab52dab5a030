"""One reply in the making: words and media in the order that the model chooses, as events.

Knows one turn; conversations, locks and checkpoints are the pipeline's.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..checkpoints import UnknownMedia
from ..config import GenerationSettings
from ..content import (
    Audio,
    Event,
    Failed,
    Image,
    Media,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Part,
    Reply,
    TextDelta,
    TextPart,
    Turn,
    text_of,
)
from ..decoders import Cancelled
from ..errors import LimitError, NextGPTError
from ..known_world import KnownWorld
from ..language_model import Ended, SignalGroup, TextPiece
from ..model import NextGPTModel
from ..prompting import Prompt, Template
from .rendering import Renderer
from .seeds import derive_seed

logger = logging.getLogger(__name__)

NOUNS = {"image": "picture", "audio": "sound", "video": "clip"}
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


@dataclass(frozen=True)
class Request:
    """What a reply is made from. ``settings`` without open values; ``modalities`` None = the model decides."""

    turns: tuple[Turn, ...]
    settings: GenerationSettings
    seed: int
    modalities: frozenset[str] | None
    previews: bool


@dataclass(frozen=True)
class Parts:
    """What every reply is made with."""

    model: NextGPTModel
    template: Template
    renderer: Renderer
    context: int
    known_world: KnownWorld | None
    unknown_media: UnknownMedia


class Making:
    """Iterate ``events`` to its end, or close it; ``reply`` is what has been made until then."""

    def __init__(self, parts: Parts, request: Request, should_stop: Callable[[], bool]) -> None:
        self._with, self._request, self._should_stop = parts, request, should_stop
        self._shows_text = request.modalities is None or "text" in request.modalities
        self._parts: list[Part] = []
        self._words = ""  # said since the last medium
        self._spoke = False
        self._caption = ""
        self._notices: list[str] = []
        self._timings = {"encode": 0.0, "text": 0.0}
        self._began = time.perf_counter()
        self.cancelled = False

    def reply(self, cancelled: bool) -> Reply:
        """The reply as it stands."""
        parts = [*self._parts, *self._open_text()]
        timings = self._timings | {"total": time.perf_counter() - self._began}
        return Reply(tuple(parts), self._request.seed, timings, cancelled, tuple(self._notices))

    def events(self) -> Iterator[Event]:
        """Everything but ``Finished``. Raises NextGPTError for a prompt that cannot be taken, or where memory runs out
        before any medium is made."""
        try:
            yield from self._events()
        except torch.OutOfMemoryError as error:
            free_memory(self._with.model)
            raise NextGPTError(
                "There was not enough memory to read this talk and to write the reply. Start a new talk, or one with "
                f"fewer and shorter media; {_SMALLER_PLAN}"
            ) from error

    def _events(self) -> Iterator[Event]:
        if self._should_stop():
            self.cancelled = True
            return
        prompt = self._prompt()
        if prompt.left_out:
            yield self._notice(
                f"This talk is longer than the {self._with.context} tokens that the model can take: the oldest "
                f"{'turn was' if prompt.left_out == 1 else f'{prompt.left_out} turns were'} left out."
            )
        began = time.perf_counter()
        media = prompt.media
        for one in media:
            if self._should_stop():
                self.cancelled = True
                return
            self._with.model.encode_media([one])  # remembered there
        unknown = self._unknown_in(media)
        self._spend("encode", began)
        if unknown is not None:
            if self._request.modalities is None or self._request.modalities == {"text"}:
                yield from self._say(unknown)
                return
            yield self._notice(unknown)  # media were asked for: they are made all the same
        yield from self._answer(prompt)
        if self._with.unknown_media.declines and self._said().endswith(self._with.unknown_media.declines):
            yield self._notice(self._with.unknown_media.larger)
        elif unknown is None and not self.cancelled and self._goes_on_about_unknown(media):
            yield self._notice(GUESS)

    # --- prompt ------------------------------------------------------------------------------------------------

    def _prompt(self) -> Prompt:
        """The talk within the context, room left for the reply."""
        room = room_for_reply(self._with, self._request)
        return self._with.template.fit(self._request.turns, max(1, self._with.context - room))

    def _unknown_in(self, seen: Collection[Media]) -> str | None:
        """What is to be said where the user's last turn brings a medium, of those in the prompt, that the model's world
        has not, or a sound in which there is nothing."""
        last = self._request.turns[-1]
        brought = [part.media for part in last.media if not part.generated and part.media in seen]
        if self._are_unknown(brought):
            return self._with.unknown_media.message
        silent = self._with.known_world is not None and any(map(_is_silent, brought))
        return SILENCE if silent else None

    def _goes_on_about_unknown(self, seen: Collection[Media]) -> bool:
        """Whether the newest medium of the talk is a file of an earlier turn, still in the prompt, that the model's
        world has not: its embedding is read with each further request."""
        *earlier, last = self._request.turns
        parts = [part for turn in earlier for part in turn.media]
        if last.media or not parts or parts[-1].generated or parts[-1].media not in seen:
            return False
        return self._are_unknown([parts[-1].media])

    def _are_unknown(self, media: list[Media]) -> bool:
        world = self._with.known_world
        if world is None or not media:
            return False
        features = self._with.model.imagebind.encode_halfway(media)
        return any(world.is_unknown(one.kind, views) for one, views in zip(media, features, strict=True))

    # --- words -------------------------------------------------------------------------------------------------

    def _answer(self, prompt: Prompt) -> Iterator[Event]:
        request = self._request
        steps = self._with.model.reply_steps(
            prompt,
            request.settings.text,
            generator=torch.Generator("cpu").manual_seed(derive_seed(request.seed, "text", 0)),
            should_stop=self._should_stop,
            modalities=request.modalities,
            stops=self._with.template.stops,
        )
        try:
            while True:
                began = time.perf_counter()
                step = next(steps)
                self._spend("text", began)
                if isinstance(step, (TextPiece, SignalGroup)):
                    self._timings.setdefault("first_token", time.perf_counter() - self._began)
                if isinstance(step, TextPiece):
                    yield from self._say(step.text)
                elif isinstance(step, SignalGroup):
                    yield from self._medium(step)
                elif isinstance(step, Ended):
                    self.cancelled = step.reason == "cancelled"
                    return
        finally:
            steps.close()  # gives the cache back for the next turn

    def _say(self, text: str) -> Iterator[Event]:
        # The joined deltas are the reply's text: a part after a medium begins with the space that joins it.
        delta = f" {text}" if not self._words and self._spoke else text
        self._words += text
        self._spoke = True
        if self._shows_text and delta:
            yield TextDelta(delta)

    def _said(self) -> str:
        """All words of the reply so far."""
        return text_of((*self._parts, *self._open_text()))

    def _open_text(self) -> list[Part]:
        words = self._words.strip()
        return [TextPart(words)] if words and self._shows_text else []

    # --- media -------------------------------------------------------------------------------------------------

    def _medium(self, group: SignalGroup) -> Iterator[Event]:
        began, kind, ident = time.perf_counter(), group.kind, uuid.uuid4().hex
        self._caption = self._take_words()
        yield MediaStarted(ident, kind, self._caption)
        try:
            media = yield from self._render(group, ident)
        except Cancelled:
            return
        except Exception as error:
            yield self._failed(ident, kind, error)
            return
        finally:
            self._spend(kind, began)
        took = time.perf_counter() - began
        part = MediaPart(media, self._caption, "", True, details_of(media, self._request), ident, took)
        self._parts.append(part)
        yield MediaReady(ident, part)
        if notice := getattr(media, "notice", None):  # a picture that the safety checker refused
            yield self._notice(notice)

    def _render(self, group: SignalGroup, ident: str) -> Generator[MediaProgress, None, Media]:
        request, kind, model = self._request, group.kind, self._with.model
        if kind not in model.decoders:
            raise NextGPTError(f"This checkpoint has no decoder for {kind}; choose other modalities.")
        decoder = model.decoders[kind]
        by_words = request.settings.conditioning == "caption"
        conditioning = decoder.encode_text([self._caption]) if by_words else model.condition(group)
        made = sum(isinstance(part, MediaPart) and part.kind == kind for part in self._parts)
        options = options_of(request, kind, made)
        return (
            yield from self._with.renderer.render(
                ident, decoder, conditioning, options, self._should_stop, request.previews
            )
        )

    def _take_words(self) -> str:
        """Ends the text before a medium; returns the medium's caption: the last sentence, or where no words stand
        between two media the one before, or the user's own words."""
        words = self._words.strip()
        self._parts += self._open_text()
        self._words = ""
        return _SENTENCE_END.split(words)[-1] if words else self._caption or self._request.turns[-1].text

    def _failed(self, ident: str, kind: str, error: Exception) -> Failed:
        if isinstance(error, torch.OutOfMemoryError):
            free_memory(self._with.model)
        message = failure_message(kind, error)
        self._notices.append(message)
        return Failed(ident, message)

    # --- bookkeeping -------------------------------------------------------------------------------------------

    def _notice(self, message: str) -> Notice:
        self._notices.append(message)
        return Notice(message)

    def _spend(self, stage: str, began: float) -> None:
        self._timings[stage] = self._timings.get(stage, 0.0) + time.perf_counter() - began


def room_for_reply(parts: Parts, request: Request) -> int:
    """Positions that a prompt leaves: for the reply's words, or a quarter of the context, and every signal token."""
    signals = sum(len(ids) for ids in parts.model.language_model.signals.groups.values())
    return max(min(request.settings.text.max_new_tokens or parts.context, parts.context // 4), signals + 1)


def options_of(request: Request, kind: str, index: int) -> dict[str, Any]:
    """What the decoder is given for the medium of ``kind`` before which a reply made ``index`` of that kind."""
    given = {name: value for name, value in asdict(getattr(request.settings, kind)).items() if value is not None}
    return given | {"seed": derive_seed(request.seed, kind, index)}


def details_of(media: Media, request: Request) -> dict[str, Any]:
    """How it was made: nothing that differs between two runs with one seed. ``seconds``: its length."""
    settings = getattr(request.settings, media.kind)
    details = {
        "seed": request.seed,
        "steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "scheduler": settings.scheduler,
        "conditioning": request.settings.conditioning,
    }
    return details if isinstance(media, Image) else details | {"seconds": round(media.seconds, 3)}


SILENCE = "I hear nothing in this sound: it is silent."
"""Said of silence, which lies near every sound that begins or ends with some."""
GUESS = "I do not know things like the file that you gave last: what I say or make of it is a guess."
_SILENT = 1e-3
"""Of full scale: standard deviation of samples below which nothing can be heard."""


def _is_silent(media: Media) -> bool:
    return isinstance(media, Audio) and float(media.samples.std()) < _SILENT


_LESS_MEMORY = {
    "image": "Ask for it alone, in a new talk",
    "audio": "Choose fewer seconds of sound in the settings, or ask for it alone",
    "video": "Choose fewer frames of clips in the settings, or ask for it alone",
}
"""What takes less memory, among the things that the page lets one choose."""
_SMALLER_PLAN = "if that does not help, the app must be started with a smaller --memory-plan."


def free_memory(model: NextGPTModel) -> None:
    """Let go of what earlier talks hold, for that may be what is missing."""
    model.language_model.prefixes.clear()


def failure_message(kind: str, error: Exception) -> str:
    """Why a medium could not be made, for the user; a fault of ours also goes to the log."""
    if isinstance(error, NextGPTError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return f"There was not enough memory for the {NOUNS[kind]}. {_LESS_MEMORY[kind]}; {_SMALLER_PLAN}"
    logger.error("A %s could not be made", NOUNS[kind], exc_info=error)
    return f"The {NOUNS[kind]} could not be made ({type(error).__name__}); the log says more. Try again."


def check_sizes(settings: GenerationSettings, decoders: dict[str, Any], kinds: Sequence[str]) -> None:
    """Raises LimitError for a picture's or clip's size that its decoder cannot make, before anything is made."""
    for kind in kinds:
        group, decoder = getattr(settings, kind), decoders.get(kind)
        for name in ("width", "height"):
            pixels = getattr(group, name, None)
            factor = decoder.vae_scale_factor if decoder is not None else 1
            if pixels is not None and pixels % factor:
                near = max(factor, round(pixels / factor) * factor)
                raise LimitError(f"{kind}.{name} is {pixels} pixels; it must be a multiple of {factor}: try {near}.")
