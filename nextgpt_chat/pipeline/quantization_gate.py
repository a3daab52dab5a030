"""Does a language model in fewer bits still steer the decoders? Its conditioning against full precision.

Nothing is sampled: both read the same sentences and the same signal tokens, so that only the rounding differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import load_model
from ..checkpoints.planning import keep_verdict
from ..content import MEDIA_KINDS, TextPart, Turn
from ..errors import CheckpointError
from ..language_model import SignalGroup
from ..model import NextGPTModel
from ..prompting import Template, make_template

THRESHOLD = 0.99
"""Least cosine similarity of a conditioning to the one in full precision, for the worst sentence."""
PROMPTS = (
    ("Show me a red ball.", "Here is a red ball."),
    ("I would like to see and hear the sea at night.", "These are waves on a dark beach under the moon."),
    ("Make something about a dog in the snow.", "A brown dog runs through deep snow and barks."),
    ("What does a busy street look like?", "Cars and people cross a wide street in the rain."),
    ("Think of an old church.", "The bells of a stone church ring on a hill."),
    ("Surprise me with an animal.", "A green frog sits on a leaf and croaks."),
)


@dataclass(frozen=True)
class Similarity:
    """Of one kind's conditionings. ``lowest``, ``mean``: cosine similarity to full precision over `PROMPTS`.
    ``recognised``: the share of sentences whose conditioning is nearest to its own one in full precision: what all
    conditionings have in common can make cosines high that mean nothing."""

    kind: str
    lowest: float
    mean: float
    recognised: float

    @property
    def passed(self) -> bool:
        return self.lowest >= THRESHOLD and self.recognised == 1.0

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"{self.kind} {self.lowest:.4f} at least, {self.mean:.4f} on average, "
            f"{self.recognised:.0%} of the sentences told apart"
        )


@torch.no_grad()
def conditionings(model: NextGPTModel, template: Template) -> dict[str, Tensor]:
    """Kind → conditionings (sentences, tokens · width), float32 in main memory, of every sentence in `PROMPTS`."""
    lm = model.language_model
    found: dict[str, list[Tensor]] = {kind: [] for kind in MEDIA_KINDS if kind in model.output_projection}
    for question, answer in PROMPTS:
        prompt = template.fit([Turn("user", (TextPart(question),))], lm.context)
        words = lm.text.encode(answer)
        ids, starts = [*words], {}
        for kind in found:
            starts[kind] = prompt.positions + len(ids)
            ids += lm.signals.groups[kind]
        embeds = torch.cat([model.embed_segments(prompt.segments), lm.embed(ids)[None]], dim=1)
        states = lm.states(embeds)
        for kind, start in starts.items():
            run = slice(start, start + len(lm.signals.groups[kind]))
            made = model.condition(SignalGroup(kind, states[:, run], embeds[:, run]))
            found[kind].append(made.flatten().float().cpu())
    return {kind: torch.stack(rows) for kind, rows in found.items()}


def compare(full: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> tuple[Similarity, ...]:
    """How alike two results of `conditionings` are, kind by kind."""
    found = []
    for kind, reference in full.items():
        cosines = torch.cosine_similarity(rounded[kind], reference)
        nearest = torch.cdist(rounded[kind], reference).argmin(1)
        own = nearest == torch.arange(len(reference))
        found.append(Similarity(kind, float(cosines.min()), float(cosines.mean()), float(own.float().mean())))
    return tuple(found)


def judge(similarities: tuple[Similarity, ...], what: str) -> str:
    """The sentence of a passed gate. Raises CheckpointError that says what failed and what to do. NaN fails."""
    if failed := [one for one in similarities if not one.passed]:
        listed = "; ".join(one.sentence() for one in failed)
        raise CheckpointError(
            f"{what} changes what the decoders are told: cosine similarity of the conditioning to full precision: "
            f"{listed}. {THRESHOLD} and 100% are asked for. Choose a memory plan with more bits "
            "(`python -m nextgpt_chat doctor` lists those that fit)."
        )
    listed = "; ".join(one.sentence() for one in similarities)
    return f"conditioning against full precision, cosine similarity: {listed} (asked: {THRESHOLD}, 100%)"


def check_quantization(folder: str | Path, pipeline: Any, device: str | torch.device = "cpu") -> str:
    """Compares ``pipeline``, loaded from ``folder`` with a quantized plan, with the same checkpoint unquantized, which
    is loaded on ``device`` for the time of the check (16 bits, on the CPU too). Returns or raises as `judge`, and keeps
    the verdict in the folder: the plan "auto" does not take a precision that failed.

    Raises CheckpointError also for a pipeline that is not quantized.
    """
    plan = pipeline.memory_plan
    if plan is None or plan.bits is None:
        name = "this model" if plan is None else f"the memory plan {plan.name}"
        raise CheckpointError(f"There is nothing to compare: {name} quantizes nothing. Add --memory-plan int8 or int4.")
    rounded = _of(pipeline.model, pipeline.manifest)
    dtype = pipeline.model.language_model.dtype
    reference, manifest = load_model(folder, device, dtype, kinds=(), local_files_only=True)
    full = _of(reference, manifest)
    try:
        said = judge(compare(full, rounded), f"The memory plan {plan.name}")
    except CheckpointError as error:
        keep_verdict(folder, plan.precision, False, str(error))
        raise
    keep_verdict(folder, plan.precision, True, said)
    return said


def _of(model: NextGPTModel, manifest: Any) -> dict[str, Tensor]:
    lm = model.language_model
    return conditionings(model, make_template(manifest.template, lm.text, lm.signals))
