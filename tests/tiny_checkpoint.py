"""A whole checkpoint at a tiny size, random but real in every part, saved once for all tests of a run."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from decoders.conftest import make_decoder
from tiny import tiny_language_model

from nextgpt_chat.checkpoints import Manifest, save_model
from nextgpt_chat.imagebind import ImageBind, ImageBindConfig
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.projections import InputProjection, OutputProjectionConfig, build_output_projection

KINDS = ("image", "audio", "video")
IMAGEBIND = dataclasses.replace(
    ImageBindConfig.mini(text_vocab_size=40),
    embedding_dim=12,
    image_size=28,
    vision_width=16,
    vision_depth=1,
    vision_heads=2,
    audio_width=16,
    audio_depth=1,
    audio_heads=2,
    text_width=16,
    text_depth=1,
    text_heads=2,
    text_context=9,
)
DEFAULTS = {
    "text": {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 24},
    "image": {"steps": 4, "guidance_scale": 2.0, "width": 32, "height": 32},
    "audio": {"steps": 3, "guidance_scale": 1.5, "seconds": 0.5},
    "video": {"steps": 2, "guidance_scale": 1.0, "frames": 2, "fps": 8.0, "width": 32, "height": 32},
}
MANIFEST = Manifest("tiny", defaults=DEFAULTS, summary="A tiny random checkpoint.")


def build_model(*, seed: int = 0, context: int = 512) -> NextGPTModel:
    """Every part at a tiny size with random weights."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        language_model = tiny_language_model(Path(folder), seed=seed, context=context)
        imagebind = ImageBind(IMAGEBIND).eval()
        decoders = {kind: make_decoder(kind) for kind in KINDS}
        projections = {}
        for kind, decoder in decoders.items():
            shape = decoder.conditioning_shape
            tokens, width = (1, shape[0]) if len(shape) == 1 else shape
            count = language_model.signal_tokens.count(kind)
            config = OutputProjectionConfig(64, width, count, tokens, "transformer", 16, 1, 2, 32)
            projections[kind] = build_output_projection(config)
        inputs = InputProjection(IMAGEBIND.embedding_dim, 64)
        return NextGPTModel(imagebind, inputs, language_model, projections, decoders).eval()


@functools.cache
def tiny_checkpoint() -> Path:
    """The folder of the saved checkpoint: for reading only."""
    folder = Path(tempfile.mkdtemp(prefix="nextgpt-tiny-"), "tiny")
    atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
    save_model(build_model(), MANIFEST, folder, max_shard="200KB", card="# tiny\n")
    return folder


@functools.cache
def tiny_pipeline() -> NextGPTPipeline:
    """The checkpoint opened once; replies leave it as it was."""
    return NextGPTPipeline.from_pretrained(tiny_checkpoint(), device="cpu")
