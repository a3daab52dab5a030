"""Every case of a golden folder, found by the files that are there."""

from __future__ import annotations

from collections.abc import Iterator

from . import diffusion, generation, imagebind, preprocessing, projections, prompts, shapes, tokenizer, training
from .comparing import Case, Check, Result
from .folder import GoldenFolder

_PARTS = (shapes, tokenizer, prompts, preprocessing, imagebind, projections, generation, training, diffusion)


def find_cases(golden: GoldenFolder) -> Iterator[Case]:
    """All cases of a folder. One whose description cannot be read is a case that fails; the others still come."""
    for part in _PARTS:
        try:
            yield from part.find(golden)
        except Exception as error:
            yield Case(part.__name__.rpartition(".")[2], _raiser(error))


def run_all(golden: GoldenFolder) -> Iterator[Result]:
    """Result of each case, as they are ready."""
    return (case.run() for case in find_cases(golden))


def _raiser(error: Exception):
    def work(check: Check) -> None:
        raise error

    return work
