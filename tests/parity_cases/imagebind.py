"""ImageBind's towers: embeddings and intermediate values."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from nextgpt_chat.imagebind import ImageBind

from .comparing import Case, Check, Rules
from .folder import GoldenFolder
from .published import load_imagebind

FILE = "imagebind"
INPUTS = {"image": "image_u8", "video": "video_u8", "audio": "audio_mel_f16"}
TOWERS = {"image": "vision", "audio": "audio"}


def find(golden: GoldenFolder) -> Iterator[Case]:
    """One case a kind of media."""
    if not golden.has(f"{FILE}.json"):
        return
    facts = golden.json(f"{FILE}.json")
    rules = Rules(facts, f"{FILE}.json")
    encoder = functools.cache(lambda: load_imagebind(golden, facts["config"], facts["weights"]))
    for kind in (kind for kind, name in INPUTS.items() if name in golden.tensors(FILE)):
        yield Case(f"imagebind {kind}", functools.partial(_run, golden, encoder, kind), rules)


def _run(golden: GoldenFolder, encoder_of, kind: str, check: Check) -> None:
    encoder, tensors = encoder_of(), golden.tensors(FILE)
    inputs = _inputs(tensors[INPUTS[kind]], kind, encoder)
    with torch.no_grad():
        found = {f"out_{kind}": getattr(encoder, f"encode_{kind}")(inputs)}
        if kind in TOWERS:
            tower = TOWERS[kind]
            # The intermediate values of sounds are those of the first one's clips.
            tokens = encoder.modality_preprocessors[tower](inputs[0] if kind == "audio" else inputs)
            states = encoder.modality_trunks[tower](tokens)
            found |= {f"{kind}_head": encoder.modality_heads[tower](states)}
            for stem, values in (("tokens", tokens), ("trunk", states)):
                for name in (name for name in tensors if name.startswith(f"{kind}_{stem}_first")):
                    found[name] = values[:, : tensors[name].shape[1]]
    for name, values in found.items():
        if name in tensors:
            check.compare(name, values, tensors[name])


def _inputs(stored: Tensor, kind: str, encoder: ImageBind) -> Tensor:
    if kind == "audio":
        return stored.float()
    times = encoder.config.image_size // stored.shape[-1]
    return (stored.float() / 127.5 - 1).repeat_interleave(times, -1).repeat_interleave(times, -2)
