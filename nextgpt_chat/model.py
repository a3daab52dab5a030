"""NExT-GPT as one model: receives its built parts, embeds prompts, makes conditionings, computes training losses.

Holds hardly a number of its own: sizes belong to the parts, prompts to the templates, files to ``checkpoints``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .config import TextSettings
from .content import MEDIA_KINDS, Media
from .language_model import DEFAULTS, LanguageModel, SignalGroup, Step
from .prompting import MediaSegment, Prompt, Segment, SignalSegment

IGNORED = -100  # the target that cross entropy leaves out


class MediaEncoder(Protocol):
    """What this module asks of ImageBind."""

    def encode_media(self, media: list[Media]) -> Tensor:
        """Embeddings (n, E) of media of any kinds, in their order."""


@dataclass(frozen=True)
class Example:
    """One training sequence (``Template.example``); ``states``: the decoder's text-encoder states of each target
    signal run's caption, in order, each (n_out, out) or (out,)."""

    segments: tuple[Segment, ...]
    states: tuple[Tensor, ...] = ()


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
        """ImageBind embeddings (n, E). Each content is encoded once and remembered; ``known`` (sha256 → (E,)) goes
        first, for training on embeddings computed beforehand."""
        found: dict[str, Tensor] = {}
        missing: dict[str, Media] = {}
        for item in media:
            vector = (known or {}).get(item.sha256)
            vector = self._media_cache.get(item.sha256) if vector is None else vector
            if vector is None:
                missing[item.sha256] = item
            else:
                found[item.sha256] = vector
        if missing:
            if self.imagebind is None:
                raise ValueError(f"{len(missing)} media are not known and there is no ImageBind to encode them")
            with torch.no_grad():
                vectors = self.imagebind.encode_media(list(missing.values()))
            for key, vector in zip(missing, vectors, strict=True):
                found[key] = vector.detach()
                self._media_cache.put(key, found[key])
        weight = next(self.input_projection.parameters())
        return torch.stack([found[item.sha256].to(weight.device, weight.dtype) for item in media])

    def embed_media(self, media: Sequence[Media], known: Mapping[str, Tensor] | None = None) -> Tensor:
        """Language-model positions (n, D) of some media: ImageBind, then the input projection."""
        lm = self.language_model
        if not media:
            return torch.zeros(0, lm.width, device=lm.device, dtype=lm.dtype)
        return self.input_projection(self.encode_media(media, known)).to(lm.device, lm.dtype)

    def embed_segments(self, segments: Iterable[Segment], known: Mapping[str, Tensor] | None = None) -> Tensor:
        """Input embeddings (1, n, D) of a prompt's segments."""
        segments = tuple(segments)
        media = iter(self.embed_media([s.media for s in segments if isinstance(s, MediaSegment)], known))
        return torch.cat(self._rows(segments, media))[None]

    def _rows(self, segments: Iterable[Segment], vectors: Iterator[Tensor]) -> list[Tensor]:
        return [
            next(vectors)[None] if isinstance(s, MediaSegment) else self.language_model.embed(s.ids) for s in segments
        ]

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
            return self._project(group.kind, group.hidden, group.embeddings)

    def _project(self, kind: str, hidden: Tensor, embeddings: Tensor) -> Tensor:
        projection = self.output_projection[kind]
        weight = next(projection.parameters())
        output = projection(hidden.to(weight.device, weight.dtype), embeddings.to(weight.device, weight.dtype))
        return output[:, 0] if output.shape[1] == 1 else output

    # --- training ----------------------------------------------------------------------------------------------

    def captioning_loss(self, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None) -> Losses:
        """Stage 1 (encoding-side alignment): cross entropy of the target tokens, mean over the batch's targets."""
        return self._loss(examples, known, {})

    def alignment_loss(
        self, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None, distance_scale: float = 1.0
    ) -> Losses:
        """Stage 2 (decoding-side alignment): cross entropy plus, for each kind, the Euclidean distance between the
        projected signal states and the caption's text-encoder states, mean over runs and conditioning tokens."""
        return self._loss(examples, known, dict.fromkeys(MEDIA_KINDS, distance_scale))

    def instruction_loss(
        self,
        examples: Sequence[Example],
        known: Mapping[str, Tensor] | None = None,
        distance_scale: Mapping[str, float] | None = None,
    ) -> Losses:
        """Stage 3 (instruction tuning): as stage 2; the original weighs the distance of video twice (the default)."""
        return self._loss(examples, known, distance_scale or {"image": 1.0, "audio": 1.0, "video": 2.0})

    def _loss(
        self, examples: Sequence[Example], known: Mapping[str, Tensor] | None, scales: Mapping[str, float]
    ) -> Losses:
        lm = self.language_model
        embeds, mask, targets = self.batch(examples, known)
        states = lm.states(embeds, mask)
        # Only positions with a target need the wide output layer; the state before a token predicts it.
        rows, columns = (targets[:, 1:] != IGNORED).nonzero(as_tuple=True)
        wanted = targets[rows, columns + 1]
        logits = lm.logits(states[rows, columns]).float()
        cross_entropy = nn.functional.cross_entropy(logits, wanted)
        accuracy = float((logits.detach().argmax(-1) == wanted).float().mean())
        total, distances = cross_entropy, {}
        for kind, scale in scales.items():
            found = list(_target_runs(examples, kind))
            if not found:
                continue
            batch = torch.tensor([run.example for run in found], device=states.device)[:, None]
            width = len(lm.signals.groups[kind])
            steps = torch.tensor([run.start for run in found], device=states.device)[:, None]
            steps = steps + torch.arange(width, device=states.device)
            output = self._project(kind, states[batch, steps], embeds[batch, steps]).float()
            caption = torch.stack([run.states for run in found]).to(output)
            if caption.shape != output.shape:
                raise ValueError(f"caption states {tuple(caption.shape)} for a projection {tuple(output.shape)}")
            distances[kind] = torch.linalg.vector_norm(output - caption, dim=-1).mean()
            total = total + scale * distances[kind]
        return Losses(total, cross_entropy, distances, accuracy)

    def batch(
        self, examples: Sequence[Example], known: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Right-padded embeddings (B, n, D), attention mask (B, n) and targets (B, n)."""
        device = self.language_model.device
        media = [s.media for e in examples for s in e.segments if isinstance(s, MediaSegment)]
        vectors = iter(self.embed_media(media, known))
        rows, targets = [], []
        for example in examples:
            rows.append(torch.cat(self._rows(example.segments, vectors)))
            targets.append(torch.tensor(_targets(example.segments), device=device))
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
            position += 1 if isinstance(segment, MediaSegment) else len(segment.ids)


def _targets(segments: Iterable[Segment]) -> list[int]:
    targets: list[int] = []
    for segment in segments:
        if isinstance(segment, MediaSegment):
            targets.append(IGNORED)
        else:
            learned = segment.target and not getattr(segment, "forced", False)
            targets += segment.ids if learned else [IGNORED] * len(segment.ids)
    return targets


class _EmbeddingCache:
    """Least recently used embeddings by content hash; safe between threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Tensor | None:
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
            return self._vectors.get(key)

    def put(self, key: str, vector: Tensor) -> None:
        with self._lock:
            self._vectors[key] = vector
            self._vectors.move_to_end(key)
            while len(self._vectors) > self.size:
                self._vectors.popitem(last=False)
