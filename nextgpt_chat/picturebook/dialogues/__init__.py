"""Dialogues of the picture-book world: what users ask and what the right reply is, as values, words and seeds."""

from nextgpt_chat.picturebook.dialogues.answers import (
    ABILITIES_TEXT,
    DECLINE_TEXT,
    IDENTITY_TEXT,
    UNKNOWN_MEDIA_TEXT,
    UNKNOWN_TEXT,
)
from nextgpt_chat.picturebook.dialogues.cells import INPUTS, cell
from nextgpt_chat.picturebook.dialogues.defaults import (
    DEFAULT_COLOURS,
    DEFAULT_MOTIONS,
    DEFAULT_PITCHES,
    DEFAULTS,
    attributes,
    complete,
)
from nextgpt_chat.picturebook.dialogues.sampling import KINDS, TEXT_ONLY_KINDS, as_text, dialogue, text_corpus
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, Dialogue, DialogueTurn, MediaSlot

__all__ = [
    "ABILITIES_TEXT",
    "DECLINE_TEXT",
    "DEFAULTS",
    "DEFAULT_COLOURS",
    "DEFAULT_MOTIONS",
    "DEFAULT_PITCHES",
    "IDENTITY_TEXT",
    "INPUTS",
    "KINDS",
    "MEDIA",
    "TEXT_ONLY_KINDS",
    "UNKNOWN_MEDIA_TEXT",
    "UNKNOWN_TEXT",
    "Dialogue",
    "DialogueTurn",
    "MediaSlot",
    "as_text",
    "attributes",
    "cell",
    "complete",
    "dialogue",
    "text_corpus",
]
