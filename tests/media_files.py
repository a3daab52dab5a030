"""Media made by arithmetic, and files of them, for the tests of media and conversations."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile

from nextgpt_chat.media import ffmpeg


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """A colour ramp, uint8 (height, width, 3): red grows to the right, green downwards."""
    red = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    green = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([red, green, np.full_like(red, 128)], axis=-1).astype(np.uint8)


def tone(rate: int = 16_000, seconds: float = 0.5, pitch: float = 440.0) -> np.ndarray:
    """A sine, float32 (n,), amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def moving_square(frames: int = 8, height: int = 64, width: int = 64) -> np.ndarray:
    """A red square moving right on grey, uint8 (frames, height, width, 3)."""
    clip = np.full((frames, height, width, 3), 90, np.uint8)
    for index in range(frames):
        clip[index, 20:40, 4 * index : 4 * index + 20] = (220, 30, 30)
    return clip


def encode_clip(path: Path, clip: np.ndarray, fps: float, *options: str) -> Path:
    """Writes ``clip`` with ffmpeg in whatever form the options and the suffix say."""
    size = f"{clip.shape[2]}x{clip.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", str(fps), "-i", "pipe:0"]
    _ffmpeg([*source, *options, str(path)], clip.tobytes())
    return path


def encode_sound(path: Path, samples: np.ndarray, rate: int, *options: str) -> Path:
    wave = path.with_name("source.wav")
    soundfile.write(wave, samples, rate)
    _ffmpeg(["-i", str(wave), *options, str(path)])
    wave.unlink()
    return path


def _ffmpeg(arguments: list[str], stdin: bytes = b"") -> None:
    command = [ffmpeg.executable(), "-loglevel", "error", "-y", *arguments]
    subprocess.run(command, input=stdin, check=True, timeout=60)
