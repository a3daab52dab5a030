"""ImageBind: pictures, sounds, clips and texts as vectors of one space (Girdhar et al., 2023)."""

from .config import ImageBindConfig
from .fbank import fbank, resample
from .model import ImageBind
from .preprocess import (
    clip_times,
    log_mel,
    preprocess_audio,
    preprocess_frames,
    preprocess_image,
    preprocess_video,
    preprocess_waveform,
)
from .storage import load_imagebind, load_official, save_imagebind

__all__ = [
    "ImageBind",
    "ImageBindConfig",
    "clip_times",
    "fbank",
    "load_imagebind",
    "load_official",
    "log_mel",
    "preprocess_audio",
    "preprocess_frames",
    "preprocess_image",
    "preprocess_video",
    "preprocess_waveform",
    "resample",
    "save_imagebind",
]
