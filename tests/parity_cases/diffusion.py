"""The three diffusion decoders on fixed latents and embeddings, and their text encoders' states."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextgpt_chat.decoders import DECODERS

from .comparing import Case, CaseError, Check, Rules, Skip
from .folder import GoldenFolder

FILE = "diffusion"
SHORT = {"image": "sd", "video": "vd", "audio": "ad"}
MEDIUM = {"image": ("image_u8", "pixels"), "video": ("frames_u8", "frames"), "audio": ("audio", "samples")}
DROPOUT_RUNS = 50
SAME = 1e-5


def find(golden: GoldenFolder) -> Iterator[Case]:
    """For each decoder what it makes, and what its text encoder says."""
    if not golden.has(f"{FILE}.json"):
        return
    facts = golden.json(f"{FILE}.json")
    rules = Rules(facts, f"{FILE}.json")
    for kind, short in SHORT.items():
        names = {name.removeprefix(f"{short}.") for name in golden.tensors(FILE) if name.startswith(f"{short}.")}
        decoder = functools.cache(functools.partial(_decoder, golden.path / FILE / short, kind))
        if MEDIUM[kind][0] in names:
            yield Case(f"diffusion {kind}", functools.partial(_run_medium, golden, facts, decoder, kind), rules)
        if names & {"encoded_cfg_embeds", "return_prompts_only"}:
            yield Case(f"diffusion {kind} text", functools.partial(_run_text, golden, facts, decoder, kind), rules)
        if "return_prompts_only_long" in names:
            work = functools.partial(_run_long, golden, facts, decoder, short)
            yield Case(f"diffusion {kind} long text", work, rules)


def _decoder(folder: Path, kind: str) -> Any:
    if not folder.is_dir():
        raise CaseError(f"{FILE}/{folder.name} is not in the folder")
    return DECODERS[kind].from_folder(folder)


def _run_medium(golden: GoldenFolder, facts: dict[str, Any], decoder_of, kind: str, check: Check) -> None:
    decoder, short = decoder_of(), SHORT[kind]
    latents = golden.tensor(FILE, f"{short}.latents")
    sizes: dict[str, Any] = {}
    if kind == "audio":
        sizes["seconds"] = facts["audio_length_in_s"]
    else:
        height, width = (side * decoder.vae_scale_factor for side in latents.shape[-2:])
        sizes |= {"height": height, "width": width}
    if kind == "video":
        sizes["frames"] = latents.shape[2]
    made = decoder.decode(
        golden.tensor(FILE, f"{short}.prompt_embeds"),
        latents=latents,
        steps=facts["steps"],
        guidance_scale=facts["guidance_scale"],
        scheduler="checkpoint",
        **sizes,
    )
    name, attribute = MEDIUM[kind]
    check.compare(f"{short}.{name}", torch.tensor(getattr(made, attribute)), golden.tensor(FILE, f"{short}.{name}"))


def _captions(facts: dict[str, Any]) -> list[str]:
    """The captions encoded, which only a note tells."""
    for note in facts.get("notes", ()):
        if found := re.match(r"return_prompts_only inputs:\s*(\[.*\])", note):
            return ast.literal_eval(found[1])
    raise CaseError(f"{FILE}.json has no note that gives the inputs of return_prompts_only")


def _run_text(golden: GoldenFolder, facts: dict[str, Any], decoder_of, kind: str, check: Check) -> None:
    decoder, short, tensors = decoder_of(), SHORT[kind], golden.tensors(FILE)
    pairs: list[tuple[str, Tensor, Tensor]] = []
    if f"{short}.encoded_cfg_embeds" in tensors:
        name = f"{short}.encoded_cfg_embeds"
        negative, positive = tensors[name].chunk(2)
        # The positive side is what was given, the negative one the encoder's word for nothing.
        check.compare(name, positive, tensors[f"{short}.prompt_embeds"], label=f"{name}, positive")
        pairs.append((name, decoder.empty_conditioning(), negative))
    if f"{short}.return_prompts_only" in tensors:
        name = f"{short}.return_prompts_only"
        pairs.append((name, decoder.encode_text(_captions(facts)), tensors[name]))
    before = len(check.problems)
    for name, ours, theirs in pairs:
        check.compare(name, ours, theirs)
    if len(check.problems) > before:
        reason = _made_with_dropout(decoder, golden.path / FILE / short, _captions(facts), pairs)
        if reason:
            del check.problems[before:]
            raise Skip(reason)


def _made_with_dropout(decoder: Any, folder: Path, captions: list[str], pairs: list) -> str:
    """Why golden text states cannot be compared, or "" if they can.

    Only CLAP's configuration has dropout; states made while it was on are random and nobody can reproduce them. Two
    things are tested before this is said: our states are those of diffusers' own pipeline, and the golden ones are
    no further from them than dropout moves them (twice the most of some runs). Otherwise the difference is a failure.
    """
    config = decoder.text_encoder.config.to_dict()
    rate = max(
        (v for k, v in config.items() if "dropout" in k and isinstance(v, (int, float)) and not isinstance(v, bool)),
        default=0,
    )
    if not rate or decoder.kind != "audio":
        return ""
    theirs = _states_of_diffusers(folder, captions)
    ours = {len(states): states for _, states, _ in pairs}  # one row is the empty prompt's
    same = max(float((ours[len(rows)] - rows).abs().max()) for rows in theirs if len(rows) in ours)
    if not same <= SAME:
        return ""
    spread = _spread(decoder, captions)
    off = {name: (states - golden).abs().amax(-1) for name, states, golden in pairs}
    if not all(bool((error <= 2 * spread[len(error)]).all()) for error in off.values()):
        return ""
    largest = max(float(error.max()) for error in off.values())
    return (
        f"golden text states off by {largest:.2g}, no more than this encoder's dropout of {rate:g} moves them (not to "
        f"be reproduced if it was on when they were made); ours equal diffusers' own pipeline to {same:.0e}"
    )


def _states_of_diffusers(folder: Path, captions: list[str]) -> tuple[Tensor, Tensor]:
    """The empty prompt's and the captions' states, by the stock pipeline."""
    import diffusers

    pipeline = diffusers.AudioLDMPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    with torch.no_grad():
        both = pipeline._encode_prompt(captions, "cpu", 1, True)
    return both[:1], both[len(captions) :]


def _spread(decoder: Any, captions: list[str]) -> dict[int, Tensor]:
    """Number of rows → how far dropout moves each at most, in a number of runs."""
    encoders = (decoder._encode_empty, lambda: decoder.encode_text(captions))
    still = [encode() for encode in encoders]
    found: dict[int, Tensor] = {len(states): torch.zeros(len(states)) for states in still}
    decoder.text_encoder.train()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for _ in range(DROPOUT_RUNS):
                for encode, states in zip(encoders, still, strict=True):
                    moved = (encode() - states).abs().amax(-1)
                    found[len(states)] = torch.maximum(found[len(states)], moved)
    finally:
        decoder.text_encoder.eval()
    return found


def _run_long(golden: GoldenFolder, facts: dict[str, Any], decoder_of, short: str, check: Check) -> None:
    """Over-long captions: the original keeps their end, a quirk; ours are cut as diffusers cuts them."""
    decoder, name = decoder_of(), f"{short}.return_prompts_only_long"
    found = next(filter(None, (re.search(r"\((\d+) x '([^']*)'", note) for note in facts.get("notes", ()))), None)
    if found is None:
        raise CaseError(f"{FILE}.json has no note that gives the long caption")
    caption = " ".join([found[2]] * int(found[1]))
    states, expected = decoder.encode_text([caption]), golden.tensor(FILE, name)
    if check.rules.is_quirk(name):
        check.compared += 1
        check.require(states.shape == expected.shape, f"{name} has shape {tuple(states.shape)}")
        check.require(bool(states.isfinite().all()), f"{name} is not finite")
        check.notes.append("not compared: the original keeps the end of a long caption, ours its beginning")
    else:
        check.compare(name, decoder.encode_text([caption], keep_end=True), expected)
