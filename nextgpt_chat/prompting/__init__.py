"""Prompt templates: from a sequence of turns to segments of ids and media, the same for training and use."""

from .layout import Template
from .segments import MediaSegment, Prompt, Segment, SignalSegment, TextSegment, cut, position_keys
from .templates import SEVERAL_FILES, TEMPLATES, make_template
from .v0 import V0AsTrainedTemplate, V0Template, tokenise_v0

__all__ = [
    "SEVERAL_FILES",
    "TEMPLATES",
    "MediaSegment",
    "Prompt",
    "Segment",
    "SignalSegment",
    "Template",
    "TextSegment",
    "V0AsTrainedTemplate",
    "V0Template",
    "cut",
    "make_template",
    "position_keys",
    "tokenise_v0",
]
