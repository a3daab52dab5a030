"""From media to ImageBind's input tensors; knows no network.

Equal to the published preprocessing (torchvision, torchaudio and pytorchvideo 0.1.5 there), except that each audio
window is centred on a copy: the original changes the waveform under the windows that follow.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from ..content import Audio, Image, Media, Video
from ..errors import LimitError
from .config import ImageBindConfig
from .fbank import fbank, resample, resampled_length

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, RGB
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_ASPECT = 50  # longer by shorter side; a thinner picture would grow beyond any use when its short side is scaled up


def clip_times(duration: float, seconds: float, clips: int) -> list[tuple[Fraction, Fraction]]:
    """Start and end in seconds of ``clips`` windows: start_i = i · max(duration - seconds, 0) / clips.

    The last window therefore ends before the medium does. Exact fractions, because the ends are truncated to samples.
    """
    step = Fraction(max(duration - seconds, 0)) / clips
    return [(step * i, step * i + Fraction(seconds)) for i in range(clips)]


def preprocess(media: Media, config: ImageBindConfig) -> Tensor:
    """Any medium's views, always with the view axis: image (1, 3, H, W), audio and video as below."""
    if isinstance(media, Image):
        return preprocess_image(media, config)[None]
    if isinstance(media, Audio):
        return preprocess_audio(media, config)
    if isinstance(media, Video):
        return preprocess_video(media, config)
    raise ValueError(f"not an image, sound or clip: {type(media).__name__}")


def preprocess_image(image: Image, config: ImageBindConfig) -> Tensor:
    """Shorter side to ``image_size`` (PIL bicubic), centre crop, normalised: float32 (3, H, W).

    Raises LimitError for a picture thinner than 1 : 50.
    """
    height, width = image.pixels.shape[:2]
    _check_aspect("The picture", height, width)
    size, short = config.image_size, min(height, width)
    new_height, new_width = (size if side == short else int(size * side / short) for side in (height, width))
    picture = image.to_pil()
    if (new_width, new_height) != (width, height):
        picture = picture.resize((new_width, new_height), PIL.Image.Resampling.BICUBIC)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)))
    return _normalised(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, channel_axis=0)


def preprocess_audio(audio: Audio, config: ImageBindConfig) -> Tensor:
    """Windows of log mel energies: float32 (audio_clips, 1, audio_mel_bins, audio_target_length)."""
    return preprocess_waveform(torch.from_numpy(audio.samples)[None], audio.rate, config)


def preprocess_waveform(waveform: Tensor, rate: int, config: ImageBindConfig) -> Tensor:
    """A waveform (channels, n) at ``rate`` Hz as (audio_clips, 1, audio_mel_bins, audio_target_length).

    As in the original, the mean is taken over all channels but only the first is analysed.
    """
    if waveform.ndim != 2:
        raise ValueError(f"waveform must be (channels, n), not {tuple(waveform.shape)}")
    duration = resampled_length(waveform.shape[1], rate, config.audio_rate) / config.audio_rate
    mels: dict[tuple[int, int], Tensor] = {}
    windows = []
    for start, end in clip_times(duration, config.audio_clip_seconds, config.audio_clips):
        span = (int(start * config.audio_rate), int(end * config.audio_rate))
        if span not in mels:
            piece = resample(waveform, rate, config.audio_rate, *span)
            centred = piece[:1] - piece.mean() if piece.shape[1] else piece[:1]
            mels[span] = log_mel(centred, config)[0]
        windows.append(mels[span])
    return torch.stack(windows)


def log_mel(windows: Tensor, config: ImageBindConfig) -> Tensor:
    """Windows (B, n) at ``audio_rate``, each with zero mean, as (B, 1, audio_mel_bins, audio_target_length).

    Missing frames are filled with log energy 0 before normalising, surplus frames are cut.
    """
    mel = fbank(windows, config.audio_mel_bins, config.audio_rate).transpose(1, 2)
    mel = F.pad(mel[..., : config.audio_target_length], (0, max(config.audio_target_length - mel.shape[-1], 0)))
    return ((mel - config.audio_mean) / config.audio_std)[:, None]


def preprocess_video(video: Video, config: ImageBindConfig) -> Tensor:
    """Views of a clip: float32 (video_clips * video_crops, 3, frames_per_clip, H, W), crops of one window together."""
    return preprocess_frames(torch.from_numpy(video.frames), video.fps, config)


def preprocess_frames(frames: Tensor, fps: float, config: ImageBindConfig) -> Tensor:
    """``preprocess_video`` for uint8 (frames, height, width, 3).

    Each window gives ``frames_per_clip`` frames, its first and last among them, and square crops at both ends and the
    centre of the longer side. Raises LimitError for a clip thinner than 1 : 50.
    """
    count, height, width = frames.shape[:3]
    _check_aspect("The clip", height, width)
    views = []
    for chosen in frames_of_clips(count, fps, config):
        pixels = _short_side_scaled(frames[chosen].permute(0, 3, 1, 2).float() / 255, config.image_size)
        pixels = _normalised(pixels, channel_axis=1).permute(1, 0, 2, 3)
        views += _square_crops(pixels, config.image_size, config.video_crops)
    return torch.stack(views)


def frames_of_clips(count: int, fps: float, config: ImageBindConfig) -> list[list[int]]:
    """Frame numbers of each window of a clip of ``count`` frames."""
    chosen = []
    for start, end in clip_times(count / fps, config.video_clip_seconds, config.video_clips):
        first = min(math.ceil(fps * float(start)), count - 1)
        last = max(min(math.ceil(fps * float(end)), count) - 1, first)
        steps = torch.linspace(0, last - first, config.frames_per_clip).long()
        chosen.append([first + int(step) for step in steps])
    return chosen


def _short_side_scaled(frames: Tensor, size: int) -> Tensor:
    """(T, 3, H, W) with its shorter side ``size``: bilinear, not smoothed beforehand, the longer side floored."""
    height, width = frames.shape[2:]
    tall = (math.floor(height / width * size), size)
    wide = (size, math.floor(width / height * size))
    shape = tall if width < height else wide
    return F.interpolate(frames, size=shape, mode="bilinear", align_corners=False)


def _square_crops(frames: Tensor, size: int, crops: int) -> list[Tensor]:
    """Squares at the start, centre and end (or the centre alone) of the longer side of (..., H, W)."""
    height, width = frames.shape[-2:]
    spare = max(height, width) - size
    offsets = (math.ceil(spare / 2),) if crops == 1 else (0, math.ceil(spare / 2), spare)
    axis = -2 if height > width else -1
    return [frames.narrow(axis, offset, size) for offset in offsets]


def _normalised(pixels: Tensor, channel_axis: int) -> Tensor:
    shape = [3 if axis == channel_axis else 1 for axis in range(pixels.ndim)]
    return (pixels - torch.tensor(PIXEL_MEAN).view(shape)) / torch.tensor(PIXEL_STD).view(shape)


def _check_aspect(what: str, height: int, width: int) -> None:
    if not height or not width or max(height, width) > MAX_ASPECT * min(height, width):
        raise LimitError(
            f"{what} is {width} × {height} pixels; the longer side may be at most {MAX_ASPECT} times the shorter one. "
            "Crop it first."
        )
