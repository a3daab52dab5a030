"""Files (and raw frames) to ImageBind's input tensors, at full size."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nextgpt_chat.imagebind import ImageBindConfig, preprocess_frames, preprocess_image, preprocess_waveform
from nextgpt_chat.media import Limits, read_media

from .comparing import Case, CaseError, Check, Rules
from .folder import GoldenFolder

FILE = "preprocess"


def find(golden: GoldenFolder) -> Iterator[Case]:
    """One case a file; kinds by the beginning of the name."""
    if not golden.has(f"{FILE}.json"):
        return
    facts = golden.json(f"{FILE}.json")
    rules = Rules(facts, f"{FILE}.json")
    for name, case in facts["cases"].items():
        yield Case(f"preprocess {name}", functools.partial(_run, golden, name, case), rules)


def _run(golden: GoldenFolder, name: str, case: dict[str, Any], check: Check) -> None:
    kind, shape = name.partition("_")[0], case["stats"]["shape"]
    if kind not in ("image", "audio", "video"):
        raise CaseError(f"{FILE}.json: {name} is neither an image, an audio nor a video case")
    config = _config(kind, shape, case)
    if kind == "image":
        views = preprocess_image(golden.image(case["file"], case.get("sha256")), config)
    elif kind == "audio":
        views = preprocess_waveform(*golden.waveform(case["file"], case.get("sha256")), config)
    elif "file" in case:
        clip = read_media(golden.media(case["file"], case.get("sha256")), limits=_unlimited())
        views = preprocess_frames(torch.from_numpy(clip.frames), clip.fps, config)
    else:
        views = preprocess_frames(golden.tensor(FILE, f"{name}_frames_u8"), case["fps"], config)
    check.require(list(views[None].shape) == shape, f"shape {list(views[None].shape)} instead of {shape}")
    stored = _stored(golden, name)
    step = int((re.search(r"_s(\d+)$", stored) or [0, 1])[1])
    check.compare(stored, views[..., ::step, ::step], golden.tensor(FILE, stored))


def _config(kind: str, shape: list[int], case: dict[str, Any]) -> ImageBindConfig:
    """The published preprocessing in the sizes of this case (patches play no part in it)."""
    if kind == "audio":
        return replace(
            ImageBindConfig.huge(), audio_clips=shape[1], audio_mel_bins=shape[3], audio_target_length=shape[4]
        )
    sizes = {"image_size": shape[-1], "patch_size": 1}
    if kind == "video":
        clips = len(case["clip_starts_sec"])
        sizes |= {"video_clips": clips, "video_crops": shape[1] // clips, "frames_per_clip": shape[3]}
    return replace(ImageBindConfig.huge(), **sizes)


def _stored(golden: GoldenFolder, name: str) -> str:
    """The case's tensor: its name, then how it was thinned (``_s8`` = every eighth pixel)."""
    pattern = re.compile(rf"{re.escape(name)}(_out)?(_f16)?(_s\d+)?")
    found = [stored for stored in golden.tensors(FILE) if pattern.fullmatch(stored)]
    if not found:
        raise CaseError(f"{FILE}.safetensors has no tensor for {name}")
    return found[0]


def _unlimited() -> Limits:
    """A golden clip is taken as it is, every frame in its own size."""
    many = 10**10
    return Limits(
        bytes=many, video_seconds=many, video_frames=many, clip_side=many, clip_bytes=many, decode_seconds=300
    )


def encode_file(golden: GoldenFolder, encoder: Any, kind: str, name: str) -> Tensor:
    """The embedding (E,) of one media file, by the original's reading of channels."""
    with torch.no_grad():
        if kind == "image":
            return encoder.encode_image(preprocess_image(golden.image(name), encoder.config)[None])[0]
        if kind == "audio":
            return encoder.encode_audio(preprocess_waveform(*golden.waveform(name), encoder.config)[None])[0]
        clip = read_media(golden.media(name), limits=_unlimited())
        views = preprocess_frames(torch.from_numpy(clip.frames), clip.fps, encoder.config)
        return encoder.encode_video(views[None])[0]
