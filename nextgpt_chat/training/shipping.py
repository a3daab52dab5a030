"""The end of the recipe: the trained model as a checkpoint folder with its model card."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from ..checkpoints import Manifest, UnknownMedia, load_known_world, save_model
from ..content import MODALITIES
from ..known_world import KnownWorld
from ..model import NextGPTModel
from ..picturebook import CLIP_FPS, CLIP_FRAMES, SOUND_SECONDS, captions
from ..picturebook.dialogues import DECLINE_TEXT, UNKNOWN_TEXT
from . import worlddata
from .contrastive import features_of_values
from .joining import load_stage
from .recipes import FURTHER_RUNS
from .workshop import Workshop, is_unfinished

DEFAULTS: dict[str, dict[str, Any]] = {
    "text": {"temperature": 0.2, "top_p": 0.9, "max_new_tokens": 160},
    "image": {"steps": 12, "guidance_scale": 3.0},
    # More guidance blurs sounds (sources of held-out captions at 1.5, 2, 3: 93, 96, 94 %).
    "audio": {"steps": 12, "guidance_scale": 2.0, "seconds": SOUND_SECONDS},
    "video": {"steps": 12, "guidance_scale": 3.0, "frames": CLIP_FRAMES, "fps": float(CLIP_FPS)},
}
SUMMARY = (
    "nextgpt-mini knows a small picture book: ask for pictures, sounds and clips of things like a bird, a car "
    "or a ball, or show it some and ask about them."
)
LICENCE = "Apache-2.0; trained from nothing on pictures, sounds and words that this repository's own program makes."


def ship(w: Workshop) -> Manifest:
    """Write the checkpoint to ``w.out``. A checkpoint that is there, or parts of one, go when the new one stands.

    Raises CheckpointError if something else is there, or it cannot be written.
    """
    model = load_stage(w, 3).eval()
    base = w.base_manifest()
    if base is None:
        manifest = Manifest(
            name="nextgpt-mini" if w.out.name == "nextgpt-mini" else f"nextgpt-{w.out.name}",
            template="clean",
            modalities=MODALITIES,
            defaults=DEFAULTS,
            summary=SUMMARY,
            licence=LICENCE,
            unknown_media=UnknownMedia(declines=(DECLINE_TEXT, UNKNOWN_TEXT)),
        )
        world, card = known_world(model), model_card(w)
    else:
        manifest, world, card = trained_manifest(base), load_known_world(w.base, base), base_card(w, base)
    parts = w.out.with_name(f".{w.out.name}.{uuid.uuid4().hex[:8]}.parts")
    if is_unfinished(w.out):
        w.out.rename(parts)
    try:
        written = save_model(model, manifest, w.out, known_world=world, card=card)
    except BaseException:
        if parts.exists():
            parts.rename(w.out)
        raise
    shutil.rmtree(parts, ignore_errors=True)
    return written


def trained_manifest(base: Manifest) -> Manifest:
    """The base's manifest for its trained successor: what `new-checkpoint` says of an untrained one is gone."""
    untrained = bool(base.extra.get("untrained"))
    extra = {key: value for key, value in base.extra.items() if key != "untrained"}
    return replace(base, summary="" if untrained else base.summary, extra=extra | {"trained_on": "picturebook"})


def known_world(model: NextGPTModel, count: int = 1500, made: int = 100) -> KnownWorld:
    """What the world's media look like to ImageBind; the threshold is set on held-out renderings, and on what the
    decoders make of held-out captions: it was not, and an ImageBind that the recipe gave called most of its own
    pictures unknown (up to 1.3 times the threshold of renderings; six photographs 1.6 to 2.8 times)."""
    rng = np.random.default_rng(17)
    pools = {"image": worlddata.scenes, "video": worlddata.clips, "audio": worlddata.sounds}

    def features(held_out: bool, number: int) -> dict[str, list[Tensor]]:
        drawn = {}
        for kind, pool in pools.items():
            values = [worlddata.pick(pool(held_out), rng) for _ in range(number)]
            drawn[kind] = features_of_values(model.imagebind, values, [worlddata.new_seed(rng) for _ in values])
        return drawn

    def features_of_made(kind: str) -> list[Tensor]:
        decoder, settings = model.decoders[kind], DEFAULTS[kind]
        values = [worlddata.pick(pools[kind](True), rng) for _ in range(made)]
        return [
            model.imagebind.encode_halfway(
                [decoder.decode(decoder.encode_text([captions(value)[0]]), seed=i, **settings)]
            )[0]
            for i, value in enumerate(values)
        ]

    drawn = features(False, count), features(True, max(60, count // 4))
    return KnownWorld.fit(*drawn, made={kind: features_of_made(kind) for kind in pools if kind in model.decoders})


def model_card(w: Workshop) -> str:
    """README.md of the checkpoint: data, recipe, minutes and gates of every stage that reported."""
    further = {name for names in FURTHER_RUNS.values() for name in names}
    table = _stage_table(w, (name for name in w.sizes.recipes if name not in further))
    sizes = json.dumps({k: v for k, v in vars(w.sizes).items() if k != "recipes"})
    return f"""---
license: apache-2.0
library_name: nextgpt-chat
tags: [any-to-any, text-to-image, text-to-audio, text-to-video]
---
# nextgpt-mini

NExT-GPT's architecture (Wu et al., ICML 2024) at a small size: ImageBind → input projection → LLaMA with a LoRA adapter
→ modality signal tokens → output projections → three latent diffusion decoders. It runs on a laptop's CPU and knows
only the picture-book world of `nextgpt_chat/picturebook`: 17 things, the sounds of ten of them and of rain, wind and
waves, ten colours, three sizes, three positions, six places, nine motions.

**Data.** Pictures, clips, sounds, captions and dialogues are drawn and written by that program; nothing else was used.
A tenth of the (thing, colour) and (thing, motion) pairs and a fifth of the (source, pitch) pairs are held out from all
training and used for every figure.

**Recipe.** `make mini` rebuilds it from nothing: the frozen parts first (in place of the public ones), then the paper's
three stages. ImageBind is trained by contrasting media with captions and, beside that, linear readers of each attribute
that are thrown away afterwards; then each tower by itself, until an embedding is the sum of fixed directions, one for
each word (`training/codes.py`). The language model is trained on text alone, but in its second run most media are one
vector of words (`training/word_vectors.py`), for after plain text it had no way to unpack what a medium's one position
holds; in its third run these vectors are as blurred as ImageBind's embeddings are, and words are other ones all
through most dialogues (`training/renaming.py`), for it said the pairs it had read of, whatever it was asked for. Stage
1 describes media between the world's words, too (`training/between.py`). In stage 2 the signal tokens start at the
words before what they are to hold (`training/signal_rows.py`) and are learned first, then the output projections, from
the language model's states that are computed once, by the squared distance (`training/decoding_side.py`); so they do
once more after stage 3. Stage 3 is given media between the words and renamed dialogues, too; its adapter and the input
projection learn slowly there, and words for the pitches of the world's own sources are not learned at all
(`training/alignment.py`): else it learns by heart which pairs there are. The text encoder of the sounds' decoder is
trained first, alone (`training/sound_captions.py`). The vocoder's phases are mended by Griffin-Lim
(`decoders/mel.py`). Sizes: `{sizes}`.

{table}

**Limits.** It knows nothing of the real world and says so for media that are far from its own; people, brands, places
and facts are outside. Its pictures are 128 × 128, its clips eight frames of 64 × 64, its sounds two seconds.
Asked whether something is so, it says what is there; a Yes or No before that means nothing.

**Licence.** {LICENCE}
"""


def base_card(w: Workshop, base: Manifest) -> str:
    """README.md of a checkpoint that the three stages made of another one."""
    parts = json.dumps(base.extra.get("made_from", {}))
    return f"""---
library_name: nextgpt-chat
tags: [any-to-any]
---
# {base.name}

NExT-GPT's architecture around parts that are not this repository's: `{parts}`, joined by {base.projections["input"]}
input and {base.projections["output"]} output projections and aligned by the paper's three stages.

**Data.** Dialogues, pictures, sounds and clips of the picture-book world (`nextgpt_chat/picturebook`), nothing else.

{_stage_table(w, ("stage1", "stage2", "stage3"))}

**Licence.** Each part keeps its own licence; this checkpoint may be used only as all of them together allow.
{base.licence}
"""


def _stage_table(w: Workshop, stages: Iterable[str]) -> str:
    lines = ["| stage | steps × batch | minutes | gate |", "|---|---|---|---|"]
    for stage in stages:
        result = w.result(stage) or {}
        recipes = [w.recipe(name) for name in (stage, *FURTHER_RUNS.get(stage, ()))]
        steps = ", ".join(f"{recipe.steps} × {recipe.batch}" for recipe in recipes)
        gate = ", ".join(f"{name} {row['rate']:.1%}" for name, row in result.get("gate", {}).items()) or "–"
        minutes = f"{result['minutes']:.0f}" if "minutes" in result else "not recorded"
        lines.append(f"| {stage} | {steps} | {minutes} | {gate} |")
    return "\n".join(lines)
