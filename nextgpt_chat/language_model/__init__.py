"""The language model and its decoding loop."""

from .generation import Ended, SignalGroup, Step, TextPiece
from .network import LORA_TARGETS, LanguageModel, save_lora_config
from .prefix_cache import PrefixCache
from .sampling import DEFAULTS, next_token

__all__ = [
    "DEFAULTS",
    "LORA_TARGETS",
    "Ended",
    "LanguageModel",
    "PrefixCache",
    "SignalGroup",
    "Step",
    "TextPiece",
    "next_token",
    "save_lora_config",
]
