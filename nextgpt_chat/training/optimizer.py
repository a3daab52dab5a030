"""The optimizer of every stage: AdamW, and Muon for the hidden matrices where a recipe asks for it.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal one, so that directions in which
gradients are small are learned as fast as the others.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NOT_HIDDEN = ("embed", "pos_", "cls_token", "lm_head", "conv_in", "conv_out", "rgbt_stem", "readers", "lora_")
"""Parts of the names of what stays with AdamW: tables, and the layers that meet the data."""
SMALLEST = 16


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon may have it: a linear or convolutional weight inside a network."""
    if parameter.ndim < 2 or any(part in name for part in NOT_HIDDEN):
        return False
    return min(len(parameter), parameter[0].numel()) >= SMALLEST


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, columns) → about the nearest matrices whose singular values are all 1, by Newton–Schulz iterations.

    The quintic's coefficients bring every singular value near 1 (0.7 to 1.2) in five steps instead of exactly to 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for weights of two or more dimensions (convolutions as rows by the rest).

    A step is scaled to the size of AdamW's, so that both use one learning rate (Liu et al. 2025, section 2.2).
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])
                by_shape.setdefault((len(parameter), parameter[0].numel()), []).append((parameter, ahead))
            for (rows, columns), some in by_shape.items():
                updates = orthogonalised(torch.stack([ahead.reshape(rows, columns) for _, ahead in some]).float())
                size = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
                for (parameter, _), update in zip(some, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.reshape(parameter.shape).to(parameter.dtype), alpha=-size)


def make_optimizers(
    named: list[tuple[str, nn.Parameter]],
    learning_rate: float,
    weight_decay: float,
    muon: bool,
    adapter_decay: float = 0.0,
    reading_share: float = 1.0,
) -> list[torch.optim.Optimizer]:
    """AdamW for all of them, or Muon for the hidden matrices and AdamW for the rest; LoRA with a weight decay of its
    own. ``share`` of a group: of the learning rate, less than 1 for LoRA, the input projection and the tokens' input
    rows, if so asked."""
    adapter = [p for name, p in named if "lora_" in name]
    untied = any("lm_head." in name for name, _ in named)  # a tied row is the output's, too, and must learn
    reading = [p for name, p in named if "input_projection." in name or (untied and _is_input_row(name))]
    slow = {id(p) for p in (*adapter, *reading)}
    hidden = [p for name, p in named if muon and id(p) not in slow and is_hidden_matrix(name, p)]
    taken = slow | {id(p) for p in hidden}
    groups = [
        {"params": [p for _, p in named if id(p) not in taken], "weight_decay": weight_decay, "share": 1.0},
        {"params": adapter, "weight_decay": adapter_decay, "share": reading_share},
        {"params": reading, "weight_decay": weight_decay, "share": reading_share},
    ]
    groups = [group for group in groups if group["params"]]
    made: list[torch.optim.Optimizer] = []
    if groups:
        made.append(torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-8))
    if hidden:
        made.append(Muon(hidden, lr=learning_rate, weight_decay=weight_decay))
    return made


def _is_input_row(name: str) -> bool:
    return "embed_tokens." in name and "trainable_tokens" in name
