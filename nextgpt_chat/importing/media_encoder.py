"""``imagebind_huge.pth`` to our folder: vision and audio towers, sizes read from the tensors.

The chat encodes pictures, clips and sounds only; text, depth, thermal and IMU towers are left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..imagebind import ImageBind, ImageBindConfig
from .published import Shapes, compare, lacks
from .shards import Entry
from .tensors import TensorSource

UNUSED = ("text", "depth", "thermal", "imu")
_STEM = "modality_preprocessors.{}.rgbt_stem.proj{}.weight"
_POSITIONS = "modality_preprocessors.{}.pos_embedding_helper.pos_embed"
_SIZES = (
    _STEM.format("vision", ".1"),
    _STEM.format("audio", ""),
    _POSITIONS.format("vision"),
    _POSITIONS.format("audio"),
    "modality_heads.vision.2.weight",
    "modality_trunks.vision.blocks.0.mlp.fc1.weight",
)


def imagebind_config(shapes: Shapes, what: str, file: Path | None = None) -> tuple[ImageBindConfig, list[str]]:
    """The configuration without text tower of a published state dict, and warnings.

    ``file``: a JSON file with the configuration. Without it, head counts and clip sampling, which tensors do not
    show, are the published ones as far as they fit. Raises CheckpointError.
    """
    if file is not None:
        try:
            return ImageBindConfig.from_dict(json.loads(file.read_text(encoding="utf-8"))).without_text(), []
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{file} is no configuration of ImageBind: {error}.") from error
    lacks(what, [name for name in _SIZES if name not in shapes])
    huge = ImageBindConfig.huge().without_text()
    try:
        found = _sizes(shapes, huge)
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{what} is no ImageBind: {error}.") from error
    guessed = any(getattr(found, name) != getattr(huge, name) for name in ("vision_width", "audio_width"))
    warning = (
        f"{what} is not ImageBind huge; its numbers of attention heads cannot be read from weights and were taken as "
        f"{found.vision_heads} (vision) and {found.audio_heads} (audio). Give --imagebind-config if they are others."
    )
    return found, [warning] if guessed else []


def imagebind_entries(source: TensorSource, config: ImageBindConfig, what: str) -> list[Entry]:
    """What is to be written. Raises CheckpointError for missing, unknown or misshapen tensors."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in ImageBind(config).state_dict().items()}
    unused = re.compile(rf"modality_\w+?\.({'|'.join(UNUSED)})\.")
    compare(what, expected, {name: shape for name, shape in source.shapes.items() if not unused.match(name)})
    return [Entry(name, shape, lambda name=name: [source.get(name)]) for name, shape in expected.items()]


def _sizes(shapes: Shapes, huge: ImageBindConfig) -> ImageBindConfig:
    vision_width, _, frames, patch, _ = shapes[_SIZES[0]]
    audio_width, _, kernel, _ = shapes[_SIZES[1]]
    side = round((shapes[_SIZES[2]][1] - 1) ** 0.5)
    if side * side != shapes[_SIZES[2]][1] - 1:
        raise ValueError(f"{shapes[_SIZES[2]][1] - 1} picture patches make no square")
    return dataclasses.replace(
        huge,
        embedding_dim=shapes[_SIZES[4]][0],
        mlp_ratio=shapes[_SIZES[5]][0] / shapes[_SIZES[5]][1],
        image_size=side * patch,
        patch_size=patch,
        frames_per_clip=frames,
        vision_width=vision_width,
        vision_depth=_depth(shapes, "vision"),
        vision_heads=_heads(vision_width, huge.vision_heads),
        audio_kernel=kernel,
        audio_stride=_stride(huge, kernel, shapes[_SIZES[3]][1] - 1),
        audio_width=audio_width,
        audio_depth=_depth(shapes, "audio"),
        audio_heads=_heads(audio_width, huge.audio_heads),
    )


def _depth(shapes: Shapes, tower: str) -> int:
    stem = f"modality_trunks.{tower}.blocks."
    return 1 + max(int(name.removeprefix(stem).split(".")[0]) for name in shapes if name.startswith(stem))


def _heads(width: int, published: int) -> int:
    return next(heads for heads in (published, 8, 4, 2, 1) if heads == 1 or (width % heads == 0 and width >= 4 * heads))


def _stride(huge: ImageBindConfig, kernel: int, patches: int) -> int:
    for stride in (huge.audio_stride, *range(1, 2 * kernel + 1)):
        rows, columns = dataclasses.replace(huge, audio_kernel=kernel, audio_stride=stride).audio_grid
        if rows * columns == patches:
            return stride
    raise ValueError(f"no stride gives {patches} sound patches of {kernel} mel cells")
