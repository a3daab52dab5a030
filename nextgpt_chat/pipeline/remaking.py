"""One medium of an earlier reply made once more: with another seed, more steps, or conditioned by its caption.

The words stay as they are: the language model reads the talk up to the medium's signal tokens again, which gives their
hidden states back, and its decoder runs anew. So two ways of making one thing can stand side by side.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import torch

from ..content import Event, MediaPart, MediaReady, MediaStarted, Notice, Part, Reply, TextPart
from ..conversation import REMADE
from ..decoders import Cancelled
from ..errors import NextGPTError
from ..prompting import Segment, SignalSegment, TextSegment
from .making import Parts, Request, details_of, failure_message, free_memory, options_of, room_for_reply


class Remaking:
    """Iterate ``events`` to its end, or close it; ``reply`` holds the new medium, if one was made.

    ``request.turns`` end with the turn that ``part`` is in.
    """

    def __init__(self, parts: Parts, request: Request, part: MediaPart, should_stop: Callable[[], bool]) -> None:
        self._with, self._request, self._part, self._should_stop = parts, request, part, should_stop
        self._made: tuple[Part, ...] = ()
        self._notices: tuple[str, ...] = ()
        self._began = time.perf_counter()
        self.cancelled = False

    def reply(self, cancelled: bool) -> Reply:
        timings = {"total": time.perf_counter() - self._began}
        return Reply(self._made, self._request.seed, timings, cancelled, self._notices)

    def events(self) -> Iterator[Event]:
        """Everything but ``Finished``. Raises NextGPTError where the medium could not be made."""
        part, request, ident = self._part, self._request, uuid.uuid4().hex
        decoder = self._with.model.decoders.get(part.kind)
        if decoder is None:
            raise NextGPTError(f"This checkpoint has no decoder for {part.kind}, so it cannot be made again.")
        yield MediaStarted(ident, part.kind, part.caption)
        began = time.perf_counter()
        options = options_of(request, part.kind, self._number())
        try:
            by_words = request.settings.conditioning == "caption"
            conditioning = decoder.encode_text([part.caption]) if by_words else self._condition()
            media = yield from self._with.renderer.render(
                ident, decoder, conditioning, options, self._should_stop, request.previews
            )
        except Cancelled:
            self.cancelled = True
            return
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                free_memory(self._with.model)
            raise NextGPTError(failure_message(part.kind, error)) from error
        details = {**details_of(media, request), REMADE: part.id}
        made = MediaPart(media, part.caption, "", True, details, ident, time.perf_counter() - began)
        self._made = (made,)
        yield MediaReady(ident, made)
        if notice := getattr(media, "notice", None):  # a picture that the safety checker refused
            self._notices = (notice,)
            yield Notice(notice)

    def _number(self) -> int:
        """How many media of its kind its reply made before it: part of its seed."""
        kinds = [one.kind for one in self._first_made()[: self._place()]]
        return kinds.count(self._part.kind)

    def _first_made(self) -> list[MediaPart]:
        return [one for one in self._request.turns[-1].media if REMADE not in one.details]

    def _place(self) -> int:
        return next(i for i, one in enumerate(self._first_made()) if one.id == self._part.id)

    def _condition(self):
        model, turn = self._with.model, self._request.turns[-1]
        signals, text = model.language_model.signals, model.language_model.text
        said: list[Segment] = []
        caption = None
        for one in turn.parts:
            if isinstance(one, TextPart):
                said.append(TextSegment(text.encode_quoted(one.text.strip())))
            elif REMADE not in one.details:
                if not turn.text and one.caption != caption:  # of words that were not to be shown, the last sentence
                    caption = one.caption
                    said.append(TextSegment(text.encode_quoted(caption)))
                said.append(SignalSegment(one.kind, signals.groups[one.kind], one))
                if one.id == self._part.id:
                    break
        length = sum(len(segment.ids) for segment in said)
        room = max(length, room_for_reply(self._with, self._request))  # the reply left out as many turns
        prompt = self._with.template.fit(self._request.turns[:-1], max(1, self._with.context - room))
        return model.condition_again(prompt, said)
