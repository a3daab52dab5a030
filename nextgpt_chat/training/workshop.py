"""Where a training run keeps its parts, its state and its caches, and the sizes it works with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import Manifest, find_checkpoint
from ..checkpoints.devices import choose_device
from ..checkpoints.manifest import MANIFEST_FILE, check_replaceable
from ..errors import NextGPTError
from .loop import Recipe
from .recipes import Sizes, check_value, preset

SHIPPED_PARTS = {
    "vae": "image_decoder/vae",
    "audio-vae": "audio_decoder/vae",
    "vocoder": "audio_decoder/vocoder",
    "imagebind": "imagebind",
    "language_model": "language_model",
    "image_decoder": "image_decoder",
    "audio_decoder": "audio_decoder",
    "video_decoder": "video_decoder",
}
"""Frozen part → where a finished checkpoint keeps it."""
SHIPPED_FILES = {name: "model_index.json" if name.endswith("_decoder") else "config.json" for name in SHIPPED_PARTS}


class Workshop:
    """Paths and parts of one training run.

    ``out``: the checkpoint that the run ends in. While that is unfinished (it has parts but no manifest), a resumed run
    takes from it the frozen parts that are not in ``root``; a finished one is never built upon but replaced.
    ``base``: a checkpoint whose parts the paper's three stages are run on, in place of parts trained here.
    """

    def __init__(
        self,
        root: Path,
        sizes: Sizes,
        resume: bool,
        device: str = "auto",
        out: Path | None = None,
        gates: bool = True,
        base: Path | None = None,
    ) -> None:
        self.root, self.sizes, self.resume, self.out, self.gates = root, sizes, resume, out, gates
        self.base = base
        # Apple's MPS only where it is asked for: no stage has been tried on it.
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = choose_device(auto if device == "auto" else device)

    def part(self, name: str) -> Path:
        """Where a part is written by this run."""
        return self.root / "parts" / name

    def state(self, stage: str) -> Path:
        """Where a stage keeps its state, metrics and result."""
        return self.root / "state" / stage

    def cache(self, name: str) -> Path:
        return self.root / "cache" / f"{name}.pt"

    def recipe(self, stage: str) -> Recipe:
        return self.sizes.recipe(stage)

    def base_manifest(self) -> Manifest | None:
        """What the base says about itself; None without one."""
        return None if self.base is None else Manifest.load(self.base)

    def find(self, name: str) -> Path | None:
        """The folder of a finished part, or None."""
        if self.part(name).exists():
            return self.part(name)
        unfinished = self.out is not None and not (self.out / MANIFEST_FILE).exists()
        if unfinished and self.resume and name in SHIPPED_PARTS:
            shipped = self.out / SHIPPED_PARTS[name]
            return shipped if (shipped / SHIPPED_FILES[name]).exists() else None
        return None

    def need(self, name: str, stage: str) -> Path:
        """The folder of a part that ``stage`` makes. Raises NextGPTError if it is not there."""
        path = self.find(name)
        if path is None:
            raise NextGPTError(f"{self.part(name)} is missing. Run `python -m nextgpt_chat train {stage}` first.")
        return path

    def result_file(self, stage: str) -> Path:
        return self.state(stage) / "result.json"

    def result(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, or None."""
        file = self.result_file(stage)
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


SETTINGS = {"preset": str, "root": str, "out": str, "device": str, "base": str, "gates": bool}
"""What a configuration may say besides sizes and recipes."""


def is_unfinished(out: Path) -> bool:
    """Whether a folder holds parts of a checkpoint and nothing else."""
    tops = {Path(part).parts[0] for part in SHIPPED_PARTS.values()}
    return out.is_dir() and {path.name for path in out.iterdir()} <= tops


def make_workshop(config: dict[str, Any], resume: bool = True) -> Workshop:
    """Raises NextGPTError for names that no preset has, values that cannot be used, a base that is no checkpoint, and
    a folder for the result in which something else would be lost."""
    config = dict(config)
    for key, kind in SETTINGS.items():
        check_value(key, config.get(key, kind()), kind())
    name, base = config.pop("preset", "mini"), config.pop("base", None)
    sizes = preset(name)
    base = None if base is None else find_checkpoint(base)
    is_mini = name == "mini" and base is None
    root = Path(config.pop("root", f"runs/{base.name if base else name}"))
    out = Path(config.pop("out", "checkpoints/nextgpt-mini" if is_mini else root / "checkpoint"))
    device, gates = config.pop("device", "auto"), config.pop("gates", is_mini)
    if base is not None and out.resolve() == base.resolve():
        raise NextGPTError(f"The result would replace the base {base}. Choose another folder for 'out'.")
    if root.resolve().is_relative_to(out.resolve()):
        raise NextGPTError(f"The result would replace the run's own folder {root}. Choose another folder for 'out'.")
    if not is_unfinished(out):
        check_replaceable(out, "Choose another folder for 'out'.")
    return Workshop(root, sizes.changed(config), resume, device, out, gates, base)
