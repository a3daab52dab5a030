"""Input projection (ImageBind → language model) and output projections (signal-token states → decoder conditioning).

Parameter names are the published checkpoint's below the prefix that ``rename_published`` exchanges; the grouping
projection, of which no weights were published, has names of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_MODES = ("linear", "grouping")
OUTPUT_MODES = ("transformer", "qformer", "linear")
_PUBLISHED_OUTPUTS = {"gen_text_hidden_fcs": "image", "gen_text_hidden_fcs_audio": "audio"}
_PUBLISHED_OUTPUTS["gen_text_hidden_fcs_video"] = "video"


@dataclass(frozen=True)
class InputProjectionConfig:
    """Sizes of an input projection: features of width ``in_dim`` → language-model positions of width ``out_dim``.

    All below ``mode`` belongs to "grouping"; the defaults are the 2024 code's for ImageBind huge. ``groups``: concept
    tokens of each grouping stage, the last number is that of the positions; ``layers``: transformer layers in each
    stage, and after the last one. ``heads`` cannot be read from weights.
    """

    in_dim: int
    out_dim: int
    mode: str = "linear"
    hidden: int = 512
    heads: int = 8
    groups: tuple[int, ...] = (64, 8)
    layers: tuple[int, ...] = (6, 3, 3)

    def __post_init__(self) -> None:
        if self.mode not in INPUT_MODES:
            raise ValueError(f"mode must be one of {', '.join(INPUT_MODES)}, not {self.mode!r}")
        if self.mode == "linear":
            return
        if self.heads < 1 or self.hidden < 1 or self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if not self.groups or min(self.groups) < 1 or min(self.layers, default=-1) < 0:
            raise ValueError(f"groups {self.groups} or layers {self.layers} hold a number that is too small")
        if len(self.layers) != len(self.groups) + 1:
            raise ValueError(f"{len(self.groups)} grouping stages need one number more in layers, not {self.layers}")

    @classmethod
    def grouping(cls, in_dim: int, out_dim: int) -> InputProjectionConfig:
        """The grouping projection for an encoder of any width: half of it inside, heads of 64."""
        hidden = max(8, in_dim // 2)
        hidden -= hidden % (64 if hidden >= 64 else 8)
        return cls(in_dim, out_dim, "grouping", hidden, max(1, hidden // 64))

    def sizes(self) -> dict[str, Any]:
        """What a checkpoint's manifest says about it, beside the mode; JSON-able."""
        if self.mode == "linear":
            return {}
        return {"hidden": self.hidden, "heads": self.heads, "groups": list(self.groups), "layers": list(self.layers)}


def build_input_projection(config: InputProjectionConfig) -> InputProjection | GroupingProjection:
    """A new input projection with random weights.

    Both kinds have ``positions`` (of the language model a medium) and ``reads_patches`` (patch features instead of
    one embedding).
    """
    if config.mode == "linear":
        return InputProjection(config.in_dim, config.out_dim)
    return GroupingProjection(config)


class InputProjection(nn.Linear):
    """Linear map of ImageBind embeddings (n, E) to language-model positions (n, D), one position a medium."""

    positions = 1
    reads_patches = False

    def __init__(self, in_dim: int = 1024, out_dim: int = 4096) -> None:
        super().__init__(in_dim, out_dim)

    @property
    def config(self) -> InputProjectionConfig:
        return InputProjectionConfig(self.in_features, self.out_features)


class GroupingProjection(nn.Module):
    """Learnable concept tokens that gather an encoder's patches by hierarchical grouping (NExT-GPT's ICML version,
    encoding-side alignment; after GroupViT, Xu et al. 2022, section 3).

    Each stage mixes its concept tokens with what is there (at first the patches), then gives every item to one
    concept and goes on with the concepts. It follows the papers' equations; other implementations' weights do not fit.
    """

    reads_patches = True

    def __init__(self, config: InputProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.fc = nn.Linear(config.in_dim, config.hidden)
        self.stages = nn.ModuleList(
            _GroupingStage(config.hidden, config.heads, layers, groups)
            for layers, groups in zip(config.layers, config.groups, strict=False)
        )
        self.layers = _mixing_layers(config.hidden, config.heads, config.layers[-1])
        self.norm = nn.LayerNorm(config.hidden)
        self.model = nn.Linear(config.hidden, config.out_dim)

    @property
    def positions(self) -> int:
        return self.config.groups[-1]

    def forward(self, patches: Tensor) -> Tensor:
        """Patch features (B, P, in_dim), any number of patches, in any order, → (B, positions, out_dim).

        In training mode the assignment is drawn (Gumbel noise); in eval mode every patch goes where it fits best.
        """
        x = self.fc(patches)
        for stage in self.stages:
            x = stage(x)
        for layer in self.layers:
            x = layer(x)
        return self.model(self.norm(x))


def _mixing_layers(width: int, heads: int, count: int) -> nn.ModuleList:
    options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    return nn.ModuleList(nn.TransformerEncoderLayer(width, heads, 4 * width, **options) for _ in range(count))


class _GroupingStage(nn.Module):
    """Concept tokens and items attend to each other, then the items are assigned (GroupViT, equations 2 to 5)."""

    def __init__(self, width: int, heads: int, layers: int, groups: int) -> None:
        super().__init__()
        self.concepts = nn.Parameter(0.02 * torch.randn(1, groups, width))
        self.layers = _mixing_layers(width, heads, layers)
        self.norm_concepts, self.norm_items = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm_merged = nn.LayerNorm(width)
        self.feed_in, self.feed_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, items: Tensor) -> Tensor:
        groups = self.concepts.shape[1]
        x = torch.cat([self.concepts.expand(len(items), -1, -1), items], 1)
        for layer in self.layers:
            x = layer(x)
        concepts, items = self.norm_concepts(x[:, :groups]), self.norm_items(x[:, groups:])
        logits = self.query(concepts) @ self.key(items).transpose(1, 2) / concepts.shape[-1] ** 0.5
        assigned = self._assign(logits.float()).to(items.dtype)
        # The mean of each concept's items; a concept that got none keeps only itself.
        mean = assigned @ self.value(items) / assigned.sum(-1, keepdim=True).clamp(min=1)
        merged = concepts + self.out(mean)
        return merged + self.feed_out(F.gelu(self.feed_in(self.norm_merged(merged))))

    def _assign(self, logits: Tensor) -> Tensor:
        """One concept an item: (B, groups, items) of zeros and ones, with the gradient of the soft assignment."""
        if self.training:
            return F.gumbel_softmax(logits, hard=True, dim=1)
        soft = logits.softmax(1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        return hard + soft - soft.detach()


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
        return self.norm(queries + self.feed_out(F.gelu(self.feed_in(queries))))


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
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
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
