"""Example messages, one for every direction; their media are drawn by the picture-book world when the page is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..content import Audio, Image, Video
from ..media import write_audio, write_image, write_video
from ..picturebook import CLIP_FPS, SAMPLE_RATE, Clip, Scene, Sound, animate, draw, play


@dataclass(frozen=True)
class Example:
    """One card: what is sent when it is pressed, the direction it shows, and a picture for it where it has no file."""

    direction: str
    text: str
    files: tuple[Path, ...] = ()
    icon: Path | None = None

    @property
    def makes(self) -> str:
        """The modality that its answer needs."""
        return "image" if self.direction == "edit" else self.direction.rpartition(" ")[2]


def usable(examples: Sequence[Example], makes: Collection[str]) -> list[Example]:
    """Those that a checkpoint which ``makes`` some modalities can answer."""
    return [example for example in examples if example.makes in makes]


_CAR = Scene("car", "red", "big", "middle", "grass")
_BOAT = Scene("boat", "blue", "big", "middle", "sea")
_TRAIN = Scene("train", "green", "big", "middle", "plain")
_BALL = Scene("ball", "orange", "medium", "left", "sand")


def _picture(scene: Scene) -> Callable[[Path], None]:
    return lambda path: write_image(Image(np.array(draw(scene, 3).convert("RGB"))), path, ai_generated=False)  # type: ignore[return-value]


def _sound(sound: Sound) -> Callable[[Path], None]:
    return lambda path: write_audio(  # type: ignore[return-value]
        Audio(np.asarray(play(sound, 3), dtype=np.float32), SAMPLE_RATE), path, ai_generated=False
    )


def _clip(clip: Clip) -> Callable[[Path], None]:
    return lambda path: write_video(  # type: ignore[return-value]
        Video(np.asarray(animate(clip, 3)), CLIP_FPS), path, ai_generated=False, scale=4, smooth=True
    )


_FILES: dict[str, Callable[[Path], None]] = {
    "car.png": _picture(_CAR),
    "boat.png": _picture(_BOAT),
    "train.png": _picture(_TRAIN),
    "dog.png": _picture(Scene("dog", "brown", "big", "middle", "grass")),
    "star.png": _picture(Scene("star", "yellow", "big", "middle", "night")),
    "bell.wav": _sound(Sound("bell", "high", "slow")),
    "ball.mp4": _clip(Clip(_BALL, "moves right")),
}


def make_examples(folder: Path) -> list[Example]:
    """Draws the media into ``folder`` (existing files are kept) and returns the cards in the order of their showing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, write in _FILES.items():
        paths[name] = folder / name
        if not paths[name].exists():
            write(paths[name])
    return [
        Example("text to image", "draw a red car on the grass", icon=paths["car.png"]),
        Example("text to audio", "play the sound of a dog barking fast", icon=paths["dog.png"]),
        Example("text to video", "make a clip of a yellow star that spins at night", icon=paths["star.png"]),
        Example("image to text", "what is in this picture?", (paths["boat.png"],)),
        Example("audio to text", "what do you hear?", (paths["bell.wav"],)),
        Example("video to text", "what happens in this clip?", (paths["ball.mp4"],)),
        Example("image to audio", "what does this sound like?", (paths["train.png"],)),
        Example("edit", "make it blue", (paths["car.png"],)),
    ]


def card(example: Example) -> dict[str, Any]:
    """What the Chatbot is given for it."""
    shown: dict[str, Any] = {"text": example.text, "display_text": example.text}
    if example.files:
        shown["files"] = [str(path) for path in example.files]
    elif example.icon:
        shown["icon"] = str(example.icon)
    return shown
