"""The command line: one printer of the pipeline's events, and the doors to training, evaluation and checks."""

from .main import main

__all__ = ["main"]
