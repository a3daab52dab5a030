"""Choosing the next token, and turning a growing run of ids into text that is safe to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import TextSettings

# Used for settings that neither the user nor the checkpoint's manifest fixes.
DEFAULTS = TextSettings(temperature=0.4, top_p=0.9, max_new_tokens=256, repetition_penalty=1.0)
_COLDEST = 1e-4
"""Temperature below which the most likely id is taken: float32 cannot hold scores divided by much less."""
_UNFINISHED = "\ufffd"


def with_defaults(settings: TextSettings) -> TextSettings:
    """``settings`` with every None replaced."""
    names = ("temperature", "top_p", "max_new_tokens", "repetition_penalty")
    chosen = {n: getattr(DEFAULTS, n) if getattr(settings, n) is None else getattr(settings, n) for n in names}
    return TextSettings(**chosen)


def next_token(
    logits: Tensor, settings: TextSettings, seen: Sequence[int] = (), generator: torch.Generator | None = None
) -> int:
    """Sample one id from ``logits`` (V,), −inf where forbidden.

    The repetition penalty (Keskar et al. 2019) applies to the ids in ``seen``. Temperature 0 takes the most likely
    id; ``top_p`` keeps the smallest set of ids with that much probability, at least one. Computed in float32 on the
    CPU with a CPU ``generator``, so that a seed means the same on every device.
    """
    settings = with_defaults(settings)
    scores = logits.detach().to("cpu", torch.float32).clone()
    if settings.repetition_penalty != 1.0 and seen:
        index = torch.tensor(sorted(set(seen)))
        old = scores[index]
        scores[index] = torch.where(old > 0, old / settings.repetition_penalty, old * settings.repetition_penalty)
    if settings.temperature < _COLDEST:
        return int(scores.argmax())
    probabilities = (scores / settings.temperature).softmax(-1)
    if settings.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        kept = ordered.cumsum(-1) - ordered < settings.top_p
        kept[0] = True
        probabilities = torch.zeros_like(probabilities).index_copy(0, order, ordered * kept)
    return int(torch.multinomial(probabilities, 1, generator=generator))


class TextStream:
    """Text out of ids, piece by piece: whole characters only, and nothing that may turn out to be a stop.

    ``stops`` are strings, so every way to spell a stop in tokens counts. White space is held back until something
    follows it, because it may belong to the stop.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, tuple(stops)
        self.ids: list[int] = []
        self.stopped = False
        self._shown = ""

    def push(self, token: int) -> str:
        """Add one id; returns the newly safe text (often empty). After a stop nothing more comes."""
        if self.stopped:
            return ""
        self.ids.append(token)
        text = self._decode(self.ids).lstrip()
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            return self._show(text[: min(found)].rstrip())
        text = text.rstrip(_UNFINISHED)
        for stop in self._stops:
            width = next((w for w in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:w])), 0)
            text = text[: len(text) - width]
        return self._show(text.rstrip())

    def finish(self) -> str:
        """The text still held back, without white space at the end."""
        return "" if self.stopped else self._show(self._decode(self.ids).lstrip().rstrip())

    def clean_length(self) -> int:
        """How many of ``ids`` come before the stop and the white space around it (all, without a stop)."""
        text = self._decode(self.ids).lstrip()
        ends = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        clean = text[: min(ends)].rstrip() if ends else text.rstrip()
        length = len(self.ids)
        while length and self._decode(self.ids[: length - 1]).lstrip().startswith(clean):
            length -= 1
        return length

    def _show(self, text: str) -> str:
        if text.startswith(self._shown):
            fresh, self._shown = text[len(self._shown) :], text
            return fresh
        # Words are never taken back. One byte that fits nowhere turns the whole run of bytes around it, what was shown
        # of it too, into U+FFFD; what comes after it goes on.
        fresh = "" if self._shown.startswith(text) else text.rpartition(_UNFINISHED)[2]
        if fresh:
            self._shown = text
        return fresh
