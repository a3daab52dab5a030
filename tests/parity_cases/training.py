"""The original's training batches, losses and gradient norms of all three stages."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.model import Example, Losses, NextGPTModel
from nextgpt_chat.prompting import MediaSegment, SignalSegment, V0AsTrainedTemplate, make_template, position_keys
from nextgpt_chat.training.alignment import freeze_for_stage
from nextgpt_chat.training.stand_ins import StandIn

from .comparing import Case, CaseError, Check, Rules
from .folder import GoldenFolder
from .preprocessing import encode_file
from .published import PublishedWeights, our_name, plain_name

FILE = "training"
FILES = {"images": "image", "audios": "audio", "videos": "video"}
PADDING_TARGET = -100


def find(golden: GoldenFolder) -> Iterator[Case]:
    """For each batch its ids and masks, its losses, and its gradient norms."""
    if not golden.has(f"{FILE}.json"):
        return
    facts = golden.json(f"{FILE}.json")
    rules = Rules(facts, f"{FILE}.json")
    models = functools.cache(lambda stage: _model(golden, stage))
    for name, case in facts["cases"].items():
        batch = _Batch(golden, name, case, models)
        yield Case(f"training {name} ids", batch.check_ids, rules)
        if "loss" in case:
            yield Case(f"training {name} loss", batch.check_loss, rules)
        if case.get("grad_norms"):
            yield Case(f"training {name} gradients", batch.check_gradients, rules)


def _model(golden: GoldenFolder, stage: int) -> NextGPTModel:
    """The golden weights as they are trained in a stage: all rows of the embedding and of the head, as the original
    does, and from stage 3 on LoRA."""
    weights = PublishedWeights(golden)
    model = weights.model()
    freeze_for_stage(model, stage, all_rows=True, **weights.lora)
    if stage == 3:
        weights.load_lora(model.language_model)
    return model.eval()


class _Batch:
    """One case. Everything is made when it is first asked for, so that what fails, fails in its own case."""

    def __init__(self, golden: GoldenFolder, name: str, facts: dict[str, Any], models) -> None:
        self.golden, self.name, self.facts = golden, name, facts
        self._models = models

    @property
    def stage(self) -> int:
        """1, 2 or 3; in the name of a case that does not say it."""
        found = re.search(r"stage(\d)", self.name)
        if "stage" not in self.facts and found is None:
            raise CaseError(f"{FILE}.json: {self.name} does not say its stage")
        return self.facts["stage"] if "stage" in self.facts else int(found[1])

    @property
    def model(self) -> NextGPTModel:
        return self._models(self.stage)

    @functools.cached_property
    def template(self) -> V0AsTrainedTemplate:
        plain, signals = self.golden.plain(self.golden.json(f"{FILE}.json")["tokenizer"])
        return make_template("v0-as-trained", plain, signals)

    @property
    def kind(self) -> str:
        """What is generated: ``TextToImage`` → image."""
        kind = self.facts.get("modality") or self.facts.get("dataset_type", "").removeprefix("TextTo").lower()
        if not kind:
            raise CaseError(f"{FILE}.json: {self.name} does not say what it generates")
        return kind

    # --- what we make of it --------------------------------------------------------------------------------------

    @functools.cached_property
    def files(self) -> list[tuple[str, str]]:
        """(kind, file name) of each row's medium, in the rows' order."""
        return [(kind, name) for field, kind in FILES.items() for name in self.facts.get(field, ())]

    @functools.cached_property
    def talks(self) -> list[list[Turn]]:
        """The rows as conversations."""
        media = iter(self.files)
        if self.stage == 1:
            question = TextPart(self.facts["prompt"])
            return [
                [_user(question, StandIn(*next(media))), Turn("assistant", (TextPart(caption),))]
                for caption in self.facts["captions"]
            ]
        if self.stage == 2:
            return [
                [_user(TextPart(caption)), Turn("assistant", (TextPart(caption), _made(self.kind)))]
                for caption in self.facts["captions"]
            ]
        talks = []
        for conversation in self.facts["conversations"]:
            turns = []
            for turn in conversation:
                words = TextPart(turn["value"])
                if turn["from"] == "human":
                    seen = turn.get("input_modality", "text") != "text"
                    turns.append(_user(words, *([StandIn(*next(media))] if seen else [])))
                else:
                    made = turn.get("output_modality", "text")
                    turns.append(Turn("assistant", (words, *([_made(made)] if made != "text" else []))))
            talks.append(turns)
        return talks

    @functools.cached_property
    def examples(self) -> list[Example]:
        states = self._caption_states()
        limit = self.facts.get("max_tgt_len")
        examples = []
        for row, turns in enumerate(self.talks):
            segments = self.template.example(turns, every=True, limit=limit)
            runs = sum(isinstance(segment, SignalSegment) for segment in segments)
            examples.append(Example(segments, (states[row],) * runs if states is not None else ()))
        return examples

    def _caption_states(self) -> Tensor | None:
        where = self.facts.get("caption_embs")
        if not where:
            return None
        file, _, name = where.split()[0].partition(":")
        return self.golden.tensor(file, name).float()

    @functools.cached_property
    def known(self) -> dict[str, Tensor]:
        """ImageBind's embeddings of the media, by file name.

        Those that the original trained on, where the folder has them: what training does with an embedding is judged
        here, preprocessing is judged by its own cases (and differs where the original's sounds change each other).
        """
        if not self.files:
            return {}
        projection = self.model.input_projection
        name = f"{self.name}.mm_embeds"
        if name in self.golden.tensors(FILE) and projection.out_features >= projection.in_features:
            vectors = _unprojected(projection, self.golden.tensor(FILE, name)[:, 0])
            return {file: vector for (_, file), vector in zip(self.files, vectors, strict=True)}
        encoder = PublishedWeights(self.golden).imagebind()
        return {name: encode_file(self.golden, encoder, kind, name) for kind, name in dict.fromkeys(self.files)}

    def _losses(self) -> Losses:
        model, scale = self.model, self.facts.get("loss_scale", 1)
        if self.stage == 1:
            return model.captioning_loss(self.examples, self.known)
        if self.stage == 2:
            return model.alignment_loss(self.examples, self.known, scale)
        scales = {self.kind: scale} if self._caption_states() is not None else None
        return model.instruction_loss(self.examples, self.known, scales)

    # --- checks --------------------------------------------------------------------------------------------------

    def check_ids(self, check: Check) -> None:
        """The batch before and after the prefix. A medium's position has no id; it is never after the prefix."""
        pad = self.template.text.pad
        rows, targets = [], []
        for turns, example in zip(self.talks, self.examples, strict=True):
            start = self.template.prefix_length(turns)
            keys = position_keys(example.segments)[start:]
            check.require(all(isinstance(key, int) for key in keys), "a medium stands after the prefix")
            rows.append(torch.tensor([key if isinstance(key, int) else -1 for key in keys]))
            targets.append(torch.tensor(_targets(example))[start:])
        stack = nn.utils.rnn.pad_sequence
        ids = stack(rows, True, pad)
        found = {
            "input_ids": ids,
            "target_ids": stack(targets, True, PADDING_TARGET),
            "attention_mask": stack([torch.ones(len(row)) for row in rows], True, 0),
        }
        if f"{self.name}.full_targets" in self.golden.tensors(FILE):
            width = self.model.input_projection.in_features
            nothing = {name: torch.zeros(width) for _, name in self.files}
            _, mask, full = self.model.batch(self.examples, nothing)
            found |= {"full_targets": full, "full_attention_mask": mask}
        for name, values in found.items():
            check.compare(f"{self.name}.{name}", values, self.golden.tensor(FILE, f"{self.name}.{name}"))

    def check_loss(self, check: Check) -> None:
        with torch.no_grad():
            losses = self._losses()
        check.compare("loss", losses.total, self.facts["loss"])
        if self.facts.get("mse_loss") is not None:
            check.compare("mse_loss", losses.distance[self.kind], self.facts["mse_loss"])

    def check_gradients(self, check: Check) -> None:
        model = self.model
        model.zero_grad()
        self._losses().total.backward()
        norms = {plain_name(n): p.grad.norm() for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        for name, expected in self.facts["grad_norms"].items():
            found = norms.get(our_name(name))
            check.require(found is not None, f"{name} has no gradient here")
            if found is not None:
                check.compare("grad_norms", found, expected, label=f"gradient norm of {name}")


def _unprojected(projection: nn.Linear, positions: Tensor) -> Tensor:
    """The embeddings (n, E) of which a projection makes these positions (n, D), D ≥ E."""
    weight, bias = projection.weight.detach().double(), projection.bias.detach().double()
    vectors = torch.linalg.lstsq(weight, (positions.double() - bias).T).solution.T
    if not torch.allclose(vectors @ weight.T + bias, positions.double(), atol=1e-4):
        raise CaseError(f"{FILE}.safetensors: mm_embeds are not what this input projection makes")
    return vectors.float()


def _user(words: TextPart, *media: StandIn) -> Turn:
    return Turn("user", (*(MediaPart(medium) for medium in media), words))


def _made(kind: str) -> MediaPart:
    return MediaPart(StandIn(kind, f"made {kind}"))


def _targets(example: Example) -> list[int]:
    targets: list[int] = []
    for segment in example.segments:
        if isinstance(segment, MediaSegment):
            targets.append(PADDING_TARGET)
        else:
            targets += segment.ids if segment.target else [PADDING_TARGET] * len(segment.ids)
    return targets
