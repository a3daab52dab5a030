"""The paper's three stages on the picture-book world (NExT-GPT, section 4 and 5).

1. encoding-side alignment: the input projection learns to caption media for the frozen language model;
2. decoding-side alignment: output projections and signal tokens learn, from captions alone, what the decoders' text
   encoders would say;
3. instruction tuning on dialogues: LoRA, both projections, signal tokens.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..content import MEDIA_KINDS
from ..distances import squared_error
from ..language_model import LORA_TARGETS
from ..model import Example, Losses, NextGPTModel
from ..picturebook.dialogues import Dialogue, MediaSlot
from ..picturebook.values import PITCHES, words
from ..prompting import Segment, SignalSegment, TextSegment, make_template
from . import worlddata
from .between import rendered_between
from .codes import AttributeCodes
from .contrastive import embed_values, patches_of_values, render
from .loop import Recipe, fit, step_rng
from .renaming import has_known_source
from .stand_ins import BetweenSlot, OnlyDecided, OnlySaidSlot, SaidSlot, turns_of
from .word_vectors import WordVectors

WORD_LENGTH = (1.0, 3.0)
"""Of a word's vector that is put into an embedding, in lengths that it has by itself: stage 1's are some 2 long."""

FAINT_SHARE, FAINTEST = 0.6, 0.55
"""Of the media that the input projection learns from: those that are shown fainter, and what is lost at most.

ImageBind tells less of what it has never seen together: of the length of a thing's code there is 0.78 in held-out
clips, 0.92 in trained ones (in the faintest tenth 0.41 and 0.69), of a pitch's 0.93 and 1.00. A projection that had
only learned from trained ones told 88 % of held-out clips' things and 87 % of pitches rightly; after 200 steps more
with fainter ones 91.5 and 96.5 % (n = 200; pictures' colours 98 -> 96.5)."""

DECIDING = 10.0
"""Weight in stage 3 of the tokens that decide on media, wherever they are said: those that begin a medium, and those
that follow one, which mostly end the reply. They are two of some thirty of a reply. Without it signal tokens that start
at words made the language model go on with those words: one of six requests for pictures got a second one. With the
weight on what follows a medium alone, some media were said and not made; with it on signal tokens, too, but not on the
end of other replies, some descriptions got a medium."""


class Embeddings:
    """ImageBind embeddings of media slots, each rendered and encoded once; kept up to ``size`` of them.

    ``patches``: patch features (P, E) instead of one embedding (E,), for an input projection that reads those.
    ``jitter`` is the length of the random vector added whenever one is used, because the media that a chat makes are
    not perfect renderings.
    ``codes``: those that ImageBind was fitted to; with them it shows some media's thing or pitch fainter, as it does
    with pairs that it has never seen.
    """

    RENDERINGS: ClassVar[dict[str, int]] = {"image": 3, "audio": 100, "video": 3}
    """How many different renderings of one value there are. There are only some 90 sounds: with three of each the
    projection learned the pairs by heart (held-out sources 74 % right, pitches 76 %)."""

    def __init__(
        self,
        imagebind: Any,
        size: int = 150_000,
        jitter: float = 0.15,
        patches: bool = False,
        codes: AttributeCodes | None = None,
    ) -> None:
        self.imagebind, self.size, self.jitter = imagebind, size, jitter
        self.patches, self.codes = patches, codes
        self.known: OrderedDict[str, Tensor] = OrderedDict()

    def key(self, slot: MediaSlot) -> str:
        between = "between " if isinstance(slot, BetweenSlot) else ""
        return f"{between}{slot.kind} {words(slot.value)} {self._seed(slot)}"

    def _seed(self, slot: MediaSlot) -> int:
        return slot.seed if isinstance(slot, BetweenSlot) else slot.seed % self.RENDERINGS[slot.kind]

    def of(self, slots: list[MediaSlot]) -> dict[str, Tensor]:
        """Key → embedding (E,) of every slot, or its patches (P, E)."""
        encode = patches_of_values if self.patches else embed_values
        missing = {self.key(slot): slot for slot in slots if self.key(slot) not in self.known}
        for between, rendered in ((True, rendered_between), (False, render)):
            some = {key: slot for key, slot in missing.items() if isinstance(slot, BetweenSlot) is between}
            if not some:
                continue
            seeds = [self._seed(slot) for slot in some.values()]
            made = encode(self.imagebind, [slot.value for slot in some.values()], seeds, rendered=rendered)
            for key, vector in zip(some, made, strict=True):
                self.known[key] = vector.half()
        found = {self.key(slot): self.known[self.key(slot)].float() for slot in slots}
        while len(self.known) > self.size:
            self.known.popitem(last=False)
        if self.codes is not None:
            found |= {self.key(slot): self._fainter(slot, found[self.key(slot)], self.codes) for slot in slots}
        return {k: v + self.jitter * torch.randn_like(v) / v.shape[-1] ** 0.5 for k, v in found.items()}

    @staticmethod
    def _fainter(slot: MediaSlot, vector: Tensor, codes: AttributeCodes) -> Tensor:
        if isinstance(slot, BetweenSlot) or torch.rand(()) > FAINT_SHARE:
            return vector
        thing = worlddata.attributes(slot.value).get("thing")
        along = codes.of(["pitch"]) if thing is None else codes.directions[codes.rows["thing", thing]][None]
        return vector - FAINTEST * torch.rand(()) * (vector @ along.T) @ along


class CaptionStates:
    """The decoders' text-encoder states of captions, computed once each: the targets of the output projections."""

    def __init__(self, decoders: dict[str, Any], size: int = 12_000) -> None:
        self.decoders, self.size = decoders, size
        self.known: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def of(self, wanted: list[tuple[str, str]]) -> list[Tensor]:
        """(kind, caption) pairs → states, (tokens, width) or (1, width) for a decoder of single vectors."""
        for kind in MEDIA_KINDS:
            missing = sorted({c for k, c in wanted if k == kind and (k, c) not in self.known})
            if missing:
                for caption, states in zip(missing, self.decoders[kind].encode_text(missing), strict=True):
                    self.known[kind, caption] = states.detach().cpu().half()
        states = [self.known[pair].float() for pair in wanted]
        while len(self.known) > self.size:
            self.known.popitem(last=False)
        return states


class Examples:
    """Makes batches of training examples out of dialogues."""

    def __init__(
        self, model: NextGPTModel, embeddings: Embeddings, states: CaptionStates, template: str = "clean"
    ) -> None:
        self.model, self.embeddings, self.states = model, embeddings, states
        lm = model.language_model
        self.words = WordVectors(lm)
        self.template = make_template(template, lm.text, lm.signals, media_positions=model.input_projection.positions)

    def batch(
        self, dialogues: list[Dialogue], *, text: bool = True, every: bool = False, pitches: bool = True
    ) -> tuple[list[Example], dict[str, Tensor]]:
        """Examples and the embeddings of their media. Without ``pitches``, the world's words for them ("at low pitch")
        are not learned of its own sources."""
        slots = [slot for dialogue in dialogues for turn in dialogue.turns[:-1] for slot in turn.slots]
        said = {self._key(slot): slot for slot in slots if isinstance(slot, SaidSlot)}
        examples = []

        def encode(phrase: str) -> tuple[int, ...]:
            return tuple(self.model.language_model.text.encode(phrase))

        unlearned, pitch = [] if pitches else [encode(word) for word in PITCHES], encode("pitch")
        for dialogue in dialogues:
            if isinstance(dialogue, OnlyDecided):
                examples.append(Example(self._decided(dialogue)))
                continue
            segments = self.template.example(turns_of(dialogue, self._key), text=text, every=every)
            if dialogue.forced:
                segments = tuple(replace(s, forced=True) if isinstance(s, SignalSegment) else s for s in segments)
            segments = _learned_of(segments, dialogue.turns[-1].slots)
            for unsaid in {
                slot.unsaid for turn in dialogue.turns for slot in turn.slots if isinstance(slot, BetweenSlot)
            } - {""}:
                segments = _without_learning(segments, encode(unsaid))
            for word in unlearned if has_known_source(dialogue) else ():
                segments = _without_learning(segments, word, before=pitch)
            runs = [(s.kind, s.part.caption) for s in segments if isinstance(s, SignalSegment) and s.target]
            examples.append(Example(segments, tuple(self.states.of(runs))))
        rendered = self.embeddings.of(slots)
        return examples, rendered | self._reworded(said, rendered)

    def _decided(self, dialogue: OnlyDecided) -> tuple[Segment, ...]:
        """The segments, with the signal tokens as the only targets; without media, the end of the reply instead."""
        segments: tuple[Segment, ...] = self.template.example(turns_of(dialogue, self._key), text=False)
        if not dialogue.targets:
            before, last = segments[:-1], segments[-1].ids
            cut = len(last) - len(self.template.end)
            return (*before, TextSegment(last[:cut]), TextSegment(last[cut:], target=True))
        return tuple(TextSegment(s.ids, s.target) if isinstance(s, SignalSegment) else s for s in segments)

    @cached_property
    def codes(self) -> AttributeCodes:
        return AttributeCodes(self.model.input_projection.weight.shape[1])

    def _key(self, slot: MediaSlot) -> str:
        key = self.embeddings.key(slot)
        return f"{key} said {slot.said}" if isinstance(slot, SaidSlot) else key

    @torch.no_grad()
    def _reworded(self, said: dict[str, SaidSlot], rendered: dict[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings of what is shown, but for the words that are replaced: their codes are taken out, and in comes
        what the input projection, a linear one, turns into the language model's vectors of the others.

        The rest is as ImageBind gives it. A vector of words alone is a quarter as long as what stage 1 makes of media,
        and points elsewhere.
        """
        if not said:
            return {}
        before = torch.linalg.pinv(self.model.input_projection.weight.float()).cpu()
        found = {}
        for key, slot in said.items():
            known = worlddata.attributes(slot.value)
            new = tuple((name, word) for name, word in slot.said if word != known[name])
            embedding, directions = rendered[self.embeddings.key(slot)], self.codes.of(name for name, _ in new)
            length = torch.empty(1).uniform_(*WORD_LENGTH) * (len(new) / len(known)) ** 0.5
            put_in = length * (self.words.of([new])[0].float().cpu() @ before.T)
            found[key] = embedding - (embedding @ directions.T) @ directions + put_in
        return found


def _learned_of(segments: Sequence[Segment], made: Sequence[MediaSlot]) -> tuple[Segment, ...]:
    """Segments with the targets that the media ``made`` in the reply leave: of a request in other words than the
    world's only the medium, of one for what cannot be made only what is said: signal tokens too, not what they hold.

    The words of the former are not learned: their verbs are not to be guessed, and trying to did harm (of all kinds of
    dialogues' gradients, theirs was the only one that clearly raised the loss of held-out requests for sounds).
    """
    if any(isinstance(slot, OnlySaidSlot) for slot in made):
        return tuple(
            TextSegment(s.ids, s.target and not s.forced) if isinstance(s, SignalSegment) else s for s in segments
        )
    if any(isinstance(slot, SaidSlot) for slot in made):
        return tuple(replace(s, target=False) if isinstance(s, TextSegment) else s for s in segments)
    return tuple(segments)


def _without_learning(
    segments: Sequence[Segment], ids: tuple[int, ...], before: tuple[int, ...] = ()
) -> tuple[Segment, ...]:
    """Segments in which a run of tokens, wherever a reply has it ``before`` others, is no target of the loss."""
    found: list[Segment] = []
    for segment in segments:
        if not (isinstance(segment, TextSegment) and segment.target):
            found.append(segment)
            continue
        run, cuts = ids + before, [0]
        for start in range(len(segment.ids) - len(run) + 1):
            if segment.ids[start : start + len(run)] == run:
                cuts += [start, start + len(ids)]
        pieces = [segment.ids[a:b] for a, b in pairwise([*cuts, len(segment.ids)])]
        found += [replace(segment, ids=piece, target=n % 2 == 0) for n, piece in enumerate(pieces) if piece]
    return tuple(found)


def _deciding(batch: Sequence[Example]) -> set[int]:
    """First signal tokens, and what follows the last ones."""
    found = set()
    for one, after in chain.from_iterable(pairwise(example.segments) for example in batch):
        if isinstance(after, SignalSegment) or (isinstance(one, SignalSegment) and isinstance(after, TextSegment)):
            found.add(after.ids[0])
    return found


def freeze_for_stage(
    model: NextGPTModel,
    stage: int,
    *,
    rank: int = 16,
    all_rows: bool = False,
    alpha: float | None = None,
    targets: Sequence[str] = LORA_TARGETS,
    projections: bool = True,
) -> list[nn.Parameter]:
    """Leave trainable just what the stage trains, adding the adapter that holds it; returns those parameters.

    ``rank``, ``alpha`` and ``targets`` are the LoRA of stage 3, if the model has none yet (see
    ``LanguageModel.add_adapter``). ``projections``: whether the output projections are trained in stages 2 and 3.

    ``all_rows`` trains every token's row, as the original does without meaning to (its resized embeddings stay
    trainable in every stage); ours are the signal tokens' rows and the media marks'.
    """
    model.requires_grad_(False)
    lm = model.language_model
    rows = range(len(lm.tokenizer)) if all_rows else sorted(lm.signals.all)
    if stage == 1:
        model.input_projection.requires_grad_(True)
        if all_rows:
            lm.add_adapter(token_rows=rows)
    else:
        lm.add_adapter(rank=rank if stage == 3 else 0, alpha=alpha, targets=targets, token_rows=rows)
        model.output_projection.requires_grad_(projections)
        model.input_projection.requires_grad_(stage == 3)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train_stage(
    stage: int,
    model: NextGPTModel,
    examples: Examples,
    draw: Callable[[random.Random], Dialogue],
    recipe: Recipe,
    run: Path,
    *,
    rank: int = 16,
    all_rows: bool = False,
    projections: bool = True,
    pitches: bool = True,
    resume: bool = True,
    evaluate: Callable[[int], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Run one stage on the dialogues that ``draw`` makes.

    Without ``projections``, stage 2 teaches the signal tokens alone (``decoding_side`` goes on from there).
    ``pitches`` is False for a language model that says pitches rightly before: of the few pairs of a source and a
    pitch, which of them there are is soon learned by heart (measured on held-out requests for sounds: 44 of 48 replies
    right before stage 3, 5 after 2,000 steps; without their words, and with ``Recipe.adapter_decay``, 45 after 1,000 of
    a new adapter, the signal tokens being taught; in descriptions of held-out sounds 86 → 48 % within 271 steps).
    """
    trained = freeze_for_stage(model, stage, rank=rank, all_rows=all_rows, projections=projections)
    share = sum(p.numel() for p in trained) / sum(p.numel() for p in model.parameters())
    print(f"stage {stage} trains {share:.1%} of the parameters (decoders not counted)")
    fused = nullcontext if model.language_model.device.type == "cuda" else lambda: sdpa_kernel(SDPBackend.MATH)
    steps = {
        1: model.captioning_loss,
        2: partial(model.alignment_loss, measure=squared_error) if projections else model.captioning_loss,
        3: lambda batch, known: model.instruction_loss(
            batch, known, measure=squared_error, weights=dict.fromkeys(_deciding(batch), DECIDING)
        ),
    }

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(int(step_rng(recipe.seed, step).integers(2**31)))
        dialogues = [draw(rng) for _ in range(recipe.batch)]
        batch, known = examples.batch(dialogues, text=stage != 2, every=stage == 3, pitches=pitches)
        with fused():
            losses: Losses = steps[stage](batch, known)
        numbers = {f"{kind} distance": float(value.detach()) for kind, value in losses.distance.items()}
        numbers["cross entropy"], numbers["right"] = float(losses.cross_entropy.detach()), losses.accuracy
        return losses.total, numbers

    model.train()
    if isinstance(model.imagebind, nn.Module):
        model.imagebind.eval()
    result = fit(
        f"stage{stage}",
        recipe,
        {"model": _Trainable(model)},
        loss,
        run,
        parameters=trained,
        resume=resume,
        evaluate=evaluate,
        evaluate_every=500 if evaluate else 0,
    )
    model.eval()
    return {**result, "trained share": share}


class _Trainable(nn.Module):
    """The language model and the projections, without the encoder and the decoders: what a stage's state is made of."""

    def __init__(self, model: NextGPTModel) -> None:
        super().__init__()
        self.language_model = model.language_model
        self.input_projection = model.input_projection
        self.output_projection = model.output_projection
