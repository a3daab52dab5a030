"""Pretraining of the small language model on text dialogues, in the layout that it will be used in."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

from ..content import TextPart, Turn
from ..language_model import LanguageModel
from ..prompting import make_template, position_keys
from ..tokens import SignalTokens, build_tokenizer
from .loop import Recipe, fit, step_rng
from .word_vectors import WordVectors, is_medium

Spoken = Sequence[tuple[str, str]]
"""A text dialogue: (role, words) in turn."""
BUCKET = 8
"""Batches are cut from this many at once, sorted by length, so that little of a batch is padding."""


def train_tokenizer(dialogues: Iterator[Spoken], file: Path, vocabulary: int = 1024) -> Any:
    """A sentencepiece BPE model with byte fallback, written to ``file``, as a LlamaTokenizer with signal tokens."""
    import sentencepiece

    sentences = (line for dialogue in dialogues for _, words in dialogue for line in words.splitlines())
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["### Human: hello", "### Assistant: hello\n###", *sentences]),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        required_chars="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"()-:;#",
        num_threads=1,
        minloglevel=2,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.getvalue())
    return build_tokenizer(file, SignalTokens())


def build_language_model(tokenizer: Any, width: int = 192, layers: int = 6, context: int = 1024) -> LanguageModel:
    """A LLaMA with heads of 32 and rows for every signal token."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LanguageModel(LlamaForCausalLM(config), tokenizer)


def as_turns(dialogue: Spoken) -> list[Turn]:
    return [Turn(role, (TextPart(words),)) for role, words in dialogue]


def dialogue_keys(template: Any, turns: Sequence[Turn]) -> list[Any]:
    """The keys of all positions of a dialogue in the clean template: ids, and the words of media."""
    return list(position_keys(template.example(turns, every=True)))


def next_token_loss(lm: LanguageModel, rows: list[list[Any]], vectors: WordVectors | None = None) -> Tensor:
    """Mean cross entropy of every token after the first. ``vectors`` makes the embeddings of media."""
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, is_token = (torch.zeros(len(rows), length, dtype=torch.bool) for _ in range(2))
    media = []
    for number, row in enumerate(rows):
        mask[number, : len(row)] = True
        ids[number, : len(row)] = torch.tensor([0 if is_medium(key) else key for key in row])
        is_token[number, : len(row)] = torch.tensor([not is_medium(key) for key in row])
        media += [(number, place, key) for place, key in enumerate(row) if is_medium(key)]
    ids, mask, is_token = (tensor.to(lm.device) for tensor in (ids, mask, is_token))
    embeds = lm.embed(ids)
    if media:
        numbers, places, said = zip(*media, strict=True)
        embeds = embeds.index_put((torch.tensor(numbers), torch.tensor(places)), vectors.of(said).to(embeds))
    states = lm.states(embeds, mask.long())
    wanted = ids[:, 1:][is_token[:, 1:]]
    return F.cross_entropy(lm.logits(states[:, :-1][is_token[:, 1:]]).float(), wanted)


def train_language_model(
    name: str,
    lm: LanguageModel,
    draw: Callable[[random.Random], list[Turn]],
    recipe: Recipe,
    run: Path,
    *,
    held_out: Callable[[random.Random], list[Turn]] | None = None,
    blurred: bool = False,
    resume: bool = True,
    after: Path | None = None,
) -> dict[str, float]:
    """Fit every weight of ``lm`` to the dialogues that ``draw`` makes, text alone or with media as ``as_read``
    leaves them, whose vectors may be ``blurred``. ``held_out`` ones give the logged perplexity."""
    vectors = WordVectors(lm, blurred=blurred)
    template = make_template("clean", lm.text, lm.signals)
    limit = lm.context
    bucket: list[list[Any]] = []

    def rows(step: int) -> list[list[Any]]:
        nonlocal bucket
        place = step % BUCKET
        if place == 0 or not bucket:
            rng = random.Random(int(step_rng(recipe.seed, step - place).integers(2**31)))
            bucket = [dialogue_keys(template, draw(rng))[:limit] for _ in range(recipe.batch * BUCKET)]
            bucket.sort(key=len)
        order = random.Random(step - place).sample(range(BUCKET), BUCKET)
        start = order[place] * recipe.batch
        return bucket[start : start + recipe.batch]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        with sdpa_kernel(SDPBackend.MATH):
            return next_token_loss(lm, rows(step), vectors), {}

    def evaluate(step: int) -> dict[str, float]:
        rng = random.Random(1)
        checked = [dialogue_keys(template, held_out(rng))[:limit] for _ in range(64)]
        losses = [float(next_token_loss(lm, checked[i : i + 16], vectors)) for i in range(0, 64, 16)]
        return {"held-out perplexity": float(torch.tensor(losses).mean().exp())}

    lm.train()
    result = fit(
        name,
        recipe,
        {"network": lm.network},
        loss,
        run,
        resume=resume,
        after=after,
        evaluate=evaluate if held_out else None,
        evaluate_every=500,
    )
    lm.eval()
    return result
