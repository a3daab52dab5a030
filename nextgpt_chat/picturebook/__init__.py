"""The picture-book world: frozen values, and the pictures, clips, sounds and words that are drawn from them."""

from nextgpt_chat.picturebook.drawing import draw
from nextgpt_chat.picturebook.motion import animate
from nextgpt_chat.picturebook.sounds import play
from nextgpt_chat.picturebook.values import (
    CLIP_FPS,
    CLIP_FRAMES,
    CLIP_SIZE,
    COLOURS,
    MOTIONS,
    PICTURE_SIZE,
    PITCHES,
    PLACES,
    POSITIONS,
    SAMPLE_RATE,
    SIZES,
    SOUND_SECONDS,
    SOUNDS,
    SPEEDS,
    THINGS,
    Clip,
    Scene,
    Sound,
    Value,
    is_held_out,
)
from nextgpt_chat.picturebook.words import caption, captions, parse

__all__ = [
    "CLIP_FPS",
    "CLIP_FRAMES",
    "CLIP_SIZE",
    "COLOURS",
    "MOTIONS",
    "PICTURE_SIZE",
    "PITCHES",
    "PLACES",
    "POSITIONS",
    "SAMPLE_RATE",
    "SIZES",
    "SOUNDS",
    "SOUND_SECONDS",
    "SPEEDS",
    "THINGS",
    "Clip",
    "Scene",
    "Sound",
    "Value",
    "animate",
    "caption",
    "captions",
    "draw",
    "is_held_out",
    "parse",
    "play",
]
