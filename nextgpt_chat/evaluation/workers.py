"""The evaluations in several processes, each with the checkpoint of its own and its share of the CPU's cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import torch

from ..errors import NextGPTError
from ..pipeline import NextGPTPipeline
from . import cells, picturebook
from .cells import Cell
from .tally import Row

Progress = Callable[[str, int, int], None]

_LONGEST = ("change", "clip", "ceiling of clips", "cross")
"""Parts to begin with, so that no process has them to do while the others are done."""

_pipeline: Any = None
"""This process's own, in a worker."""


def _open(checkpoint: str, device: str, threads: int) -> None:
    global _pipeline
    torch.set_num_threads(threads)
    _pipeline = NextGPTPipeline.from_pretrained(checkpoint, device)


def _run(job: Callable[[Any], Any]) -> Any:
    return job(_pipeline)


def in_workers(
    checkpoint: str, device: str, workers: int, jobs: Iterable[Callable[[Any], Any]], done: Callable[[int], None]
) -> list[Any]:
    """What every job answers, called with a pipeline, in the order of the jobs. ``done`` is called with the number of
    those that are finished. Raises what a job raises, and NextGPTError when a process ends before its work does."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _open, (checkpoint, device, threads)) as pool:
        futures = [pool.submit(_run, job) for job in jobs]
        try:
            for number, future in enumerate(as_completed(futures)):
                future.result()
                done(number + 1)
        except BrokenProcessPool as error:
            raise NextGPTError(
                f"One of the {workers} processes of the evaluation was ended from outside; mostly that is a lack of "
                "memory, for each holds the whole checkpoint. Try fewer --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def evaluate_picturebook(
    checkpoint: str, device: str, workers: int, limit: int = 200, seed: int = 0, progress: Progress | None = None
) -> dict[str, Row]:
    """``picturebook.evaluate`` of a checkpoint: the same cases and seeds, its parts side by side."""
    parts = sorted(picturebook.PARTS, key=lambda part: part not in _LONGEST)
    jobs = [partial(picturebook.measure, part=part, limit=limit, seed=seed) for part in parts]
    measured = in_workers(checkpoint, device, workers, jobs, _reporter(progress, "parts", len(jobs)))
    by_part = dict(zip(parts, measured, strict=True))
    return picturebook.rows_of(by_part[part] for part in picturebook.PARTS)


def evaluate_cells(
    checkpoint: str, device: str, workers: int, seeds: int = 10, progress: Progress | None = None, seed: int = 0
) -> dict[Cell, tuple[int, str]]:
    """``cells.cells`` of a checkpoint, the cells side by side."""
    jobs = [partial(cells.measure_cell, one=one, seeds=seeds, seed=seed) for one in cells.CELLS]
    measured = in_workers(checkpoint, device, workers, jobs, _reporter(progress, "cells", len(jobs)))
    return dict(zip(cells.CELLS, measured, strict=True))


def _reporter(progress: Progress | None, what: str, of: int) -> Callable[[int], None]:
    return lambda number: progress(what, number, of) if progress else None
