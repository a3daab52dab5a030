"""Checkpoint folders: find, check, load, save. Importing this names no heavy library; loading and saving do."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .finding import find_checkpoint, locate, shipped_checkpoints
from .integrity import Finding, check_files, verify, write_checksums
from .manifest import MANIFEST_FILE, Component, Manifest, UnknownMedia

if TYPE_CHECKING:
    from .loading import ComponentSize, load_known_world, load_model, memory_plan
    from .saving import save_model

__all__ = [
    "MANIFEST_FILE",
    "Component",
    "ComponentSize",
    "Finding",
    "Manifest",
    "UnknownMedia",
    "check_files",
    "find_checkpoint",
    "load_known_world",
    "load_model",
    "locate",
    "memory_plan",
    "save_model",
    "shipped_checkpoints",
    "verify",
    "write_checksums",
]

_LATE = dict.fromkeys(("ComponentSize", "load_known_world", "load_model", "memory_plan"), ".loading")
_LATE["save_model"] = ".saving"


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name], __name__), name)
