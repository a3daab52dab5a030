"""Turns as transformers' role and content-block lists, and back."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import PIL.Image

from ..content import MEDIA_KINDS, Audio, Image, Media, MediaPart, Part, TextPart, Turn, Video
from ..media import Limits, read_media


def to_messages(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """``{"role", "content": [blocks]}`` of every turn; blocks as in :func:`block_of`."""
    return [{"role": turn.role, "content": [block_of(part) for part in turn.parts]} for turn in turns]


def to_turns(messages: Iterable[Mapping[str, Any]], limits: Limits) -> list[Turn]:
    """The inverse of :func:`to_messages`; ``content`` may also be a plain str.

    Raises ValueError for an unknown role or block, MediaError or LimitError for a file that cannot be taken.
    """
    turns = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        if not isinstance(content, (list, tuple)):
            raise ValueError(f"content must be a str or a list of blocks, not {content!r}")
        parts = tuple(part_of(block, role == "assistant", limits) for block in content)
        turns.append(Turn(role, parts))  # type: ignore[arg-type]  # Turn checks it
    return turns


def block_of(part: Part) -> dict[str, Any]:
    """``{"type": "text", "text"}``, ``{"type": "image", "image": PIL}``, ``{"type": "audio", "audio": float32 (n,),
    "sampling_rate"}`` or ``{"type": "video", "video": uint8 (frames, height, width, 3), "fps"}``.

    A generated medium's ``caption`` stands beside it. Names, ids and details are left out.
    """
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    media, block = part.media, {"type": part.kind}
    if isinstance(media, Image):
        block |= {"image": media.to_pil()}
    elif isinstance(media, Audio):
        block |= {"audio": media.samples, "sampling_rate": media.rate}
    else:
        block |= {"video": media.frames, "fps": media.fps}
    return block | ({"caption": part.caption} if part.caption else {})


def part_of(block: Mapping[str, Any], generated: bool, limits: Limits) -> Part:
    """The inverse of :func:`block_of`. Media may also be file paths, file bytes or media values, or stand under
    ``path`` or ``base64`` (a file's bytes); nothing is fetched from an address."""
    kind = block.get("type")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise ValueError(f"a text block needs 'text' as a str, not {block.get('text')!r}")
        return TextPart(block["text"])
    if kind not in MEDIA_KINDS:
        raise ValueError(f"unknown block type {kind!r}; it must be one of text, {', '.join(MEDIA_KINDS)}")
    value, name = block.get(kind), ""
    if value is None and "path" in block:
        value = block["path"]
    elif value is None and "base64" in block:
        try:
            value = base64.b64decode(block["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError(f"a {kind} block's base64 cannot be decoded: {error}") from error
    if value is None:
        raise ValueError(f"a {kind} block needs {kind!r}, 'path' or 'base64', not only {sorted(block)}")
    if isinstance(value, (str, os.PathLike)):
        name = os.path.basename(os.fspath(value))
    media = read_media(_from_array(kind, value, block) if _is_array(value) else value, limits=limits)
    if media.kind != kind:
        raise ValueError(f"an {kind!r} block holds {media.kind!r}: {str(value)[:80]!r}")
    return MediaPart(media, caption=str(block.get("caption", "")), name=name, generated=generated)


def _is_array(value: Any) -> bool:
    if isinstance(value, (PIL.Image.Image, bytes)):
        return False
    return isinstance(value, (list, tuple)) or hasattr(value, "__array__")


def _from_array(kind: str, value: Any, block: Mapping[str, Any]) -> Media:
    if kind == "image":
        return Image(np.asarray(value))
    if kind == "audio":
        if "sampling_rate" not in block:
            raise ValueError("an audio block with samples needs 'sampling_rate' in Hz")
        samples = np.asarray(value)
        if np.issubdtype(samples.dtype, np.signedinteger):
            samples = samples / -float(np.iinfo(samples.dtype).min)
        return Audio(samples.astype(np.float32), int(block["sampling_rate"]))
    if "fps" not in block:
        raise ValueError("a video block with frames needs 'fps'")
    return Video(np.stack([np.asarray(frame) for frame in value]), float(block["fps"]))
