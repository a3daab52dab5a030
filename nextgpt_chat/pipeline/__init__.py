"""Messages in, events out: the whole chat as one object."""

from .making import failure_message
from .pipeline import NextGPTPipeline
from .remaking import REMADE, add_remade, find_generated
from .rendering import Renderer
from .seeds import derive_seed, random_seed

__all__ = [
    "REMADE",
    "NextGPTPipeline",
    "Renderer",
    "add_remade",
    "derive_seed",
    "failure_message",
    "find_generated",
    "random_seed",
]
