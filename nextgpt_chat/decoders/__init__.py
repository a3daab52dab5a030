"""Diffusion decoders: conditioning in, a picture, a sound or a clip out."""

from .audio import AudioDecoder
from .image import FlaggedImage, ImageDecoder
from .sampling import Cancelled
from .temporal import fast_temporal_convolutions
from .video import VideoDecoder

DECODERS = {"image": ImageDecoder, "audio": AudioDecoder, "video": VideoDecoder}

__all__ = ["DECODERS", "AudioDecoder", "Cancelled", "FlaggedImage", "ImageDecoder", "VideoDecoder"]
__all__ += ["fast_temporal_convolutions"]
