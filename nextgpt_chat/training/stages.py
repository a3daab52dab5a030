"""``python -m nextgpt_chat train STAGE``: every stage by name, run one by one or all in order.

A stage reads the parts that earlier ones left under ``runs/mini/parts`` and adds its own; its state while it runs is
under ``runs/mini/state``. Gates are called from above (``check``), because judging is not training's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from ..errors import NextGPTError
from . import joining, pretraining
from .workshop import Workshop, make_workshop

RUNNERS: dict[str, Callable[[Workshop], dict[str, Any]]] = {
    "vae": pretraining.train_vae,
    "imagebind": pretraining.train_imagebind,
    "lm": pretraining.train_lm,
    "image": pretraining.train_image,
    "audio-vae": pretraining.train_audio_vae,
    "vocoder": pretraining.train_vocoder,
    "audio": pretraining.train_audio,
    "video": pretraining.train_video,
    "stage1": joining.train_alignment(1),
    "stage2": joining.train_alignment(2),
    "stage3": joining.train_alignment(3),
}
STAGES = tuple(RUNNERS)
Check = Callable[[str, Workshop], dict[str, Any]]
"""(stage, workshop) → rows of its gate; raises NextGPTError when the stage's result must not be built upon."""


def run(
    stage: str,
    config: dict[str, Any] | None = None,
    resume: bool = False,
    check: Check | None = None,
) -> dict[str, Any]:
    """Run one stage, or "all" of them in order; returns numbers by stage.

    Args:
        config: ``{"preset": "mini" | "tiny", "root": folder, "device": …, "<stage>": {"steps": …}, …}``.
        resume: go on from the state on disk; with "all", stages that are finished are skipped.
        check: called with the stage's name after it; see ``Check``.

    Raises:
        NextGPTError: for an unknown stage or configuration, or a part that an earlier stage should have left.
        loop.Interrupted: on SIGTERM, with the state saved.
    """
    if stage not in (*STAGES, "all"):
        raise NextGPTError(f"Unknown training stage {stage!r}. Choose one of {', '.join((*STAGES, 'all'))}.")
    workshop = make_workshop(dict(config or {}), resume)
    numbers: dict[str, Any] = {}
    for name in STAGES if stage == "all" else (stage,):
        done = workshop.state(name) / "result.json"
        if stage == "all" and resume and done.exists():
            continue
        torch.manual_seed(workshop.recipe(name).seed)
        began = time.monotonic()
        numbers[name] = RUNNERS[name](workshop)
        if check:
            numbers[name]["gate"] = check(name, workshop)
        numbers[name].setdefault("minutes", (time.monotonic() - began) / 60)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(numbers[name], indent=2) + "\n")
    return numbers
