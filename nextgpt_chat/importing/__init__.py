"""Other people's weights to a checkpoint's folder: convert the published files, and fetch them first.

Importing this names no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembling import ImportReport, ImportSources, import_checkpoint
    from .downloading import DownloadPlan, download_checkpoint, plan_download
    from .full_size import blueprint

__all__ = [
    "DownloadPlan",
    "ImportReport",
    "ImportSources",
    "blueprint",
    "download_checkpoint",
    "import_checkpoint",
    "plan_download",
]

_LATE = dict.fromkeys(("ImportReport", "ImportSources", "import_checkpoint"), ".assembling")
_LATE |= dict.fromkeys(("DownloadPlan", "download_checkpoint", "plan_download"), ".downloading")
_LATE["blueprint"] = ".full_size"


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name], __name__), name)
