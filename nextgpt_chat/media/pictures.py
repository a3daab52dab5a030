"""Pillow pictures to RGB arrays: upright, without transparency; and animated GIFs to frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import PIL.Image
import PIL.ImageOps

_SHORTEST_DELAY = 20  # ms; browsers show GIF frames with a shorter (usually: unset) delay for 100 ms
_UNSET_DELAY = 100


def rgb_pixels(picture: PIL.Image.Image) -> np.ndarray:
    """uint8 (height, width, 3): turned as its EXIF orientation says, transparency on white, 16 bits cut to 8."""
    try:
        picture = PIL.ImageOps.exif_transpose(picture)
    except (OSError, PIL.UnidentifiedImageError):
        raise
    except Exception:  # a broken EXIF block: the picture itself is still good
        pass
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip; "I" may hold 8 bits too
        grey = np.asarray(picture).astype(np.int64)
        bits = 0 if picture.mode == "I" and grey.max() < 256 else 8
        picture = PIL.Image.fromarray(np.clip(grey >> bits, 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def gif_milliseconds(gif: PIL.Image.Image, frame: int) -> int:
    """How long a frame is shown, as browsers do it."""
    gif.seek(frame)
    delay = int(gif.info.get("duration", 0))
    return delay if delay >= _SHORTEST_DELAY else _UNSET_DELAY


def gif_frames(gif: PIL.Image.Image, frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The first ``frames`` frames, uint8 (height, width, 3) with ``size`` = (width, height)."""
    for index in range(frames):
        gif.seek(index)
        pixels = rgb_pixels(gif)
        if gif.size != size:
            shrunk = PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BICUBIC)
            pixels = np.asarray(shrunk)
        yield pixels
