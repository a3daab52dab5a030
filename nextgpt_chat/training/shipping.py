"""The end of the recipe: the trained model as a checkpoint folder with its model card."""

from __future__ import annotations

import json
import shutil
import uuid
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints import Manifest, UnknownMedia, save_model
from ..content import MODALITIES
from ..imagebind import ImageBind
from ..known_world import KnownWorld
from ..picturebook import CLIP_FPS, CLIP_FRAMES, SOUND_SECONDS
from . import worlddata
from .contrastive import embed_values
from .joining import load_stage
from .workshop import Workshop

DEFAULTS: dict[str, dict[str, Any]] = {
    "text": {"temperature": 0.2, "top_p": 0.9, "max_new_tokens": 160},
    "image": {"steps": 12, "guidance_scale": 3.0},
    "audio": {"steps": 12, "guidance_scale": 3.0, "seconds": SOUND_SECONDS},
    "video": {"steps": 12, "guidance_scale": 3.0, "frames": CLIP_FRAMES, "fps": float(CLIP_FPS)},
}
SUMMARY = (
    "nextgpt-mini knows a small picture book: ask for pictures, sounds and clips of things like a bird, a car "
    "or a ball, or show it some and ask about them."
)
LICENCE = "Apache-2.0; trained from nothing on pictures, sounds and words that this repository's own program makes."


def ship(w: Workshop) -> Manifest:
    """Write the checkpoint to ``w.out``, replacing what is there, after it stands complete beside it."""
    model = load_stage(w, 3).eval()
    manifest = Manifest(
        name="nextgpt-mini" if w.out.name == "nextgpt-mini" else f"nextgpt-{w.out.name}",
        template="clean",
        modalities=MODALITIES,
        defaults=DEFAULTS,
        summary=SUMMARY,
        licence=LICENCE,
        unknown_media=UnknownMedia(),
    )
    fresh = w.root / f"checkpoint-{uuid.uuid4().hex[:8]}"
    written = save_model(model, manifest, fresh, known_world=known_world(model.imagebind), card=model_card(w))
    w.out.parent.mkdir(parents=True, exist_ok=True)
    if w.out.exists():
        shutil.rmtree(w.out)
    shutil.move(fresh, w.out)
    return written


def known_world(imagebind: ImageBind, count: int = 1500) -> KnownWorld:
    """What embeddings of the world's media look like; the threshold is set on held-out renderings."""
    rng = np.random.default_rng(17)
    pools = {"image": worlddata.scenes, "video": worlddata.clips, "audio": worlddata.sounds}

    def embedded(held_out: bool, number: int) -> dict[str, Tensor]:
        made = {}
        for kind, pool in pools.items():
            values = [worlddata.pick(pool(held_out), rng) for _ in range(number)]
            made[kind] = embed_values(imagebind, values, [worlddata.new_seed(rng) for _ in values])
        return made

    fitted = embedded(False, count)
    with torch.no_grad():
        return KnownWorld.fit(fitted, 0.01, calibration=embedded(True, max(60, count // 4)))


def model_card(w: Workshop) -> str:
    """README.md of the checkpoint: data, recipe, minutes and gates of every stage that reported."""
    lines = ["| stage | steps × batch | minutes | gate |", "|---|---|---|---|"]
    for stage, recipe in w.sizes.recipes.items():
        result = w.result(stage) or {}
        gate = ", ".join(f"{name} {row['rate']:.1%}" for name, row in result.get("gate", {}).items()) or "–"
        minutes = f"{result['minutes']:.0f}" if "minutes" in result else "not recorded"
        lines.append(f"| {stage} | {recipe.steps} × {recipe.batch} | {minutes} | {gate} |")
    table = "\n".join(lines)
    sizes = json.dumps({k: v for k, v in vars(w.sizes).items() if k != "recipes"})
    return f"""---
license: apache-2.0
library_name: nextgpt-chat
tags: [any-to-any, text-to-image, text-to-audio, text-to-video]
---
# nextgpt-mini

NExT-GPT's architecture (Wu et al., ICML 2024) at a small size: ImageBind → input projection → LLaMA with a LoRA adapter
→ modality signal tokens → output projections → three latent diffusion decoders. It runs on a laptop's CPU and knows
only the picture-book world of `nextgpt_chat/picturebook`: 27 things, weather and sounds, ten colours, three sizes,
three positions, six places, nine motions.

**Data.** Pictures, clips, sounds, captions and dialogues are drawn and written by that program; nothing else was used.
A tenth of the (thing, colour) and (thing, motion) pairs and a fifth of the (source, pitch) pairs are held out from all
training and used for every figure.

**Recipe.** `make mini` rebuilds it from nothing: the frozen parts first (in place of the public ones), then the paper's
three stages. ImageBind is trained by contrasting media with captions and, beside that, linear readers of each attribute
that are thrown away afterwards. Sizes: `{sizes}`.

{table}

**Limits.** It knows nothing of the real world and says so for media that are far from its own; people, brands, places
and facts are outside. Its pictures are 128 × 128, its clips eight frames of 64 × 64, its sounds two seconds.

**Licence.** {LICENCE}
"""
