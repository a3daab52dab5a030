"""The authors' ``pytorch_model.pt``: what its names mean, and whether all of it is there.

The file holds what the three stages train: token tables, LoRA in peft 0.3's names, projections (REFERENCE (a)). Files
of stages 1 and 2 have no LoRA and plain names. All sizes are read from the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..content import MEDIA_KINDS
from ..errors import CheckpointError
from ..projections import OutputProjectionConfig, build_output_projection, rename_published
from ..tokens import SignalTokens

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_WRAPPED, _PLAIN = "llama_model.base_model.model.", "llama_model."
_LORA = re.compile(re.escape(_WRAPPED) + r"(?P<module>.+)\.lora_(?P<side>[AB])\.[^.]+\.weight")
_OURS_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_OUTPUTS = {"image": "gen_text_hidden_fcs", "audio": "gen_text_hidden_fcs_audio", "video": "gen_text_hidden_fcs_video"}
# The same tensor under a second name, in files made of state_dict().
_TWICE = "input_embeddings.weight"

Shapes = Mapping[str, tuple[int, ...]]


def our_name(key: str) -> tuple[str, str] | None:
    """Part (language_model, adapter, projections) and name there of one published tensor; None = unknown."""
    for prefix in (_WRAPPED, _PLAIN):
        if key.removeprefix(prefix) in (EMBEDDING, HEAD) and key.startswith(prefix):
            return "language_model", key.removeprefix(prefix)
    if found := _LORA.fullmatch(key):
        return "adapter", f"base_model.model.{found['module']}.lora_{found['side']}.weight"
    name = rename_published(key)
    return None if name is None else ("projections", name)


def published_name(part: str, name: str, wrapped: bool = True) -> str:
    """The authors' name of one of our tensors, the inverse of `our_name` for projections in "transformer" mode.

    ``wrapped``: as stage 3 saves. Raises ValueError for what the file does not hold.
    """
    if part == "language_model" and name in (EMBEDDING, HEAD):
        return (_WRAPPED if wrapped else _PLAIN) + name
    if part == "adapter" and (found := _OURS_LORA.fullmatch(name)):
        return f"{_WRAPPED}{found['module']}.lora_{found['side']}.default.weight"
    if part == "projections" and name.startswith("input_projection."):
        return name.replace("input_projection", "llama_proj")
    if part == "projections" and name.startswith("output_projection."):
        _, kind, rest = name.split(".", 2)
        return f"{_OUTPUTS[kind]}.0.{rest}"
    raise ValueError(f"the published file holds no {name!r} of {part!r}")


@dataclass(frozen=True)
class Published:
    """What was found in the file. ``names``: part → our name → key in the file.

    ``rows``, ``width``: of the token tables. ``rank``: of LoRA, 0 = none. ``unknown``: keys with no meaning.
    """

    what: str
    names: Mapping[str, Mapping[str, str]]
    shapes: Shapes
    rows: int
    width: int
    rank: int
    media_width: int
    outputs: Mapping[str, OutputProjectionConfig]
    unknown: tuple[str, ...] = ()

    @property
    def base_rows(self) -> int:
        """Rows of the token tables before the added ones: what the base model's vocabulary must have."""
        return self.rows - len(SignalTokens().all_names())

    @property
    def lora_modules(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Module → side (A, B) → shape."""
        modules: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, key in self.names["adapter"].items():
            found = _OURS_LORA.fullmatch(name)
            assert found is not None
            modules.setdefault(found["module"], {})[found["side"]] = self.shapes[key]
        return modules


def read_published(shapes: Shapes, what: str, heads: int = 4) -> Published:
    """The meaning of a file with tensors of these ``shapes``. ``heads``: of the output projections, which weights do
    not show. Raises CheckpointError that names what is missing or misshapen."""
    names: dict[str, dict[str, str]] = {"language_model": {}, "adapter": {}, "projections": {}}
    unknown = []
    for key in shapes:
        meaning = our_name(key)
        if meaning is not None:
            names[meaning[0]][meaning[1]] = key
        elif not key.endswith(_TWICE):
            unknown.append(key)
    wrapped = any(key.startswith(_WRAPPED) for key in shapes)
    _check_parts(names, what, wrapped)
    rows, width = _tables(names["language_model"], shapes, what)
    inputs = {name: shapes[names["projections"][f"input_projection.{name}"]] for name in ("weight", "bias")}
    if len(inputs["weight"]) != 2 or inputs["weight"][0] != width or inputs["bias"] != (width,):
        raise CheckpointError(
            f"{what}: llama_proj has the shapes {inputs['weight']} and {inputs['bias']}; the token tables are {width} "
            "wide. The file is corrupt or mixed from two models."
        )
    outputs = {kind: _output(kind, names["projections"], shapes, what, width, heads) for kind in MEDIA_KINDS}
    rank = _rank(names["adapter"], shapes, what)
    return Published(what, names, dict(shapes), rows, width, rank, inputs["weight"][1], outputs, tuple(sorted(unknown)))


def _check_parts(names: Mapping[str, Mapping[str, str]], what: str, wrapped: bool) -> None:
    tables = names["language_model"]
    missing = [published_name("language_model", name, wrapped) for name in (EMBEDDING, HEAD) if name not in tables]
    inputs = ("input_projection.weight", "input_projection.bias")
    missing += [published_name("projections", name) for name in inputs if name not in names["projections"]]
    missing += [
        f"{_OUTPUTS[kind]}.0.*"
        for kind in MEDIA_KINDS
        if not any(name.startswith(f"output_projection.{kind}.") for name in names["projections"])
    ]
    if wrapped and not names["adapter"]:
        missing.append(f"{_WRAPPED}model.layers.*.lora_A.default.weight")
    lacks(what, missing)


def _tables(names: Mapping[str, str], shapes: Shapes, what: str) -> tuple[int, int]:
    tables = {key: shapes[key] for key in names.values()}
    if len(set(tables.values())) != 1 or len(shapes[names[EMBEDDING]]) != 2:
        listed = ", ".join(f"{key} {shape}" for key, shape in sorted(tables.items()))
        raise CheckpointError(f"{what}: the two token tables must have one shape (rows, width), but are {listed}.")
    rows, width = shapes[names[EMBEDDING]]
    added = len(SignalTokens().all_names())
    if rows <= added:
        raise CheckpointError(f"{what}: its token tables have {rows} rows, no more than the {added} added tokens.")
    return rows, width


def _rank(names: Mapping[str, str], shapes: Shapes, what: str) -> int:
    ranks = {shapes[key][0 if ".lora_A." in key else 1] for key in names.values() if len(shapes[key]) == 2}
    if any(len(shapes[key]) != 2 for key in names.values()) or len(ranks) > 1:
        raise CheckpointError(f"{what}: its LoRA tensors have different ranks {sorted(ranks)}. The file is corrupt.")
    return ranks.pop() if ranks else 0


def _output(
    kind: str, names: Mapping[str, str], shapes: Shapes, what: str, width: int, heads: int
) -> OutputProjectionConfig:
    prefix = f"output_projection.{kind}."
    own = {name.removeprefix(prefix): _Shape(shapes[key]) for name, key in names.items() if name.startswith(prefix)}
    mode = "qformer" if "query_tokens" in own else "transformer"
    # What sizes are read from; each must be there before any size can be.
    first = ("query_tokens", "layers.0.feed_in.weight")
    first = first if mode == "qformer" else ("query_embs", "tfm.encoder.layers.0.linear1.weight")
    needed = ("fc.weight", "model.weight", *first)
    lacks(what, [f"{_OUTPUTS[kind]}.0.{name}" for name in needed if name not in own])
    try:
        config = OutputProjectionConfig.from_state(own, num_in=SignalTokens().count(kind), mode=mode, heads=heads)
        with torch.device("meta"):
            expected = {name: tuple(t.shape) for name, t in build_output_projection(config).state_dict().items()}
    except (ValueError, IndexError, AssertionError) as error:
        raise CheckpointError(f"{what}: {_OUTPUTS[kind]} is no {mode} projection ({error}).") from error
    found = {name: shape.shape for name, shape in own.items()}
    compare(what, expected, found, f"{_OUTPUTS[kind]}.0.")
    if config.in_dim != width:
        raise CheckpointError(
            f"{what}: {_OUTPUTS[kind]}.0.fc takes states of width {config.in_dim}, the token tables are {width} wide. "
            "The file is corrupt or mixed from two models."
        )
    return config


@dataclass(frozen=True)
class _Shape:
    shape: tuple[int, ...]


def compare(what: str, expected: Shapes, found: Shapes, prefix: str = "") -> None:
    """Raises CheckpointError for names that are missing, unknown, or of another shape than expected."""
    lacks(what, [prefix + name for name in expected if name not in found])
    if extra := sorted(prefix + name for name in found if name not in expected):
        raise CheckpointError(f"{what} has {_listed(extra)}, which do not belong to it. It is made for another model.")
    if wrong := [
        f"{prefix}{name} {tuple(found[name])} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if tuple(found[name]) != tuple(shape)
    ]:
        raise CheckpointError(f"{what} has the wrong shapes: {_listed(wrong)}. It is made for another model.")


def lacks(what: str, missing: list[str]) -> None:
    """Raises CheckpointError if anything is missing."""
    if missing:
        raise CheckpointError(
            f"{what} lacks {len(missing)} tensor{'s' * (len(missing) > 1)}: {_listed(missing)}. "
            "It is incomplete or of another kind; download it again."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
