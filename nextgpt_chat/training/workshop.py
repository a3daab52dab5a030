"""Where a training run keeps its parts, its state and its caches, and the sizes it works with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import NextGPTError
from .loop import Recipe
from .recipes import Sizes, preset


class Workshop:
    """Paths and parts of one training run."""

    def __init__(self, root: Path, sizes: Sizes, resume: bool, device: str = "auto") -> None:
        self.root, self.sizes, self.resume = root, sizes, resume
        use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if use_cuda else "cpu")

    def part(self, name: str) -> Path:
        return self.root / "parts" / name

    def state(self, stage: str) -> Path:
        return self.root / "state" / stage

    def recipe(self, stage: str) -> Recipe:
        return self.sizes.recipe(stage)

    def need(self, name: str, stage: str) -> Path:
        """The folder of a part that ``stage`` made. Raises NextGPTError if it is not there."""
        path = self.part(name)
        if not path.exists():
            raise NextGPTError(f"{path} is missing. Run `python -m nextgpt_chat train {stage}` first.")
        return path


def make_workshop(config: dict[str, Any], resume: bool = True) -> Workshop:
    """Raises NextGPTError for names that no preset has."""
    sizes = preset(config.pop("preset", "mini"))
    root = Path(config.pop("root", "runs/mini"))
    device = config.pop("device", "auto")
    return Workshop(root, sizes.changed(config), resume, device)
