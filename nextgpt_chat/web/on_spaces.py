"""What is different on a Hugging Face Space: the address to listen on, and ZeroGPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import NextGPTError


def space_environment(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The environment; on a Space, it also says to listen on every address, unless it says otherwise."""
    environment = os.environ if environment is None else environment
    if not environment.get("SPACE_ID"):
        return environment
    return {**environment, "NEXTGPT_HOST": environment.get("NEXTGPT_HOST") or "0.0.0.0"}


def prepare(load: Callable[[], Any], environment: Mapping[str, str] | None = None) -> Any:
    """What ``launch`` shall be given: ``load`` itself; on ZeroGPU the pipeline, loaded here and now.

    ZeroGPU pretends to have a GPU only in the thread that imports ``spaces``, and takes the weights over when the page
    is launched: so call this in the main thread, before. Raises NextGPTError where ``spaces`` is missing there.
    """
    environment = os.environ if environment is None else environment
    if environment.get("SPACES_ZERO_GPU", "").lower() not in ("1", "t", "true"):
        return load
    try:
        spaces = importlib.import_module("spaces")
    except ImportError as error:
        raise NextGPTError("This is ZeroGPU, but the package spaces is missing. Add it to requirements.txt.") from error
    from .zero_gpu import ZeroGPUPipeline

    return ZeroGPUPipeline(load(), spaces.GPU)
