"""Parts for a checkpoint of one's own at a tiny size: language models of three families, an ImageBind, decoders."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import torch
from decoders.conftest import make_decoder
from tiny import SENTENCES, tiny_spm
from tiny_checkpoint import IMAGEBIND, KINDS

from nextgpt_chat.imagebind import ImageBind, save_imagebind

FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
WINDOW = 24  # positions that Mistral's layers look back
CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
}


def write_own_llm(folder: Path, family: str) -> Path:
    """A random causal LM with its tokenizer, in transformers' format.

    LLaMA and Mistral: sentencepiece with BOS. Qwen: byte-level BPE without BOS, chat tokens, tied embeddings (Qwen2)
    and more rows than tokens.
    """
    import transformers

    folder.mkdir(parents=True)
    torch.manual_seed(11)
    if family.startswith("qwen"):
        tokenizer = _byte_level_tokenizer()
        tokenizer.save_pretrained(folder)
        ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        rows = len(tokenizer) + 10
    else:
        import sentencepiece

        (folder / "tokenizer.model").write_bytes(tiny_spm())
        rows = sentencepiece.SentencePieceProcessor(model_proto=tiny_spm()).get_piece_size()
        ids = {"bos_token_id": 1, "eos_token_id": 2}
    config, network, more = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {"tie_word_embeddings": True}),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {"head_dim": 16}),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {"sliding_window": WINDOW}),
    }[family]
    network(config(vocab_size=rows, **_COMMON, **ids, **more)).save_pretrained(folder)
    return folder


def _byte_level_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(SENTENCES * 4, trainer)
    spec = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in spec["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=spec["vocab"], merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"extra_special_tokens": list(CHAT_TOKENS)})
    return tokenizer


@functools.cache
def own_parts() -> dict[str, Path]:
    """Folders of an ImageBind (``imagebind``) and of a decoder of each kind: for reading only."""
    root = Path(_keep(tempfile.TemporaryDirectory(prefix="nextgpt-parts-")).name)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_imagebind(ImageBind(IMAGEBIND), root / "imagebind")
        for kind in KINDS:
            make_decoder(kind).save_folder(root / kind)
    return {name: root / name for name in ("imagebind", *KINDS)}


_kept: list[tempfile.TemporaryDirectory] = []


def _keep(folder: tempfile.TemporaryDirectory) -> tempfile.TemporaryDirectory:
    _kept.append(folder)
    return folder


def command(llm: Path, out: Path, *more: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Arguments of ``new-checkpoint`` at tiny sizes."""
    parts = own_parts()
    decoders = [piece for kind in kinds for piece in (f"--{kind}", str(parts[kind]))]
    made = ["new-checkpoint", "--llm", str(llm), "--out", str(out), "--imagebind", str(parts["imagebind"])]
    return [*made, *decoders, "--output-sizes", "16,1,2,32", "--lora-rank", "2", *more]
