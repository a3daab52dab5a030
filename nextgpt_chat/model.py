"""NExT-GPT as one model: receives its built parts, embeds prompts, makes conditionings, computes training losses.

Holds hardly a number of its own: sizes belong to the parts, prompts to the templates, files to ``checkpoints``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .config import TextSettings
from .content import MEDIA_KINDS, Media
from .distances import Measure, euclidean_distance
from .language_model import DEFAULTS, LanguageModel, SignalGroup, Step
from .prompting import MediaSegment, Prompt, Segment, SignalSegment

IGNORED = -100  # the target that cross entropy leaves out
MAX_CACHED_VALUES = 64_000_000  # of media encodings: patches of a clip are four million values at the published sizes


class MediaEncoder(Protocol):
    """What this module asks of ImageBind."""

    def encode_media(self, media: list[Media]) -> Tensor:
        """Embeddings (n, E) of media of any kinds, in their order."""

    def encode_with_patches(self, media: list[Media]) -> tuple[Tensor, list[Tensor]]:
        """The same, and the patches (P, E) of each medium; only asked where the input projection reads patches."""

    def encode_halfway(self, media: list[Media]) -> list[Tensor]:
        """Features (V, D) of the views of each medium; only asked of a model that knows a small world."""


@dataclass(frozen=True)
class Example:
    """One training sequence (``Template.example``); ``states``: the decoder's text-encoder states of each target
    signal run's caption, in order, each (n_out, out) or (out,)."""

    segments: tuple[Segment, ...]
    states: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class SignalStates:
    """Of n target signal runs of one kind: last-layer states and input embeddings at the signal tokens, both
    (n, tokens, D), and the decoder's text-encoder states of their captions, (n, n_out, out) or (n, out)."""

    hidden: Tensor
    embeddings: Tensor
    captions: Tensor


@dataclass(frozen=True)
class Losses:
    """``total`` is what to minimise: cross entropy plus scaled distances. ``accuracy``: share of target tokens that
    are the most likely ones."""

    total: Tensor
    cross_entropy: Tensor
    distance: dict[str, Tensor] = field(default_factory=dict)
    accuracy: float = 0.0


class NextGPTModel(nn.Module):
    """``output_projections`` and ``decoders``: kind → part. Decoders are only kept here for the pipeline."""

    def __init__(
        self,
        imagebind: MediaEncoder | None,
        input_projection: nn.Module,
        language_model: LanguageModel,
        output_projections: Mapping[str, nn.Module],
        decoders: Mapping[str, Any] | None = None,
        media_cache_size: int = 1024,
    ) -> None:
        super().__init__()
        self.imagebind = imagebind
        self.input_projection = input_projection
        self.language_model = language_model
        self.output_projection = nn.ModuleDict(output_projections)
        self.decoders = dict(decoders or {})
        self._media_cache = _EmbeddingCache(media_cache_size)

    # --- media in ----------------------------------------------------------------------------------------------

    def encode_media(self, media: Sequence[Media], known: Mapping[str, Tensor] | None = None) -> Tensor:
        """ImageBind embeddings (n, E). Each content is encoded once and remembered, with its patches where the input
        projection reads them; ``known`` (sha256 → (E,)) goes first, for training on embeddings computed beforehand."""
        encoded = self._encoded(media, known)
        return torch.stack([self._as_input(encoded[m.sha256].embedding) for m in media])

    def embed_media(self, media: Sequence[Media], known: Mapping[str, Tensor] | None = None) -> Tensor:
        """Language-model positions (n · positions, D) of some media, one medium after the other: ImageBind, then the
        input projection. Where that reads patches, ``known`` has sha256 → (P, E)."""
        lm, projection = self.language_model, self.input_projection
        if not media:
            return torch.zeros(0, lm.width, device=lm.device, dtype=lm.dtype)
        if not projection.reads_patches:
            return projection(self.encode_media(media, known)).to(lm.device, lm.dtype)
        encoded = self._encoded(media, known)
        patches = [self._as_input(encoded[m.sha256].patches) for m in media]
        made: dict[int, Tensor] = {}
        for count in sorted({len(one) for one in patches}):  # together as far as they need no padding
            rows = [row for row, one in enumerate(patches) if len(one) == count]
            made |= zip(rows, projection(torch.stack([patches[row] for row in rows])), strict=True)
        return torch.cat([made[row] for row in range(len(media))]).to(lm.device, lm.dtype)

    def _as_input(self, features: Tensor) -> Tensor:
        weight = next(self.input_projection.parameters())
        return features.to(weight.device, weight.dtype)

    def _encoded(self, media: Sequence[Media], known: Mapping[str, Tensor] | None) -> dict[str, _Encoded]:
        """Content hash → what ImageBind makes of it."""
        patches = self.input_projection.reads_patches
        found: dict[str, _Encoded] = {}
        missing: dict[str, Media] = {}
        for item in media:
            given = (known or {}).get(item.sha256)
            if given is not None:
                found[item.sha256] = _Encoded(given.mean(0), given) if patches else _Encoded(given)
            elif (cached := self._media_cache.get(item.sha256)) is not None:
                found[item.sha256] = cached
            else:
                missing[item.sha256] = item
        if missing:
            if self.imagebind is None:
                raise ValueError(f"{len(missing)} media are not known and there is no ImageBind to encode them")
            with torch.no_grad():
                made = self._encode(list(missing.values()), patches)
            for key, one in zip(missing, made, strict=True):
                found[key] = one
                self._media_cache.put(key, one)
        return found

    def _encode(self, media: list[Media], patches: bool) -> list[_Encoded]:
        if not patches:
            return [_Encoded(vector.detach()) for vector in self.imagebind.encode_media(media)]
        pairs = zip(*self.imagebind.encode_with_patches(media), strict=True)
        return [_Encoded(vector.detach(), own.detach()) for vector, own in pairs]

    def embed_segments(self, segments: Iterable[Segment], known: Mapping[str, Tensor] | None = None) -> Tensor:
        """Input embeddings (1, n, D) of a prompt's segments."""
        segments = tuple(segments)
        media = [one for s in segments if isinstance(s, MediaSegment) for one in s.every]
        return torch.cat(self._rows(segments, iter(self.embed_media(media, known))))[None]

    def _rows(self, segments: Sequence[Segment], vectors: Iterator[Tensor]) -> list[Tensor]:
        """One (n, D) a segment; their tokens are looked up together."""
        ids = [s.ids for s in segments if not isinstance(s, MediaSegment)]
        tokens = self.language_model.embed([i for some in ids for i in some])
        rows = iter(tokens.split([len(some) for some in ids]))
        return [self._medium_rows(s, vectors) if isinstance(s, MediaSegment) else next(rows) for s in segments]

    def _medium_rows(self, segment: MediaSegment, vectors: Iterator[Tensor]) -> Tensor:
        if segment.positions != self.input_projection.positions:
            raise ValueError(
                f"a prompt leaves {segment.positions} positions for a medium, but the input projection makes "
                f"{self.input_projection.positions}; give make_template its media_positions"
            )
        rows = [torch.stack(list(islice(vectors, segment.positions))) for _ in segment.every]
        return rows[0] if len(rows) == 1 else torch.stack(rows).sum(0)

    # --- reply -------------------------------------------------------------------------------------------------

    def reply_steps(
        self,
        prompt: Prompt,
        settings: TextSettings = DEFAULTS,
        *,
        generator: torch.Generator | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        modalities: Collection[str] | None = None,
        max_groups: int = 4,
        stops: Sequence[str] = ("###",),
    ) -> Iterator[Step]:
        """Embed a prompt and continue it; see ``LanguageModel.generate``."""
        with torch.no_grad():
            embeds = self.embed_segments(prompt.segments)
        yield from self.language_model.generate(
            embeds,
            settings,
            generator=generator,
            should_stop=should_stop,
            keys=prompt.keys,
            modalities=modalities,
            max_groups=max_groups,
            stops=stops,
        )

    def condition(self, group: SignalGroup) -> Tensor:
        """The decoder's conditioning for one signal group: (1, tokens, width), or (1, width) where the decoder takes
        a single vector (audio)."""
        with torch.no_grad():
            return self.conditioning_of(group.kind, group.hidden, group.embeddings)

    @torch.no_grad()
    def condition_again(self, prompt: Prompt, reply: Sequence[Segment]) -> Tensor:
        """As ``condition``, for the signal run at the end of a ``reply`` that was given to ``prompt`` before."""
        run = reply[-1]
        if not isinstance(run, SignalSegment):
            raise ValueError("a reply that conditions a decoder ends with a signal run")
        embeds = self.embed_segments([*prompt.segments, *reply])
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        states, width = self.language_model.states(embeds, mask), len(run.ids)
        return self.conditioning_of(run.kind, states[:, -width:], embeds[:, -width:])

    def conditioning_of(self, kind: str, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Signal tokens' last-layer states and input embeddings, both (n, tokens, D) → the decoder's conditioning,
        (n, n_out, out), or (n, out) where that is one vector."""
        projection = self.output_projection[kind]
        weight = next(projection.parameters())
        output = projection(hidden.to(weight.device, weight.dtype), embeddings.to(weight.device, weight.dtype))
        return output[:, 0] if output.shape[1] == 1 else output

    # --- training ----------------------------------------------------------------------------------------------

    def captioning_loss(self, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None) -> Losses:
        """Stage 1 (encoding-side alignment): cross entropy of the target tokens, mean over the batch's targets."""
        return self._loss(examples, known, {})

    def alignment_loss(
        self,
        examples: Sequence[Example],
        known: Mapping[str, Tensor] | None = None,
        distance_scale: float = 1.0,
        measure: Measure = euclidean_distance,
    ) -> Losses:
        """Stage 2 (decoding-side alignment): cross entropy plus, for each kind, the Euclidean distance between the
        projected signal states and the caption's text-encoder states, mean over runs and conditioning tokens."""
        return self._loss(examples, known, dict.fromkeys(MEDIA_KINDS, distance_scale), measure)

    def instruction_loss(
        self,
        examples: Sequence[Example],
        known: Mapping[str, Tensor] | None = None,
        distance_scale: Mapping[str, float] | None = None,
        measure: Measure = euclidean_distance,
        weights: Mapping[int, float] | None = None,
    ) -> Losses:
        """Stage 3 (instruction tuning): as stage 2; the original weighs the distance of video twice (the default).
        ``weights``: token → its weight in the cross entropy where it is to be said; 1 for all others."""
        scales = distance_scale or {"image": 1.0, "audio": 1.0, "video": 2.0}
        return self._loss(examples, known, scales, measure, weights)

    def _loss(
        self,
        examples: Sequence[Example],
        known: Mapping[str, Tensor] | None,
        scales: Mapping[str, float],
        measure: Measure = euclidean_distance,
        weights: Mapping[int, float] | None = None,
    ) -> Losses:
        lm = self.language_model
        embeds, mask, targets = self.batch(examples, known)
        states = lm.states(embeds, mask)
        # Only positions with a target need the wide output layer; the state before a token predicts it.
        rows, columns = (targets[:, 1:] != IGNORED).nonzero(as_tuple=True)
        wanted = targets[rows, columns + 1]
        logits = lm.logits(states[rows, columns]).float()
        weight = torch.ones(logits.shape[-1], device=logits.device)
        for token, value in (weights or {}).items():
            weight[token] = value
        cross_entropy = nn.functional.cross_entropy(logits, wanted, weight)
        accuracy = float((logits.detach().argmax(-1) == wanted).float().mean())
        total, distances = cross_entropy, {}
        for kind, scale in scales.items():
            runs = self._at_signals(kind, examples, states, embeds)
            if runs is None:
                continue
            distances[kind] = measure(self.conditioning_of(kind, runs.hidden, runs.embeddings).float(), runs.captions)
            total = total + scale * distances[kind]
        return Losses(total, cross_entropy, distances, accuracy)

    @torch.no_grad()
    def signal_states(
        self, kind: str, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None
    ) -> SignalStates | None:
        """What the output projection of a kind is given, and should make of it; None if no example has a target."""
        embeds, mask, _ = self.batch(examples, known)
        return self._at_signals(kind, examples, self.language_model.states(embeds, mask), embeds)

    def _at_signals(
        self, kind: str, examples: Sequence[Example], states: Tensor, embeds: Tensor
    ) -> SignalStates | None:
        found = list(_target_runs(examples, kind))
        if not found:
            return None
        batch = torch.tensor([run.example for run in found], device=states.device)[:, None]
        steps = torch.tensor([run.start for run in found], device=states.device)[:, None]
        steps = steps + torch.arange(len(self.language_model.signals.groups[kind]), device=states.device)
        captions = torch.stack([run.states for run in found]).to(states.device).float()
        return SignalStates(states[batch, steps], embeds[batch, steps], captions)

    def batch(
        self, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Right-padded embeddings (B, n, D), attention mask (B, n) and targets (B, n)."""
        device = self.language_model.device
        media = [one for e in examples for s in e.segments if isinstance(s, MediaSegment) for one in s.every]
        vectors = iter(self.embed_media(media, known))
        each = iter(self._rows([s for e in examples for s in e.segments], vectors))
        rows = [torch.cat(list(islice(each, len(e.segments)))) for e in examples]
        targets = [torch.tensor(_targets(e.segments), device=device) for e in examples]
        mask = [torch.ones(len(row), dtype=torch.long, device=device) for row in rows]
        pad = nn.utils.rnn.pad_sequence
        return pad(rows, True), pad(mask, True), pad(targets, True, padding_value=IGNORED)


@dataclass(frozen=True)
class _TargetRun:
    example: int
    start: int
    states: Tensor


def _target_runs(examples: Sequence[Example], kind: str) -> Iterator[_TargetRun]:
    for number, example in enumerate(examples):
        position, states = 0, iter(example.states)
        for segment in example.segments:
            if isinstance(segment, SignalSegment) and segment.target:
                target = next(states, None)
                if target is None:
                    raise ValueError(f"example {number} has fewer caption states than target signal runs")
                if segment.kind == kind:
                    yield _TargetRun(number, position, target)
            position += segment.positions if isinstance(segment, MediaSegment) else len(segment.ids)


def _targets(segments: Iterable[Segment]) -> list[int]:
    targets: list[int] = []
    for segment in segments:
        if isinstance(segment, MediaSegment):
            targets += [IGNORED] * segment.positions
        else:
            learned = segment.target and not getattr(segment, "forced", False)
            targets += segment.ids if learned else [IGNORED] * len(segment.ids)
    return targets


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A medium as ImageBind gives it: ``embedding`` (E,) and, where they are wanted, ``patches`` (P, E)."""

    embedding: Tensor
    patches: Tensor | None = None

    @property
    def values(self) -> int:
        return self.embedding.numel() + (0 if self.patches is None else self.patches.numel())


class _EmbeddingCache:
    """Least recently used encodings by content hash, bounded in number and in values; safe between threads."""

    def __init__(self, size: int, values: int = MAX_CACHED_VALUES) -> None:
        self.size, self.values = size, values
        self._found: OrderedDict[str, _Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> _Encoded | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: str, encoded: _Encoded) -> None:
        with self._lock:
            self._found[key] = encoded
            self._found.move_to_end(key)
            while len(self._found) > self.size or sum(one.values for one in self._found.values()) > self.values:
                self._found.popitem(last=False)
