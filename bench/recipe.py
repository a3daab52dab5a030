"""How long `make mini` would take here: every run of the recipe for some steps, at full size, on the shipped parts.

python bench/recipe.py [--steps 12] [--preset mini] [--stages vae,lm] [--device auto]

A step's seconds are the median of the steps but the first two. "Beside" is what a part does before, between and after
its steps (renderings and states that are kept are made for a few and counted up), without its gate.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _common import spread, table

from nextgpt_chat.checkpoints import find_checkpoint
from nextgpt_chat.training import stages
from nextgpt_chat.training.loop import Recipe
from nextgpt_chat.training.recipes import FURTHER_RUNS, Sizes, preset
from nextgpt_chat.training.workshop import SHIPPED_PARTS, Workshop

FEW = 384
"""Of the renderings and states that are kept for training."""
KEPT = {
    "image": "cached_pictures",
    "video": "cached_clips",
    "audio": "cached_sounds",
    "stage2": "kept_states",
    "stage3": "kept_states",
}
"""Stage → the size that says how many it keeps: nearly all that it does beside its steps."""
WARM_UP = 2
_begun: dict[str, list[float]] = {}


@dataclasses.dataclass(frozen=True)
class Watched(Recipe):
    """A recipe of fewer steps that notes when each begins: its rate is asked for then."""

    name: str = ""

    def rate(self, step: int) -> float:
        times = _begun.setdefault(self.name, [])
        if len(times) == step:  # it is asked for once more where numbers are logged
            times.append(time.perf_counter())
        return super().rate(step)


def short(sizes: Sizes, steps: int) -> Sizes:
    """The same sizes with ``steps`` steps a run, and little that is kept."""
    recipes = {
        name: Watched(**dataclasses.asdict(recipe) | {"steps": steps, "name": name})
        for name, recipe in sizes.recipes.items()
    }
    few = {name: min(FEW, getattr(sizes, name)) for name in KEPT.values()}
    return dataclasses.replace(sizes, recipes=recipes, **few)


def unfinished(folder: Path) -> Path:
    """The shipped checkpoint's frozen parts, as a run that is not done has them."""
    shipped = find_checkpoint("nextgpt-mini")
    for part in SHIPPED_PARTS.values():
        shutil.copytree(shipped / part, folder / part, dirs_exist_ok=True)  # one part may lie within another
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--stages", default=",".join(stages.STAGES))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(argv)
    if options.steps < WARM_UP + 2:
        parser.error(f"--steps is {options.steps}; it must be at least {WARM_UP + 2}")
    chosen = options.stages.split(",")
    if unknown := set(chosen) - set(stages.STAGES):
        parser.error(f"unknown stages {', '.join(sorted(unknown))}; choose from {', '.join(stages.STAGES)}")
    full = preset(options.preset)
    rows, minutes = [], 0.0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        out = unfinished(root / "checkpoint")
        workshop = Workshop(root, short(full, options.steps), True, options.device, out, gates=False)
        for stage in chosen:
            began = time.perf_counter()
            stages.RUNNERS[stage](workshop)
            whole, stepping, training = time.perf_counter() - began, 0.0, 0.0
            for name in (stage, *FURTHER_RUNS.get(stage, ())):
                times = _begun[name]
                steps = [after - before for before, after in itertools.pairwise(times)]
                stepping += sum(steps) + statistics.median(steps)
                seconds = statistics.median(steps[WARM_UP:]) * full.recipe(name).steps
                training += seconds
                number = f"{full.recipe(name).steps} × {full.recipe(name).batch}"
                rows.append([name, number, spread(steps[WARM_UP:]), f"{seconds / 60:.0f}", ""])
            beside = max(0.0, whole - stepping)
            if stage in KEPT:
                beside *= getattr(full, KEPT[stage]) / getattr(workshop.sizes, KEPT[stage])
            rows[-1][-1] = f"{beside / 60:.0f}"
            minutes += (training + beside) / 60
    table(["run", "steps × batch", "seconds a step", "minutes", "beside"], rows)
    print(json.dumps({"hours": round(minutes / 60, 2)}))


if __name__ == "__main__":
    main()
