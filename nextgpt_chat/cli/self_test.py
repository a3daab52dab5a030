"""Is a loaded checkpoint what it should be? Each check returns a sentence, or raises one that names the cause.

For the original's most frequent complaint, a checkpoint that talks gibberish: wrong base model, missing delta, resized
vocabulary, adapter not applied. Reads weights and makes small things; changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..config import GenerationSettings, TextSettings
from ..content import MediaPart, array_of
from ..conversation import Conversation
from ..errors import CheckpointError, NextGPTError
from ..language_model import SignalGroup
from ..tokens import IMAGE_CLOSE, IMAGE_OPEN
from .speech_check import ANSWER, QUESTION, asked, check_reply, check_surprise

PUBLISHED_TEMPLATES = ("v0", "v0-as-trained")
NORM_RANGE = 8.0  # a trained row is no more than so many times longer or shorter than the median of ordinary ones
ALIKE = 0.99  # cosine above which rows are copies of one; trained ones of the tests stay below 0.9
CONDITIONING_RANGE = 4.0  # as NORM_RANGE, for conditioning against the text encoder's states
LATENT_SIDE = 16  # of the one-step media, where the decoder is not even smaller


def self_tests(pipeline: Any) -> Iterator[tuple[str, Callable[[], str]]]:
    """(title, check) of everything that can be tested on a loaded pipeline, cheap checks first.

    A check returns what it found, or raises NextGPTError that says in words what is wrong and what to do.
    """
    yield "self-test signal tokens", lambda: check_signal_ids(pipeline)
    yield "self-test media marks", lambda: check_media_marks(pipeline)
    yield "self-test token rows", lambda: check_token_rows(pipeline)
    yield "self-test adapter", lambda: check_adapter(pipeline)
    yield "self-test language", lambda: check_surprise(pipeline)
    yield "self-test words", lambda: check_reply(pipeline)
    for kind in pipeline.modalities:
        if kind != "text":
            yield f"self-test {kind} decoder", lambda kind=kind: check_decoder(pipeline, kind)
            yield f"self-test {kind} conditioning", lambda kind=kind: check_conditioning(pipeline, kind)
    for kind in pipeline.modalities:
        yield f"self-test {kind}", lambda kind=kind: check_modality(pipeline, kind)


# --- the vocabulary --------------------------------------------------------------------------------------------


def check_signal_ids(pipeline: Any) -> str:
    """Signal tokens are one token each, in the published order without a gap, and where the weights have their rows."""
    lm = pipeline.model.language_model
    names = _signal_names(lm)
    ids = [lm.tokenizer.convert_tokens_to_ids(name) for name in names]
    for name, number in zip(names, ids, strict=True):
        if (found := lm.tokenizer(name, add_special_tokens=False).input_ids) != [number]:
            raise CheckpointError(
                f"{name} is {len(found)} tokens for this tokenizer, not one. Its files are mixed up; import again."
            )
    if ids != list(range(ids[0], ids[0] + len(ids))):
        raise CheckpointError(
            f"The signal tokens' ids are not in the order image, video, audio without a gap ({names[0]} is {ids[0]}, "
            f"{names[-1]} is {ids[-1]}). The tokenizer is another checkpoint's; import again."
        )
    published = pipeline.manifest.template in PUBLISHED_TEMPLATES
    base = lm.tokenizer.vocab_size
    if published and ids[0] != base + 2:  # <Img> and </Img> are in front, however they are spelled
        raise CheckpointError(
            f"{names[0]} is {ids[0]}; on a base of {base} tokens it must be {base + 2}. The base had "
            f"{ids[0] - base - 2:+d} tokens more than the published one ([PAD] of another Vicuna?). Import again with "
            "Vicuna-7B v0, which has 32,000."
        )
    rows = len(lm.causal.get_input_embeddings().weight)
    if published and rows != len(lm.tokenizer):
        raise CheckpointError(
            f"The model has {rows} token rows, its tokenizer {len(lm.tokenizer)} tokens: the vocabulary was resized "
            "after the checkpoint was made. Import again."
        )
    return f"{names[0]} to {names[-1]} are {ids[0]} to {ids[-1]}, one token each, of {rows} rows"


def check_media_marks(pipeline: Any) -> str:
    """Says how ``<Img>`` is read, and what decided it."""
    signals = pipeline.model.language_model.signals
    if pipeline.manifest.template == "v1.5":
        return "template v1.5 has no marks around media"
    if (signals.open is None) != (signals.close is None):
        raise CheckpointError(
            f"Only one of {IMAGE_OPEN} and {IMAGE_CLOSE} is a token here. Import the checkpoint again."
        )
    decided = pipeline.manifest.extra.get("img_tokens", {}).get("decided_by", "the tokenizer")
    if signals.open is None:
        return f"{IMAGE_OPEN} is plain text, as in the published code before November 2023 (decided by {decided})"
    return f"{IMAGE_OPEN} and {IMAGE_CLOSE} are tokens, {signals.open} and {signals.close} (decided by {decided})"


def check_token_rows(pipeline: Any) -> str:
    """The signal tokens' rows of embedding and head look trained: finite, as long as others, and not all alike."""
    lm = pipeline.model.language_model
    added = sorted(lm.text.control_ids)
    signal = sorted(lm.signals.all - {lm.signals.open, lm.signals.close})
    facts = []
    for name, weight in _rows(lm):
        ordinary = torch.ones(len(weight), dtype=torch.bool)
        ordinary[[i for i in added if i < len(weight)]] = False
        ordinary[len(lm.tokenizer) :] = False
        median = float(weight[ordinary].norm(dim=-1).median())
        own = weight[signal]
        norms = own.norm(dim=-1)
        if not bool(own.isfinite().all()) or not median > 0:
            raise CheckpointError(f"The {name} has rows that are zero or no numbers. Import the checkpoint again.")
        low, high = float(norms.min()), float(norms.max())
        if low < median / NORM_RANGE or high > median * NORM_RANGE:
            raise CheckpointError(
                f"Rows of the signal tokens in the {name} are {low:.3g} to {high:.3g} long, ordinary ones "
                f"{median:.3g}: they were never trained, or the vocabulary was resized and its trained rows were not "
                "loaded. Import again."
            )
        if (alike := _alike(own)) > ALIKE:
            raise CheckpointError(
                f"The signal tokens' rows in the {name} are all alike (cosine {alike:.3f}), as resizing a vocabulary "
                "makes them: the trained rows were not loaded. Import again from the authors' file."
            )
        facts.append(f"{name} {low:.3g} to {high:.3g} (ordinary {median:.3g})")
    return "norms of signal rows: " + ", ".join(facts)


def check_adapter(pipeline: Any) -> str:
    """A LoRA adapter that the manifest names is there, active, and not all zeros."""
    lm = pipeline.model.language_model
    pairs = {name: weight for name, weight in lm.network.named_parameters() if "lora_B" in name}
    if not pairs:
        if "adapter" in pipeline.manifest.components:
            raise CheckpointError(
                "The manifest names an adapter, but none is applied: the base model speaks alone. Import again."
            )
        return "the checkpoint has none"
    status = lm.network.get_model_status()
    if status.enabled is not True or not status.active_adapters:
        raise CheckpointError("The adapter is loaded but switched off: the base model speaks alone.")
    zero = [name for name, weight in pairs.items() if not bool(weight.any())]
    if len(zero) == len(pairs):
        raise CheckpointError(
            "The adapter is all zeros: it changes nothing, the base model speaks alone. It was never trained or its "
            "weights were not found under their names. Import again."
        )
    if bad := [name for name, weight in pairs.items() if not bool(weight.isfinite().all())]:
        raise CheckpointError(f"The adapter has weights that are no numbers ({bad[0]}). Fetch it again.")
    return f"applied to {len(pairs)} layers" + (f", {len(zero)} of them untouched" if zero else "")


# --- decoders --------------------------------------------------------------------------------------------------


def check_decoder(pipeline: Any, kind: str) -> str:
    """One denoising step and the decoding of a small medium: finite, and not one flat value."""
    decoder, began, seen = pipeline.model.decoders[kind], time.perf_counter(), []
    media = decoder.decode(
        decoder.encode_text([ANSWER]),
        seed=0,
        steps=1,
        guidance_scale=2.0,
        on_step=lambda step, steps, latents: seen.append(latents.float().cpu()),
        **_small(decoder),
    )
    if not bool(seen[-1].isfinite().all()):
        raise CheckpointError(
            f"The {kind} decoder's numbers overflow (NaN or infinity) after one step. Use bfloat16 or float32, or "
            "fetch it again."
        )
    array = array_of(media)
    spread = float(array.std())
    if not spread > 0:
        raise CheckpointError(
            f"The {kind} decoder makes one flat value of noise: its autoencoder does not work in this precision, or is "
            "damaged. Use float32, or fetch it again."
        )
    return f"one step is finite (spread {spread:.3g}), in {time.perf_counter() - began:.1f} s"


def check_conditioning(pipeline: Any, kind: str) -> str:
    """What the signal tokens become is as long as what the decoder's own text encoder says."""
    model, decoder = pipeline.model, pipeline.model.decoders[kind]
    ours = _signal_conditioning(pipeline, kind).float().cpu()
    theirs = decoder.encode_text([ANSWER]).float().cpu()
    if not bool(ours.isfinite().all()):
        raise CheckpointError(f"The {kind} conditioning overflows (NaN or infinity). Use bfloat16 or float32.")
    if ours.shape != theirs.shape:
        raise CheckpointError(
            f"The {kind} output projection makes {tuple(ours.shape[1:])}, the decoder's text encoder "
            f"{tuple(theirs.shape[1:])}: they belong to different decoders."
        )
    norms = [float(one.norm(dim=-1).mean()) for one in (ours, theirs)]
    cosine = float(torch.cosine_similarity(ours, theirs, dim=-1).mean())
    if not norms[1] / CONDITIONING_RANGE <= norms[0] <= norms[1] * CONDITIONING_RANGE:
        raise CheckpointError(
            f"The {kind} conditioning is {norms[0]:.3g} long, the text encoder's {norms[1]:.3g}: the output projection "
            f"({type(model.output_projection[kind]).__name__}) was trained for another decoder, or not at all. Check "
            f"which {kind} decoder the checkpoint was made for."
        )
    return f"{norms[0]:.3g} long, the text encoder's {norms[1]:.3g}; cosine {cosine:.2f} to the caption's"


def check_modality(pipeline: Any, kind: str) -> str:
    """One whole reply with this modality, at the checkpoint's own settings."""
    conversation = Conversation()
    conversation.add_user(QUESTION)
    began = time.perf_counter()
    answer = pipeline.reply(conversation, GenerationSettings(), seed=0, modalities={"text", kind})
    made = [part.kind for part in answer.parts if isinstance(part, MediaPart)]
    if made != [one for one in (kind,) if one != "text"]:
        raise NextGPTError(f"asked for {kind}, got {made or 'words only'}; {' '.join(answer.notices)}")
    return f"made in {time.perf_counter() - began:.1f} s"


# --- details ---------------------------------------------------------------------------------------------------


def _signal_names(lm: Any) -> list[str]:
    """The signal tokens in the order of their ids: image, video, audio."""
    tokens = lm.signal_tokens
    spelled = tokens.names if lm.signals.joiner is None else tokens.names_of_2024
    return [name for kind in ("image", "video", "audio") for name in spelled(kind)]


def _rows(lm: Any) -> Iterator[tuple[str, Tensor]]:
    """Rows (V, D) of the input embedding and, where it is another one, of the output head; float32, one at a time."""
    yield "embedding", lm.causal.get_input_embeddings().weight.detach().float().cpu()
    if not lm.causal.config.tie_word_embeddings:
        yield "head", lm.causal.get_output_embeddings().weight.detach().float().cpu()


def _alike(rows: Tensor) -> float:
    """Median cosine between two of some rows (n, D)."""
    unit = torch.nn.functional.normalize(rows, dim=-1)
    cosines = unit @ unit.T
    return float(cosines[~torch.eye(len(rows), dtype=torch.bool)].median())


def _small(decoder: Any) -> dict[str, Any]:
    """Size arguments for the smallest sensible medium."""
    if decoder.kind == "audio":
        return {"seconds": 0.64}
    own = decoder.unet.config.sample_size
    side = min(LATENT_SIDE, *(own if isinstance(own, (list, tuple)) else [own])) * decoder.vae_scale_factor
    return {"width": side, "height": side} | ({"frames": 2} if decoder.kind == "video" else {})


def _signal_conditioning(pipeline: Any, kind: str) -> Tensor:
    prompt, stops = asked(pipeline)
    settings = TextSettings(temperature=0.0, top_p=1.0, max_new_tokens=32, repetition_penalty=1.0)
    for step in pipeline.model.reply_steps(prompt, settings, modalities={kind}, stops=stops):
        if isinstance(step, SignalGroup):
            return pipeline.model.condition(step)
    raise CheckpointError(f"There is no room for the {kind} signal tokens in {pipeline.context} positions.")
