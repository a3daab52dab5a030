"""Captions to conditioning, by the decoder's own text encoder, exactly as diffusers' pipelines do it."""

from __future__ import annotations

from typing import Any

import torch


def max_tokens(tokenizer: Any, text_encoder: Any) -> int:
    """The longest sequence both the tokenizer and the text encoder's position embeddings allow."""
    config = text_encoder.config
    positions = config.max_position_embeddings
    if config.model_type.startswith("clap"):
        # RoBERTa numbers its positions from padding index + 1.
        positions -= config.pad_token_id + 1
    return min(tokenizer.model_max_length, positions)


def _tokens(tokenizer: Any, captions: list[str], length: int, device: torch.device) -> Any:
    batch = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return batch.to(device)


def _keep_end(tokenizer: Any, caption: str, length: int) -> str:
    ids = tokenizer(caption).input_ids
    return caption if len(ids) <= length else tokenizer.decode(ids[-length - 1 : -1])


@torch.no_grad()
def encode_with_clip(tokenizer: Any, text_encoder: Any, captions: list[str], *, keep_end: bool = False) -> torch.Tensor:
    """Last hidden states (B, tokens, width) of a ``CLIPTextModel``, padded or cut to its full length.

    Captions that are too long lose their end, as in diffusers. ``keep_end`` cuts their beginning instead, as NExT-GPT
    did when it precomputed the targets of its second stage.
    """
    length = max_tokens(tokenizer, text_encoder)
    if keep_end:
        captions = [_keep_end(tokenizer, caption, length) for caption in captions]
    tokens = _tokens(tokenizer, captions, length, text_encoder.device)
    masked = getattr(text_encoder.config, "use_attention_mask", False)
    return text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask if masked else None)[0]


@torch.no_grad()
def encode_with_clap(
    tokenizer: Any, text_encoder: Any, captions: list[str], *, length: int | None = None
) -> torch.Tensor:
    """Text embeddings (B, width) of a ``ClapTextModelWithProjection``, of unit L2 norm (AudioLDM, section 2.1).

    ``length``: pad to this many tokens, where the position embeddings allow it; None = as many as they allow.
    """
    limit = max_tokens(tokenizer, text_encoder)
    tokens = _tokens(tokenizer, captions, limit if length is None else min(length, limit), text_encoder.device)
    embeddings = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
    return torch.nn.functional.normalize(embeddings, dim=-1)
