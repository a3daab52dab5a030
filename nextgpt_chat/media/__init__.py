"""Files to arrays and back, within limits. Knows no model, no conversation and no web page."""

from .limits import Limits
from .reading import read_exact, read_media
from .writing import encode_lossless, read_metadata, write_audio, write_image, write_video

__all__ = [
    "Limits",
    "encode_lossless",
    "read_exact",
    "read_media",
    "read_metadata",
    "write_audio",
    "write_image",
    "write_video",
]
