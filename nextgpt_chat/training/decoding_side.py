"""The ends of stages 2 and 3 (NExT-GPT, sections 4 and 5): output projections learn from the language model's states,
kept.

The language model is frozen in stage 2 and its signal tokens are soon learned; from then on its states at them no
longer change, and after stage 3 neither. So they are computed once, and a projection sees some hundred of them a second
in place of ten.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ..distances import squared_error
from ..model import NextGPTModel, SignalStates
from ..picturebook.dialogues import Dialogue
from .alignment import Examples
from .loop import Recipe, fit, goes_on, step_rng

_FLOOR = 1e-2  # of the mean variance, added to every direction
_WHITENED = 2_000  # runs that the variances are taken from


def states_of(
    kind: str, model: NextGPTModel, examples: Examples, draw: Callable[[random.Random], Dialogue], count: int
) -> SignalStates:
    """The states of ``count`` dialogues in which one kind of medium is made, on the CPU in half precision: 4 GB for
    9,600 clips and a language model 4096 wide. Raises ValueError if ``draw`` makes none of them."""
    rng, made = random.Random(23), []
    for start in tqdm(range(0, count, 32), desc=f"states of {kind}", mininterval=5):
        batch, known = examples.batch([draw(rng) for _ in range(min(32, count - start))], text=False)
        states = model.signal_states(kind, batch, known)
        if states is None:
            raise ValueError(f"these dialogues ask for no {kind}")
        made.append([one.half().cpu() for one in (states.hidden, states.embeddings, states.captions)])
    return SignalStates(*(torch.cat(parts) for parts in zip(*made, strict=True)))


@torch.no_grad()
def whiten(projection: nn.Module, inputs: Tensor) -> None:
    """Starts a transformer projection's first layer where inputs (n, tokens, D) come out with equal variance in every
    direction.

    What tells two requests apart lies in directions of little variance (one of 192 has a third of it). Measured after
    200 steps: mean distance over the first 24 positions 5.1 with this start, 5.8 without.
    """
    layer, width = projection.fc, len(projection.fc.weight)
    x = inputs.to(layer.weight)
    centred = (x - x.mean(0)).flatten(0, 1)
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    kept = min(width, len(variances))
    scaled = (directions[:, -kept:] / (variances[-kept:] + _FLOOR * variances.mean()).sqrt()).T
    turned = torch.linalg.qr(torch.randn(width, width, device=scaled.device)).Q[:, :kept] @ scaled
    layer.weight.copy_(turned)
    layer.bias.copy_(-turned @ x.mean((0, 1)))


def train_projection(
    name: str,
    projection: nn.Module,
    states: SignalStates,
    recipe: Recipe,
    run: Path,
    *,
    new: bool = True,
    resume: bool = True,
    after: Path | None = None,
) -> dict[str, float]:
    """Train one output projection on kept states; ``name``, ``run``, ``resume`` and ``after`` are as in ``loop.fit``.
    ``new``: it knows nothing yet, and starts whitened."""
    if new and hasattr(projection, "fc") and not (resume and goes_on(run, after)):
        some = slice(0, _WHITENED)
        whiten(projection, states.hidden[some].float() + states.embeddings[some].float())
    device = next(projection.parameters()).device

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = step_rng(recipe.seed, step).integers(len(states.captions), size=recipe.batch)
        hidden, embeddings, captions = (
            one[torch.from_numpy(chosen)].to(device).float()
            for one in (states.hidden, states.embeddings, states.captions)
        )
        # Fused attention costs a multiple on CPUs for narrow heads.
        with sdpa_kernel(SDPBackend.MATH):
            output = projection(hidden, embeddings)
        return squared_error(output[:, 0] if output.shape[1] == 1 else output, captions), {}

    projection.requires_grad_(True).train()
    result = fit(name, recipe, {"projection": projection}, loss, run, resume=resume, after=after)
    projection.eval()
    return result
