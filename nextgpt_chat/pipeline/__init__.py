"""Messages in, events out: the whole chat as one object."""

from .making import failure_message
from .pipeline import NextGPTPipeline
from .rendering import Renderer
from .seeds import derive_seed, random_seed

__all__ = ["NextGPTPipeline", "Renderer", "derive_seed", "failure_message", "random_seed"]
