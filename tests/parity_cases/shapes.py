"""The published files' tensor names and shapes, against ours at full size on the meta device."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nextgpt_chat.imagebind import ImageBind, ImageBindConfig
from nextgpt_chat.language_model import LanguageModel
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.projections import InputProjection, OutputProjectionConfig, build_output_projection
from nextgpt_chat.tokens import SignalTokens

from .comparing import Case, CaseError, Check
from .folder import GoldenFolder
from .published import on_meta, our_name, output_states, plain_name

IMAGEBIND = "imagebind_huge_shapes.json"
USED = ("vision", "audio", "text")  # the towers we have; depth, thermal and IMU have no use here


def find(golden: GoldenFolder) -> Iterator[Case]:
    """One case a list of shapes."""
    for path in sorted(golden.path.glob("checkpoint_*_shapes.json")):
        name = path.name.removeprefix("checkpoint_").removesuffix("_shapes.json")
        yield Case(f"shapes of checkpoint {name}", functools.partial(_run_checkpoint, golden, path.name))
    if golden.has(IMAGEBIND):
        yield Case("shapes of ImageBind huge", functools.partial(_run_imagebind, golden))


def _shapes(golden: GoldenFolder, file: str) -> dict[str, tuple[int, ...]]:
    shapes = golden.json(file).get("shapes")
    if not isinstance(shapes, dict) or not shapes:
        raise CaseError(f"{file} has no 'shapes'")
    return {name: tuple(shape) for name, shape in shapes.items()}


def _compare(check: Check, ours: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]) -> None:
    check.compared += len(theirs)
    missing, unknown = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
    check.require(not missing, f"{len(missing)} tensors are not in our model, {missing[:1]} first")
    check.require(not unknown, f"{len(unknown)} tensors of ours are not published, {unknown[:1]} first")
    for name in (name for name in theirs if name in ours and ours[name] != theirs[name]):
        check.require(False, f"{name} is {ours[name]} in our model, published as {theirs[name]}")


def _run_imagebind(golden: GoldenFolder, check: Check) -> None:
    published = _shapes(golden, IMAGEBIND)
    theirs = {name: shape for name, shape in published.items() if name.split(".")[1] in USED}
    with torch.device("meta"):
        state = ImageBind(ImageBindConfig.huge()).state_dict()
    _compare(check, {name: tuple(tensor.shape) for name, tensor in state.items()}, theirs)
    check.notes.append(f"{len(theirs)} tensors; {len(published) - len(theirs)} of unused towers left out")


def _run_checkpoint(golden: GoldenFolder, file: str, check: Check) -> None:
    facts, published = golden.json(file), _shapes(golden, file)
    model = _checkpoint_on_meta(published)
    # The file holds what was trained; the frozen LLaMA's own tensors are not in it.
    ours = {
        plain_name(name): tuple(parameter.shape)
        for name, parameter in model.named_parameters()
        if "language_model" not in name or re.search(r"lora_|embed_tokens|lm_head", name)
    }
    _compare(check, ours, {our_name(name): shape for name, shape in published.items()})
    if "n_tensors" in facts:
        check.require(len(ours) == facts["n_tensors"], f"{len(ours)} tensors instead of {facts['n_tensors']}")
    if "n_params" in facts:
        count = sum(torch.Size(shape).numel() for shape in ours.values())
        check.require(count == facts["n_params"], f"{count} parameters instead of {facts['n_params']}")
    check.notes.append(f"{len(ours)} tensors")


def _checkpoint_on_meta(published: Mapping[str, tuple[int, ...]]) -> NextGPTModel:
    """Our model in the sizes that the list has, without memory."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rows, width = _one(published, r".*\.embed_tokens\.weight")
    layers = 1 + max(int(found[1]) for name in published if (found := re.search(r"\.layers\.(\d+)\.self_attn", name)))
    targets = {found[1] for name in published if (found := re.search(r"\.self_attn\.(\w+)\.lora_A\.", name))}
    rank = _one(published, r".*\.lora_A\.default\.weight")[0]
    sizes = {"vocab_size": rows, "hidden_size": width, "num_hidden_layers": layers}
    # Heads and inner width are not in the file, and no shape in it depends on them.
    config = LlamaConfig(**sizes, num_attention_heads=max(1, width // 128), pad_token_id=0)
    signals = SignalTokens()
    outputs = {}
    with torch.device("meta"):
        network = LlamaForCausalLM(config)
        for kind, state in output_states(on_meta(published)).items():
            sizes_of = OutputProjectionConfig.from_state(state, num_in=signals.count(kind))
            outputs[kind] = build_output_projection(sizes_of)
        out_dim, in_dim = _one(published, r"llama_proj\.weight")
        projection = InputProjection(in_dim, out_dim)
    language_model = LanguageModel(network, _bytes_tokenizer(signals), signals)
    with torch.device("meta"):
        language_model.add_adapter(rank=rank, targets=sorted(targets))
    return NextGPTModel(None, projection, language_model, outputs)


def _bytes_tokenizer(signals: SignalTokens) -> Any:
    """Any small vocabulary will do: only the table's own size counts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    tokenizer.add_tokens(list(signals.all_names()), special_tokens=True)
    return tokenizer


def _one(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> tuple[int, ...]:
    found = next((shape for name, shape in shapes.items() if re.fullmatch(pattern, name)), None)
    if found is None:
        raise CaseError(f"no tensor is named like {pattern}")
    return found
