"""The small tokenizers of the frozen text encoders, trained on the world's captions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, RobertaTokenizer

from ..picturebook import caption
from . import worlddata

CONTEXT = 77
VOCABULARY = 1024
START, END = "<|startoftext|>", "<|endoftext|>"


def caption_corpus(count: int = 20_000, seed: int = 7) -> Iterator[str]:
    """Varied captions of values that are not held out."""
    rng = worlddata.np.random.default_rng(seed)
    words = random.Random(seed)
    pools = (worlddata.scenes(), worlddata.clips(), worlddata.sounds())
    for number in range(count):
        yield caption(worlddata.pick(pools[number % 3], rng), words)


def train_clip_tokenizer(corpus: Iterator[str] | None = None) -> CLIPTokenizer:
    """Byte-pair encoding in CLIP's form; the end token has the largest id, as end-token pooling needs."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=[letter + "</w>" for letter in alphabet],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus or caption_corpus(), trainer)
    vocabulary, merges = _learned(tokenizer)
    vocabulary = {**vocabulary, START: len(vocabulary), END: len(vocabulary) + 1}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def train_roberta_tokenizer(corpus: Iterator[str] | None = None) -> RobertaTokenizer:
    """Byte-level byte-pair encoding in RoBERTa's form, for the CLAP text encoder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=specials,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus or caption_corpus(), trainer)
    vocabulary, merges = _learned(tokenizer)
    return RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def _learned(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
