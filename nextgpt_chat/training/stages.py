"""``python -m nextgpt_chat train STAGE``: every stage by name, run one by one or all in order.

A stage reads the parts that earlier ones left under ``runs/mini/parts`` and adds its own; its state while it runs is
under ``runs/mini/state``. Gates are called from above (``check``), because judging is not training's business.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import torch

from ..checkpoints.manifest import MANIFEST_FILE
from ..content import MEDIA_KINDS
from ..errors import NextGPTError
from . import joining, pretraining, shipping
from .workshop import SHIPPED_PARTS, Workshop, make_workshop

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
ALIGNMENT = ("stage1", "stage2", "stage3")
"""The paper's own: what a base checkpoint is trained by, its parts being there."""
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
        config: ``{"preset": "mini" | "tiny", "root": folder, "out": folder, "device": …, "gates": bool,
            "base": checkpoint, "<stage>": {"steps": …}, …}``; sizes of the preset by their names too. ``base``: the
            three stages start from this checkpoint (``new-checkpoint`` makes one) instead of parts trained here.
        resume: go on from the state on disk; with "all", stages that are finished are skipped. Otherwise the stage
            starts anew, and "all" forgets all states and parts of an earlier run in the same folder.
        check: called with the stage's name after it; see ``Check``.

    Raises:
        NextGPTError: for an unknown stage or configuration, or a part that an earlier stage should have left.
        loop.Interrupted: on SIGTERM, with the state saved.
    """
    if stage not in (*STAGES, "all"):
        raise NextGPTError(f"Unknown training stage {stage!r}. Choose one of {', '.join((*STAGES, 'all'))}.")
    workshop = make_workshop(dict(config or {}), resume)
    stages = STAGES if workshop.base is None else ALIGNMENT
    if stage not in (*stages, "all"):
        raise NextGPTError(
            f"The stage {stage} makes a part from nothing, but {workshop.base} has all of its parts. "
            f"Train it with one of {', '.join((*stages, 'all'))}."
        )
    numbers: dict[str, Any] = {}
    if not resume:
        for name in stages if stage == "all" else (stage,):
            shutil.rmtree(workshop.state(name), ignore_errors=True)
        # Else an interrupted run would take them for its own when it is resumed.
        for part in (*SHIPPED_PARTS, *ALIGNMENT) if stage == "all" else ():
            shutil.rmtree(workshop.part(part), ignore_errors=True)
    for name in stages if stage == "all" else (stage,):
        if stage == "all" and resume and _is_done(workshop, name):
            continue
        workshop.result_file(name).unlink(missing_ok=True)
        torch.manual_seed(workshop.recipe(name).seed)
        began = time.monotonic()
        numbers[name] = RUNNERS[name](workshop)
        if check and workshop.gates:
            numbers[name]["gate"] = check(name, workshop)
        numbers[name].setdefault("minutes", (time.monotonic() - began) / 60)
        workshop.result_file(name).write_text(json.dumps(numbers[name], indent=2) + "\n")
    if stage in ("all", STAGES[-1]):
        _ship(workshop, anew=STAGES[-1] in numbers)
    return numbers


def _ship(w: Workshop, anew: bool) -> None:
    """Ship what stage 3 made, unless that is done; an earlier run may have been stopped before it was."""
    done = w.state(STAGES[-1]) / "shipped"
    if anew:
        done.unlink(missing_ok=True)
    if not done.exists() or not (w.out / MANIFEST_FILE).exists():
        shipping.ship(w)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


def _is_done(w: Workshop, stage: str) -> bool:
    """Whether this run finished the stage, or its part is shipped and this run has not begun it."""
    part = {"lm": "language_model", **{kind: f"{kind}_decoder" for kind in MEDIA_KINDS}}.get(stage, stage)
    begun = (w.state(stage) / "state.pt").exists()
    return w.result(stage) is not None or (not begun and w.find(part) is not None)
