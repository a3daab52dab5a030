"""A conversation and its forms: turns, JSON, saved file, messages."""

from .conversation import Conversation
from .remade import REMADE, add_remade, find_generated

__all__ = ["REMADE", "Conversation", "add_remade", "find_generated"]
