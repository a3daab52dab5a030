"""``train`` and ``evaluate``: doors to the parts that do the work, imported when they are asked for."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..checkpoints import find_checkpoint, locate
from ..errors import NextGPTError
from .output import one_line, only_json, print_json

STAGES = (
    "vae",
    "imagebind",
    "lm",
    "image",
    "audio-vae",
    "vocoder",
    "audio",
    "video",
    "stage1",
    "stage2",
    "stage3",
    "all",
)


def add_to(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train one part of nextgpt-mini, or all of it, or a checkpoint of your own",
        description="Runs one training stage, or all of them in their order. With --checkpoint, the stages 1 to 3 "
        "start from that checkpoint (new-checkpoint makes one) and leave a trained one beside it in runs/.",
        allow_abbrev=False,
    )
    train.add_argument("stage", metavar="STAGE", choices=STAGES, help=", ".join(STAGES))
    train.add_argument(
        "--config", metavar="FILE", help="JSON or TOML file: preset, base, root, out, device, settings by stage"
    )
    train.add_argument("--checkpoint", metavar="DIR", help="the checkpoint to start stage1, stage2, stage3 or all from")
    train.add_argument("--resume", action="store_true", help="go on from the state in runs/")
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a checkpoint",
        description="Measures how often a checkpoint's replies are right: picturebook, by what is asked for; cells, "
        "every set of modalities in and every set of media out.",
        allow_abbrev=False,
    )
    evaluate.add_argument("suite", choices=("picturebook", "cells"), help="what to measure")
    evaluate.add_argument("--checkpoint", default="nextgpt-mini", help="folder, shipped name or hub repository")
    evaluate.add_argument(
        "--limit", type=int, metavar="N", help="cases a row (default 200); of cells: seeds (default 10)"
    )
    evaluate.add_argument("--seed", type=int, default=0, metavar="N", help="of the cases and replies (default 0)")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    evaluate.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the work")
    evaluate.add_argument("--card", action="store_true", help="write the table into the checkpoint's README.md, too")
    evaluate.add_argument("--json", action="store_true", help="print JSON and nothing else")
    evaluate.set_defaults(run=run_evaluate)


def run_train(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    if arguments.checkpoint is not None:
        locate(arguments.checkpoint)  # an unknown one is said before heavy libraries are imported
        config["base"] = arguments.checkpoint
    stages = _part("training.stages")
    numbers = stages.run(arguments.stage, config, arguments.resume, _part("evaluation.stage_gates").check)
    if isinstance(numbers, Mapping):
        for stage, values in numbers.items():
            print(f"{stage}: {json.dumps(values, default=str)}")
    return 0


def read_config(path: str | None) -> dict[str, Any]:
    """Raises NextGPTError for a file that is missing or no JSON or TOML table."""
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
        config = tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    except (OSError, ValueError) as error:
        raise NextGPTError(
            f"{path} cannot be read as a configuration: {one_line(error)}. Give JSON or TOML."
        ) from error
    if not isinstance(config, dict):
        raise NextGPTError(f"{path} holds no table of settings. Give a JSON object or TOML.")
    return config


def run_evaluate(arguments: argparse.Namespace) -> int:
    for name in ("limit", "workers"):
        number = getattr(arguments, name)
        if number is not None and number < 1:
            raise NextGPTError(f"--{name} is {number}; it must be at least 1.")
    locate(arguments.checkpoint)  # an unknown one is said before heavy libraries are imported
    with only_json(arguments.json) as out:
        report = _part("evaluation.report")
        if arguments.suite == "cells":
            found, seeds = _evaluate_cells(arguments)
            written = shown = report.cells_as_markdown(found, seeds)
            plain = report.cells_as_list(found, seeds)
        else:
            plain = _evaluate_picturebook(arguments)
            written, shown = report.rows_as_markdown(plain), table(plain)
        if arguments.json:
            print_json(plain, out)
        else:
            print(shown, file=out)
    if arguments.card:  # after the printing: what took an hour to measure is not lost to a folder that is read-only
        card = find_checkpoint(arguments.checkpoint) / "README.md"
        try:
            text = card.read_text(encoding="utf-8") if card.exists() else ""
            card.write_text(report.with_section(text, f"Measured: {arguments.suite}", written), encoding="utf-8")
        except OSError as error:
            raise NextGPTError(
                f"The table was printed, but {card} could not be written: {one_line(error)}. Copy it there yourself."
            ) from error
    return 0


def _evaluate_picturebook(arguments: argparse.Namespace) -> Mapping[str, Any]:
    options = {} if arguments.limit is None else {"limit": arguments.limit}
    options |= {"seed": arguments.seed, "progress": Progress()}
    if arguments.workers > 1:
        workers = _part("evaluation.workers")
        return workers.evaluate_picturebook(arguments.checkpoint, arguments.device, arguments.workers, **options)
    return _part("evaluation.picturebook").evaluate(_pipeline(arguments), **options)


def _evaluate_cells(arguments: argparse.Namespace) -> tuple[Mapping[Any, Any], int]:
    """What ``cells`` answers, and the number of seeds."""
    seeds = arguments.limit or 10
    options = {"seeds": seeds, "progress": Progress(), "seed": arguments.seed}
    if arguments.workers > 1:
        workers = _part("evaluation.workers")
        return workers.evaluate_cells(arguments.checkpoint, arguments.device, arguments.workers, **options), seeds
    return _part("evaluation.cells").cells(_pipeline(arguments), **options), seeds


def _pipeline(arguments: argparse.Namespace) -> Any:
    from ..pipeline import NextGPTPipeline

    return NextGPTPipeline.from_pretrained(arguments.checkpoint, arguments.device)


class Progress:
    """Called with (what, done, of): one line on a terminal that is written over, else a line for each tenth."""

    def __init__(self) -> None:
        self._said = ("", 0)

    def __call__(self, what: str, done: int, of: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= of else "\r"
            print(f"\033[K{what}: {done} of {of}", end=end, file=sys.stderr, flush=True)
        elif (what, 10 * done // of) != self._said:
            self._said = (what, 10 * done // of)
            print(f"{what}: {done} of {of}", file=sys.stderr, flush=True)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows of an evaluation for reading."""
    width = max((len(name) for name in rows), default=0)
    lines = [f"{'':{width}}  {'n':>5}  {'distinct':>8}  {'rate':>7}  {'low 95':>7}  {'ceiling':>7}"]
    for name, row in rows.items():
        ceiling = row.get("ceiling")
        shown = f"{ceiling:7.1%}" if isinstance(ceiling, (int, float)) else f"{'–':>7}"
        lines.append(
            f"{name:{width}}  {row['n']:5}  {row['distinct']:8}  {row['rate']:7.1%}  {row['low95']:7.1%}  {shown}"
        )
    return "\n".join(lines)


def _part(name: str) -> ModuleType:
    """A module of the package. Raises NextGPTError that names it where this copy of the program lacks it."""
    full = f"{__package__.rpartition('.')[0]}.{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name is None or not full.startswith(error.name):
            raise
        raise NextGPTError(f"This copy of the program has no {full}. Get the whole repository.") from error
