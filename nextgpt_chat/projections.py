"""Input projection (ImageBind → language model) and output projections (signal-token states → decoder conditioning).

Parameter names are the published checkpoint's below the prefix that ``rename_published`` exchanges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

OUTPUT_MODES = ("transformer", "qformer", "linear")
_PUBLISHED_OUTPUTS = {"gen_text_hidden_fcs": "image", "gen_text_hidden_fcs_audio": "audio"}
_PUBLISHED_OUTPUTS["gen_text_hidden_fcs_video"] = "video"


class InputProjection(nn.Linear):
    """Linear map of ImageBind embeddings (n, E) to language-model positions (n, D), one position a medium."""

    def __init__(self, in_dim: int = 1024, out_dim: int = 4096) -> None:
        super().__init__(in_dim, out_dim)


@dataclass(frozen=True)
class OutputProjectionConfig:
    """Sizes of one output projection: (B, num_in, in_dim) states → (B, num_out, out_dim) conditioning.

    The defaults below ``num_out`` are the published ones. ``heads`` and ``mode`` cannot be read from weights.
    """

    in_dim: int
    out_dim: int
    num_in: int
    num_out: int
    mode: str = "transformer"
    hidden: int = 512
    layers: int = 4
    heads: int = 4
    feedforward: int = 2048

    def __post_init__(self) -> None:
        if self.mode not in OUTPUT_MODES:
            raise ValueError(f"mode must be one of {', '.join(OUTPUT_MODES)}, not {self.mode!r}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, num_in: int, mode: str = "transformer", heads: int = 4):
        """Sizes read from the shapes of a state dict (tensors, or anything with ``.shape``), without its prefix."""
        if mode == "linear":
            num_out, num_in = state["mix.weight"].shape
            out_dim, in_dim = state["model.weight"].shape
            return cls(in_dim, out_dim, num_in, num_out, mode)
        hidden, in_dim = state["fc.weight"].shape
        queries = state["query_embs" if mode == "transformer" else "query_tokens"]
        stem = "tfm.encoder.layers." if mode == "transformer" else "layers."
        layers = 1 + max(int(key.removeprefix(stem).split(".")[0]) for key in state if key.startswith(stem))
        inner = state[f"{stem}0.linear1.weight" if mode == "transformer" else f"{stem}0.feed_in.weight"].shape[0]
        return cls(in_dim, state["model.weight"].shape[0], num_in, queries.shape[1], mode, hidden, layers, heads, inner)


def build_output_projection(config: OutputProjectionConfig) -> nn.Module:
    """A new output projection with random weights; ``forward(hidden, embeddings)`` as in ``TransformerProjection``."""
    kinds = {"transformer": TransformerProjection, "qformer": QFormerProjection, "linear": LinearProjection}
    return kinds[config.mode](config)


class TransformerProjection(nn.Module):
    """Encoder-decoder transformer with learned queries (NExT-GPT, section 3; after GILL's GILLMapper).

    Pre-norm layers with a final norm on both sides, no masks, no positions, no dropout.
    """

    def __init__(self, config: OutputProjectionConfig) -> None:
        super().__init__()
        self.config = config
        width, options = config.hidden, {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.fc = nn.Linear(config.in_dim, width)
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, config.heads, config.feedforward, **options),
            config.layers,
            nn.LayerNorm(width),
            enable_nested_tensor=False,
        )
        decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, config.heads, config.feedforward, **options),
            config.layers,
            nn.LayerNorm(width),
        )
        self.tfm = nn.Transformer(width, config.heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
        self.query_embs = nn.Parameter(torch.randn(1, config.num_out, width))
        self.model = nn.Linear(width, config.out_dim)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """``hidden``: last-layer states at the signal tokens, ``embeddings``: their input embeddings, both
        (B, num_in, in_dim). Returns (B, num_out, out_dim)."""
        x = self.fc(hidden + embeddings)
        return self.model(self.tfm(x, self.query_embs.expand(len(x), -1, -1)))


class QFormerProjection(nn.Module):
    """BLIP-2 style query transformer (the published code's alternative; not used by its checkpoint).

    Post-norm BERT layers: self-attention of the queries, cross-attention to the states, GELU feed-forward.
    """

    def __init__(self, config: OutputProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.fc = nn.Linear(config.in_dim, config.hidden)
        self.query_tokens = nn.Parameter(torch.randn(1, config.num_out, config.hidden) * 0.02)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.layers = nn.ModuleList(_QueryLayer(config) for _ in range(config.layers))
        self.model = nn.Linear(config.hidden, config.out_dim)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """As ``TransformerProjection.forward``."""
        x = self.fc(hidden + embeddings)
        queries = self.norm(self.query_tokens).expand(len(x), -1, -1)
        for layer in self.layers:
            queries = layer(queries, x)
        return self.model(queries)


class _QueryLayer(nn.Module):
    def __init__(self, config: OutputProjectionConfig) -> None:
        super().__init__()
        self.self_attention = _Attention(config.hidden, config.heads)
        self.cross_attention = _Attention(config.hidden, config.heads)
        self.feed_in = nn.Linear(config.hidden, config.feedforward)
        self.feed_out = nn.Linear(config.feedforward, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)

    def forward(self, queries: Tensor, states: Tensor) -> Tensor:
        queries = self.cross_attention(self.self_attention(queries, queries), states)
        return self.norm(queries + self.feed_out(nn.functional.gelu(self.feed_in(queries))))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.query(x), self.key(context), self.value(context))
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.norm(x + self.out(mixed))


class LinearProjection(nn.Module):
    """One linear map over features and one over tokens (the published code declares this mode but cannot run it)."""

    def __init__(self, config: OutputProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Linear(config.in_dim, config.out_dim)
        self.mix = nn.Linear(config.num_in, config.num_out)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """As ``TransformerProjection.forward``."""
        return self.mix(self.model(hidden + embeddings).transpose(1, 2)).transpose(1, 2)


def rename_published(key: str) -> str | None:
    """Our name of a tensor in the authors' ``pytorch_model.pt``; None if it is not part of a projection."""
    if key in ("llama_proj.weight", "llama_proj.bias"):
        return key.replace("llama_proj", "input_projection")
    attribute, _, rest = key.partition(".0.")
    if attribute not in _PUBLISHED_OUTPUTS or not rest:
        return None
    return f"output_projection.{_PUBLISHED_OUTPUTS[attribute]}.{rename_published_layer(rest)}"


_QFORMER_NAMES = (
    (r"^Qformer\.bert\.embeddings\.LayerNorm\.", "norm."),
    (r"^Qformer\.bert\.encoder\.layer\.", "layers."),
    (r"\.attention\.self\.", ".self_attention."),
    (r"\.crossattention\.self\.", ".cross_attention."),
    (r"\.attention\.output\.dense\.", ".self_attention.out."),
    (r"\.attention\.output\.LayerNorm\.", ".self_attention.norm."),
    (r"\.crossattention\.output\.dense\.", ".cross_attention.out."),
    (r"\.crossattention\.output\.LayerNorm\.", ".cross_attention.norm."),
    (r"\.intermediate_query\.dense\.", ".feed_in."),
    (r"\.output_query\.dense\.", ".feed_out."),
    (r"\.output_query\.LayerNorm\.", ".norm."),
)


def rename_published_layer(key: str) -> str:
    """Our name of a tensor inside one published output projection (only the q-former's names differ)."""
    for pattern, ours in _QFORMER_NAMES:
        key = re.sub(pattern, ours, key)
    return key
