"""The base language model: LLaMA with Vicuna v0's delta, or a merged Vicuna v0. Is it the right one?

What can be proved raises; what only looks wrong becomes a warning that says so.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .published import EMBEDDING, HEAD, Published, Shapes, compare, lacks
from .tensors import TensorSource

_FIRST_LLAMA_CONTEXT, _FIRST_LLAMA_EPSILON = 2048, 1e-6
_ADVICE = (
    "The published weights belong to Vicuna-7B v0: LLaMA-7B (the first LLaMA) with the delta lmsys/vicuna-7b-delta-v0. "
    "On any other base they talk gibberish."
)


def add_rows(base: Tensor, delta: Tensor) -> Tensor:
    """base + delta in half precision; rows that only the delta has (Vicuna v0's [PAD]) are added to zeros."""
    if base.shape[0] > delta.shape[0] or base.shape[1:] != delta.shape[1:]:
        raise ValueError(f"a delta of {tuple(delta.shape)} does not fit a base of {tuple(base.shape)}")
    padded = torch.zeros(delta.shape, dtype=torch.float16)
    padded[: base.shape[0]] = base
    return padded + delta.to(torch.float16)


@dataclass
class BaseModel:
    """A base that fits. ``shapes``: the tensors that it gives (all but the token tables, which the published file
    replaces). ``read`` gives one as the tensors to add up."""

    config: Any
    base: TensorSource
    delta: TensorSource | None
    shapes: Shapes
    warnings: list[str] = field(default_factory=list)

    def read(self, name: str) -> Sequence[Tensor]:
        parts = [self.base] if self.delta is None else [self.base, self.delta]
        return [part.get(name) for part in parts]

    def finished_config(self, rows: int, tokenizer: Any) -> Any:
        """The configuration to write: ``rows`` tokens, a head of its own, half precision."""
        config = copy.deepcopy(self.config)
        config.vocab_size, config.tie_word_embeddings, config.dtype = rows, False, torch.float16
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        return config


def open_base(
    folder: Path,
    delta: Path | None,
    published: Published,
    *,
    any_base: bool = False,
    drop_extra_rows: bool = False,
) -> BaseModel:
    """Opens and checks the base for ``published``.

    ``any_base``: take one whose configuration is not the first LLaMA's. ``drop_extra_rows``: take one with more rows
    than the published vocabulary starts from; the surplus is left out. Raises CheckpointError.
    """
    from transformers import AutoModelForCausalLM

    config = _config(folder, "the language model")
    warnings = _check_kind(config, folder, delta, any_base)
    base = TensorSource(folder, "the language model")
    # LLaMA's first conversions have token ids that no tokenizer has; the right ones come from the tokenizer.
    config.tie_word_embeddings, config.pad_token_id = False, None
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(network).__name__]
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if EMBEDDING not in shapes or HEAD not in shapes:
        raise CheckpointError(f"{folder} is a {type(network).__name__}, which has no {EMBEDDING}. {_ADVICE}")
    if shapes[EMBEDDING][1] != published.width:
        raise CheckpointError(
            f"{folder} is {shapes[EMBEDDING][1]} wide, but {published.what} was made for a language model of width "
            f"{published.width} (4096 is the 7B size, 5120 the 13B). {_ADVICE}"
        )
    _check_rows(base.shapes.get(EMBEDDING, shapes[EMBEDDING])[0], folder, delta, published, drop_extra_rows)
    body = {name: shape for name, shape in shapes.items() if name not in (EMBEDDING, HEAD)}
    kept = {name: shape for name, shape in base.shapes.items() if name in body}
    compare(f"the language model in {folder}", body, kept)
    _check_lora(body, published, folder)
    return BaseModel(config, base, _delta(delta, body, published) if delta else None, body, warnings)


def _config(folder: Path, what: str) -> Any:
    from transformers import AutoConfig

    if not folder.is_dir():
        raise CheckpointError(f"{what}: {folder} does not exist. Give a folder in transformers' format.")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{what}: {folder} has no usable config.json ({reason}). Give a folder in transformers' format; Meta's own "
            "consolidated.*.pth files must be converted first."
        ) from error


def _check_kind(config: Any, folder: Path, delta: Path | None, any_base: bool) -> list[str]:
    """Warnings of what looks wrong; raises for what is."""
    context = getattr(config, "max_position_embeddings", _FIRST_LLAMA_CONTEXT)
    epsilon = getattr(config, "rms_norm_eps", _FIRST_LLAMA_EPSILON)
    names = " ".join((folder.name, str(getattr(config, "_name_or_path", "") or ""))).lower()
    if delta is None and re.search(r"\bdelta\b|-delta-", names):
        raise CheckpointError(
            f"{folder} is a delta by its name, no language model. Give LLaMA-7B with --llm and this with --llm-delta."
        )
    if context > _FIRST_LLAMA_CONTEXT and not any_base:
        raise CheckpointError(
            f"{folder} is the wrong base: its max_position_embeddings are {context}; the first LLaMA has "
            f"{_FIRST_LLAMA_CONTEXT}, LLaMA 2 and so Vicuna v1.5 have 4096. {_ADVICE} For weights that you trained on "
            "this base yourself, add --any-base."
        )
    signs = []
    if context > _FIRST_LLAMA_CONTEXT:
        signs.append(f"max_position_embeddings {context}")
    if epsilon > 5 * _FIRST_LLAMA_EPSILON:
        signs.append(f"rms_norm_eps {epsilon:g}, as LLaMA 2 has")
    if version := re.search(r"v1\.\d|v1\b", names):
        signs.append(f"a name with {version.group()}")
    if delta is None and "llama" in names and "vicuna" not in names:
        signs.append("a name that says LLaMA, and no --llm-delta")
    if not signs:
        return []
    return [
        f"{folder} may be the wrong base ({'; '.join(signs)}). This is a warning sign only: the weights themselves do "
        f"not tell one Vicuna from another. {_ADVICE}"
    ]


def _check_rows(rows: int, folder: Path, delta: Path | None, published: Published, drop_extra_rows: bool) -> None:
    wanted = published.base_rows
    if rows == wanted or (rows > wanted and drop_extra_rows):
        return
    if rows < wanted:
        raise CheckpointError(
            f"{folder} has {rows} tokens, but {published.what} starts from {wanted} and adds "
            f"{published.rows - wanted}. {_ADVICE}"
        )
    pad = " It may still lack LLaMA: a delta of Vicuna v0 has one row more." if delta is None else ""
    raise CheckpointError(
        f"{folder} has {rows} token rows, but {published.what} adds its {published.rows - wanted} tokens to {wanted}: "
        f"with {rows} rows before them, every signal token would have the wrong id.{pad} Use a base with {wanted} "
        "tokens. If the surplus is only the [PAD] row that FastChat 0.1.10 gives a merged Vicuna v0, "
        "--drop-extra-rows leaves it out."
    )


def _check_lora(body: Shapes, published: Published, folder: Path) -> None:
    modules = published.lora_modules
    targets = {module.rpartition(".")[2] for module in modules}
    expected = {}
    for name, shape in body.items():
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and len(shape) == 2 and module.rpartition(".")[2] in targets:
            expected[f"{module}.lora_A.default.weight"] = (published.rank, shape[1])
            expected[f"{module}.lora_B.default.weight"] = (shape[0], published.rank)
    found = {f"{m}.lora_{side}.default.weight": shape for m, sides in modules.items() for side, shape in sides.items()}
    if expected.keys() != found.keys() and not expected.keys() - found.keys():
        extra = sorted(found.keys() - expected.keys())
        raise CheckpointError(
            f"{published.what} has LoRA for {len(extra)} layers that {folder} does not have, {extra[0]} first. "
            f"{_ADVICE}"
        )
    compare(published.what, expected, found, "llama_model.base_model.model.")


def _delta(folder: Path, body: Shapes, published: Published) -> TensorSource:
    if not folder.exists():
        raise CheckpointError(
            f"The delta {folder} does not exist. Download lmsys/vicuna-7b-delta-v0 and give its folder with "
            "--llm-delta, or leave --llm-delta out if --llm is a merged Vicuna v0."
        )
    delta = TensorSource(folder, "the delta")
    lacks(f"the delta in {folder}", [name for name in body if name not in delta])
    compare(f"the delta in {folder}", body, {name: shape for name, shape in delta.shapes.items() if name in body})
    rows = delta.shapes.get(EMBEDDING, (published.base_rows,))[0]
    if rows not in (published.base_rows, published.base_rows + 1):
        raise CheckpointError(
            f"The delta in {folder} has {rows} token rows; Vicuna v0's has {published.base_rows + 1} (one for [PAD]). "
            f"{_ADVICE}"
        )
    return delta
