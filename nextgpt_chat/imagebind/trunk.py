"""The transformer of one ImageBind tower, with the published parameter names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


class _Attention(nn.Module):
    """Self-attention with ``nn.MultiheadAttention``'s parameters; ``extra_key`` adds one learned key and value."""

    def __init__(self, width: int, heads: int, extra_key: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.empty(1, 1, width)) if extra_key else None
        self.bias_v = nn.Parameter(torch.empty(1, 1, width)) if extra_key else None
        nn.init.xavier_uniform_(self.in_proj_weight)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                nn.init.xavier_normal_(bias)

    def forward(self, x: Tensor, first_only: bool = False, causal: bool = False) -> Tensor:
        """(B, L, D) to (B, L, D), or (B, 1, D) when only the first token asks."""
        batch, _, width = x.shape
        if first_only:
            weights, biases = self.in_proj_weight.split((width, 2 * width)), self.in_proj_bias.split((width, 2 * width))
            query = F.linear(x[:, :1], weights[0], biases[0])
            key, value = F.linear(x, weights[1], biases[1]).chunk(2, dim=-1)
        else:
            query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.bias_k is not None:
            key = torch.cat([key, self.bias_k.expand(batch, -1, -1)], dim=1)
            value = torch.cat([value, self.bias_v.expand(batch, -1, -1)], dim=1)
        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    """Pre-norm transformer block. ``drop_path`` is the chance that a sample skips a branch while training."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, extra_key: bool, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attn = _Attention(width, heads, extra_key)
        self.norm_1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = _Mlp(width, int(width * mlp_ratio))
        self.norm_2 = nn.LayerNorm(width, eps=NORM_EPS)

    def _kept(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(keep).div_(keep)

    def forward(self, x: Tensor, first_only: bool = False, causal: bool = False) -> Tensor:
        attended = self.attn(self.norm_1(x), first_only, causal)
        x = (x[:, :1] if first_only else x) + self._kept(attended)
        return x + self._kept(self.mlp(self.norm_2(x)))


class Trunk(nn.Module):
    """The blocks of one tower, (B, L, D) to (B, L, D); a layer norm before them with ``pre_norm``."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        pre_norm: bool = False,
        extra_key: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        # A Sequential, because the published name is ``pre_transformer_layer.0``.
        self.pre_transformer_layer = nn.Sequential(*[nn.LayerNorm(width, eps=NORM_EPS)] * pre_norm)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio, extra_key, rate) for rate in rates)
        self.apply(_init_linear)

    def forward(self, x: Tensor, first_only: bool = False, causal: bool = False) -> Tensor:
        """(B, L, D) to (B, L, D); with ``first_only`` to (B, 1, D), the last block sparing the other tokens."""
        x = self.pre_transformer_layer(x)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            x = block(x, first_only and i == last, causal)
        return x

    def halfway(self, x: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D): the states after half of the blocks."""
        x = self.pre_transformer_layer(x)
        for block in self.blocks[: (len(self.blocks) + 1) // 2]:
            x = block(x)
        return x


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
