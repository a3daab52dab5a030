"""Messages in, events out: the whole chat as one object."""

from .pipeline import NextGPTPipeline
from .seeds import derive_seed, random_seed

__all__ = ["NextGPTPipeline", "derive_seed", "random_seed"]
