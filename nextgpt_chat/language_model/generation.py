"""Decoding one reply: sample, stream, stop, fill signal runs in one pass, keep the modalities that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..config import TextSettings
from .prefix_cache import can_crop, crop
from .sampling import TextStream, next_token

if TYPE_CHECKING:
    from .network import LanguageModel


BLOCK = 64
"""Prompts are read in blocks of so many positions, and only whole blocks are remembered: with and without a remembered
prefix the same sums are done in the same order, so a seed gives the same reply to the last bit."""


@dataclass(frozen=True)
class TextPiece:
    """More words: whole characters, no stop, no signal tokens."""

    text: str


@dataclass(frozen=True, eq=False)
class SignalGroup:
    """A complete run of signal tokens of one kind.

    ``hidden``: last-layer states (after the final norm) at the tokens; ``embeddings``: their input embeddings; both
    (1, tokens, D).
    """

    kind: str
    hidden: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class Ended:
    """The last step. ``ids``: everything produced, signal tokens and stop included. ``length``: the limit on new
    tokens or the context was reached."""

    reason: Literal["stop", "length", "cancelled"]
    ids: tuple[int, ...]


Step = TextPiece | SignalGroup | Ended


class ReplyRun:
    """One reply in the making: the cache, the logits after it, and what has been produced."""

    def __init__(
        self,
        model: LanguageModel,
        embeds: Tensor,
        keys: Sequence[Hashable] | None,
        settings: TextSettings,
        generator: torch.Generator | None,
        stops: Sequence[str],
        wanted: list[str],
        modalities: Collection[str] | None,
        max_groups: int,
    ) -> None:
        self.model, self.settings, self.generator, self.stops = model, settings, generator, stops
        self.keys, self.prompt = keys, embeds
        self.wanted, self.free = wanted, modalities is None
        self.groups_left = max_groups
        self.fed: list[int] = []  # ids in the cache after the prompt
        self.ids: list[int] = []  # all ids produced
        self.words: list[int] = []  # sampled ids, for the repetition penalty
        self.stream = TextStream(model.text.decode, stops)
        self.cache: Any = None
        self.row: Tensor | None = None

    def steps(self, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Sample until a stop, a limit or a cancel."""
        if not self._read_prompt(should_stop):
            yield Ended("cancelled", ())
            return
        while True:
            if should_stop():
                yield from self._flush()
                yield Ended("cancelled", tuple(self.ids))
                return
            ended = "length" if self._full() else ""
            if not ended:
                token = self._sample()
                self.ids.append(token)
                kind = self.model.signals.kind_started_by(token)
                if kind is not None:
                    yield from self._flush()
                    self.ids.pop()
                    yield self._group(kind)
                    continue
                if token in self.model.eos_ids:
                    ended = "stop"
                else:
                    self.words.append(token)
                    if piece := self.stream.push(token):
                        yield TextPiece(piece)
                    ended = "stop" if self.stream.stopped else ""
            if not ended:
                self._feed([token])
                continue
            yield from self._flush()
            missing = [kind for kind in self.wanted if self._room(kind)]
            if not missing:
                yield Ended(ended, tuple(self.ids))
                return
            # The model would end here, but was asked for more: take the stop back and begin what is missing.
            self._take_back()
            for kind in missing:
                if should_stop():
                    break
                yield self._group(kind)

    def keep_cache(self) -> None:
        """Hand the cache back for the next reply in this conversation."""
        if self.cache is not None and self.keys is not None and can_crop(self.cache):
            whole = min(len(self.keys), self.cache.get_seq_length()) // BLOCK * BLOCK
            crop(self.cache, whole)
            self.model.prefixes.put(self.keys[:whole], self.cache)
        self.cache = None

    @torch.no_grad()
    def _read_prompt(self, should_stop: Callable[[], bool]) -> bool:
        """False where it was stopped between two blocks; those before are kept for the next reply."""
        cache, known = self.model.prefixes.take(self.keys) if self.keys is not None else (None, 0)
        cache = self.model.new_cache() if cache is None else cache
        whole = known // BLOCK * BLOCK
        if whole < known:
            crop(cache, whole)
        for start in range(whole, self.prompt.shape[1], BLOCK):
            if should_stop():
                self.cache = cache
                return False
            states = self.model.states(self.prompt[:, start : start + BLOCK], cache=cache)
        self.cache, self.row = cache, self.model.logits(states[:, -1])[0]
        return True

    @torch.no_grad()
    def _feed(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        embeddings = self.model.embed(list(ids))[None]
        cache, self.cache = self.cache, None  # where this fails, its layers differ in length: nothing to be kept
        states = self.model.states(embeddings, cache=cache)
        self.cache = cache
        self.fed += ids
        self.row = self.model.logits(states[:, -1])[0]
        return states, embeddings

    def _sample(self) -> int:
        row = self.row.detach().to("cpu", torch.float32).clone()
        row[self.model.banned] = -torch.inf
        for kind, ids in self.model.signals.groups.items():
            if not self._may_start(kind):
                row[ids[0]] = -torch.inf
        return next_token(row, self.settings, self.words, self.generator)

    def _may_start(self, kind: str) -> bool:
        allowed = self.groups_left > 0 if self.free else kind in self.wanted
        return allowed and self._room(kind)

    def _room(self, kind: str) -> bool:
        return self._length() + len(self.model.signals.groups[kind]) <= self.model.context

    def _length(self) -> int:
        return self.prompt.shape[1] + len(self.fed)

    def _full(self) -> bool:
        return len(self.ids) >= self.settings.max_new_tokens or self._length() >= self.model.context

    def _group(self, kind: str) -> SignalGroup:
        ids = self.model.signals.groups[kind]
        states, embeddings = self._feed(ids)
        self.ids += ids
        self.groups_left -= 1
        if kind in self.wanted:
            self.wanted.remove(kind)
        self.stream = TextStream(self.model.text.decode, self.stops)
        return SignalGroup(kind, states, embeddings)

    def _flush(self) -> Iterator[TextPiece]:
        if piece := self.stream.finish():
            yield TextPiece(piece)

    def _take_back(self) -> None:
        produced = len(self.stream.ids) + (1 if self.ids and self.ids[-1] in self.model.eos_ids else 0)
        keep = len(self.ids) - produced + self.stream.clean_length()
        self.ids = self.ids[:keep]
        if can_crop(self.cache) and keep < len(self.fed):
            self.fed = self.fed[:keep]
            crop(self.cache, self._length())
