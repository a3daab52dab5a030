"""Any causal LM of a known family, made ready for signal tokens: checked, its vocabulary and its rows extended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.loading import quiet
from ..errors import CheckpointError
from ..language_model import LORA_TARGETS, LanguageModel
from ..tokens import SignalTokens

FAMILIES = {"llama": "LLaMA", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""transformers' ``model_type`` → the family's name. All have ``embed_tokens``, ``lm_head`` and q/k/v/o projections."""

NOISE = 0.1
"""Of the existing rows' standard deviation, feature by feature: enough to tell the new rows apart."""


def check_language_model(folder: Path) -> None:
    """Raises CheckpointError unless ``folder`` holds a causal LM of one of the families; reads its config.json only."""
    from transformers import AutoConfig

    if not folder.is_dir():
        raise CheckpointError(
            f"The language model {folder} does not exist. Give a folder in transformers' format, or a hub repository "
            "as owner/name."
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json, so it is no language model in transformers' format.")
    known = ", ".join(FAMILIES.values())
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{folder / 'config.json'} is not usable ({reason}). Known families are {known}."
        ) from error
    if config.model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder} is of the family {config.model_type!r}, which is not known here. Known are {known}."
        )
    built = getattr(config, "architectures", None) or []
    if built and not any(name.endswith("ForCausalLM") for name in built):
        raise CheckpointError(
            f"{folder} is a {built[0]}, no causal language model: it has no output layer over tokens. "
            "Give the base or chat model of that family (…ForCausalLM)."
        )


def open_language_model(folder: Path, signals: SignalTokens, *, rank: int, seed: int = 0) -> LanguageModel:
    """The causal LM in ``folder`` in its own precision, with signal tokens as special tokens, rows for them, and a
    fresh LoRA of ``rank``. Raises CheckpointError.

    A new row is the mean of the existing ones plus a little noise, so that a new token is at first neither likelier
    nor stranger than the average one (Hewitt 2021). Tied rows stay tied.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    check_language_model(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with quiet():
            network, report = AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto", local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"The language model in {folder} could not be opened: {reason}") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{folder} lacks {len(missing)} tensors of its {type(network).__name__}, {missing[0]} first. "
            "Download it again, or give the model with its output layer."
        )
    old = add_signal_tokens(tokenizer, signals, str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        add_rows(network, old, len(tokenizer))
        eos = getattr(network.generation_config, "eos_token_id", None)
        # Sampling settings are the checkpoint's business; some published ones cannot even be saved again.
        network.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id if eos is None else eos,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LanguageModel(network.eval(), tokenizer, signals)
        _check_targets(network, folder)
        model.add_adapter(rank)
    return model


def add_signal_tokens(tokenizer: Any, signals: SignalTokens, where: str) -> int:
    """Adds the signal tokens as special tokens after those that are there; returns how many those are.

    Raises CheckpointError for a vocabulary that has them already, or ids that do not fit in front of them.
    """
    from transformers import AddedToken

    vocabulary, names = tokenizer.get_vocab(), signals.all_names()
    if present := [name for name in names if name in vocabulary]:
        raise CheckpointError(
            f"The vocabulary of {where} has {present[0]} already. Give a language model without signal tokens, "
            "or train the checkpoint it belongs to."
        )
    old = len(tokenizer)
    added = [AddedToken(name, normalized=False, special=True) for name in names]
    tokenizer.add_special_tokens({"extra_special_tokens": added}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found = tokenizer.get_vocab()
    if sorted(found[name] for name in names) != list(range(old, old + len(names))):
        raise CheckpointError(
            f"The vocabulary of {where} has gaps: {names[0]} got the id {found[names[0]]} instead of {old}. "
            "Save its tokenizer with consecutive ids first."
        )
    return old


def add_rows(network: nn.Module, old: int, new: int) -> None:
    """Gives a causal LM rows for the ids ``old`` … ``new`` - 1, in its embedding and its head.

    Rows that are there but belonged to no token (tables padded to a round number) are used first.
    """
    if new > network.config.vocab_size:
        network.resize_token_embeddings(new, mean_resizing=False)
    tables = [network.get_input_embeddings().weight]
    head = network.get_output_embeddings().weight
    if head is not tables[0]:
        tables.append(head)
    with torch.no_grad():
        for table in tables:
            table[old:new] = _like_the_mean(table[:old], new - old).to(table)


def _like_the_mean(rows: Tensor, count: int) -> Tensor:
    rows = rows.float()
    return rows.mean(0) + NOISE * rows.std(0) * torch.randn(count, rows.shape[1])


def _check_targets(network: nn.Module, folder: Path) -> None:
    names = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    if missing := [name for name in LORA_TARGETS if name not in names]:
        raise CheckpointError(f"{folder} has no {missing[0]} layers, which the LoRA adapter is put on.")
