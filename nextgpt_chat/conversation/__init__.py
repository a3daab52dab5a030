"""A conversation and its forms: turns, JSON, saved file, messages."""

from .conversation import Conversation

__all__ = ["Conversation"]
