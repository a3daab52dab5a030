"""A tiny random model for tests: a small sentencepiece vocabulary, a 64-wide LLaMA, projections, a fake ImageBind."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nextgpt_chat.content import Audio, Image, Media, Video
from nextgpt_chat.language_model import LanguageModel
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.projections import InputProjection, OutputProjectionConfig, build_output_projection
from nextgpt_chat.tokens import SignalTokens, build_tokenizer

SENTENCES = (
    "### Human: what is in this picture?",
    "### Assistant: a small red car on the grass.\n###",
    "### Human: draw a big blue ball in the middle of the night sky",
    "### Assistant: Here is a big blue ball.\n###",
    "### Human: let me hear a dog, a bell and the rain",
    "### Assistant: Sure, this is how a dog barks, low and slow.\n###",
    "### Human: now make it move to the left, please",
    "### Assistant: It is a green frog on the sand. It rises. It falls.\n###",
)
EMBEDDING_WIDTH = 96
OUTPUT_SHAPES = {"image": (6, 20), "audio": (1, 12), "video": (5, 28)}  # conditioning tokens × width


@functools.cache
def tiny_spm() -> bytes:
    """A sentencepiece BPE model of 400 pieces with byte fallback; the same bytes in every run."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def tiny_tokenizer(folder: Path, signals: SignalTokens | None = None):
    """A LlamaTokenizer with signal tokens; ``folder`` gets its sentencepiece file."""
    path = Path(folder, "tiny-tokenizer.model")
    path.write_bytes(tiny_spm())
    return build_tokenizer(path, signals or SignalTokens())


def tiny_network(vocabulary: int, *, seed: int = 0, width: int = 64, context: int = 512) -> nn.Module:
    """A random LlamaForCausalLM of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=context,
        initializer_range=0.3,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def tiny_language_model(folder: Path, *, seed: int = 0, context: int = 512) -> LanguageModel:
    """A random language model with its own small vocabulary."""
    tokenizer = tiny_tokenizer(folder)
    return LanguageModel(tiny_network(len(tokenizer), seed=seed, context=context), tokenizer)


class FakeImageBind:
    """Unit vectors that depend on the content only; counts what it was asked to encode."""

    def __init__(self, width: int = EMBEDDING_WIDTH) -> None:
        self.width, self.calls = width, []

    def encode_media(self, media: list[Media]) -> torch.Tensor:
        self.calls.append([item.sha256 for item in media])
        rows = []
        for item in media:
            noise = np.random.default_rng(int(item.sha256[:12], 16)).standard_normal(self.width)
            rows.append(torch.tensor(noise / np.linalg.norm(noise), dtype=torch.float32))
        return torch.stack(rows)


def tiny_output_projection(kind: str, width: int = 64, mode: str = "transformer") -> nn.Module:
    """One small output projection for ``kind``."""
    tokens, out = OUTPUT_SHAPES[kind]
    count = SignalTokens().count(kind)
    return build_output_projection(OutputProjectionConfig(width, out, count, tokens, mode, 16, 1, 2, 32)).eval()


def tiny_model(folder: Path, *, seed: int = 0, decoders: dict | None = None) -> NextGPTModel:
    """The whole model at a tiny size, with a fake ImageBind and whatever decoders the test gives."""
    language_model = tiny_language_model(folder, seed=seed)
    projections = {kind: tiny_output_projection(kind) for kind in OUTPUT_SHAPES}
    return NextGPTModel(
        FakeImageBind(), InputProjection(EMBEDDING_WIDTH, 64), language_model, projections, decoders
    ).eval()


def tiny_image(value: int = 0) -> Image:
    """An 8 × 8 picture of one grey."""
    return Image(np.full((8, 8, 3), value, np.uint8))


def tiny_audio(pitch: float = 440.0) -> Audio:
    """A tenth of a second of a tone."""
    return Audio(np.sin(np.arange(1600) * pitch * 2 * np.pi / 16000).astype(np.float32), 16000)


def tiny_video(value: int = 0) -> Video:
    """Three grey frames."""
    return Video(np.full((3, 8, 8, 3), value, np.uint8), 8.0)
