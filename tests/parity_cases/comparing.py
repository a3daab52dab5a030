"""One case: what is run, how its numbers are judged, and what there is to say about it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

METRICS = ("max_abs", "mean_abs", "exact")


class CaseError(Exception):
    """The folder's own description of a case cannot be used; the message says which file and why."""


class Skip(Exception):
    """The case cannot be run here; the message says why."""


@dataclass(frozen=True)
class Result:
    """``absolute``: largest absolute error of anything compared. ``relative``: the same over the largest expected
    magnitude of its tensor. ``status``: PASS, FAIL or SKIP."""

    name: str
    status: str
    absolute: float
    relative: float
    reason: str

    def __str__(self) -> str:
        errors = f"abs {self.absolute:8.2e}  rel {self.relative:8.2e}"
        return f"{self.status}  {self.name:<42} {errors}  {self.reason}".rstrip()


class Rules:
    """The ``compare`` list of a case's JSON: the first entry with a pattern that fits a tensor's name decides."""

    def __init__(self, facts: dict[str, Any], file: str) -> None:
        rules = facts.get("compare")
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise CaseError(f"{file} has no 'compare' list")
        for rule in rules:
            if not isinstance(rule.get("tensors"), str) or rule.get("metric") not in METRICS:
                raise CaseError(f"{file}: an entry of 'compare' has no tensors or an unknown metric: {rule}")
        self.rules = rules

    def of(self, name: str) -> dict[str, Any] | None:
        """The entry for a tensor, or None: then it is not compared."""
        for rule in self.rules:
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in rule["tensors"].split("|")):
                return rule
        return None

    def is_quirk(self, name: str) -> bool:
        """Whether what the original does here must not be copied."""
        rule = self.of(name)
        return rule is not None and bool(rule.get("quirk"))


EXACT = {"metric": "exact"}


@dataclass
class Check:
    """Collects the comparisons of one case."""

    rules: Rules | None = None
    absolute: float = 0.0
    relative: float = 0.0
    compared: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(self, name: str, actual: Any, expected: Any, label: str = "") -> None:
        """Compare under the rule for ``name``; nothing happens if the folder has none, or marks it as a quirk."""
        rule = self.rules.of(name) if self.rules else EXACT
        if rule is None or rule.get("quirk"):
            return
        self.compared += 1
        label = label or name
        if rule["metric"] == "exact":
            self._exact(label, actual, expected)
            return
        ours, theirs = _tensor(actual), _tensor(expected)
        if not _same_but_for_ones(ours.shape, theirs.shape):
            self.problems.append(f"{label} has shape {tuple(ours.shape)} instead of {tuple(theirs.shape)}")
            return
        error = self._count(ours.reshape(theirs.shape), theirs)
        atol, rtol = float(rule.get("atol", 0)), float(rule.get("rtol", 0))
        if rule["metric"] == "mean_abs":
            mean, allowed = float(error.mean()), atol + rtol * float(theirs.abs().mean())
            self.notes.append(f"mean abs {mean:.1e}")
            fits = mean <= allowed
        else:
            fits = bool((error <= atol + rtol * theirs.abs()).all())
        if not fits:
            largest = float(error.max())
            self.problems.append(f"{label} is off by {largest:.3g} ({rule['metric']}, atol {atol:g}, rtol {rtol:g})")

    def require(self, holds: bool, complaint: str) -> None:
        """Something that must be true besides the numbers."""
        if not holds:
            self.problems.append(complaint)

    def _exact(self, label: str, actual: Any, expected: Any) -> None:
        ours, theirs = _tensor(actual), _tensor(expected)
        if ours.shape != theirs.shape:
            self.problems.append(f"{label} has shape {tuple(ours.shape)} instead of {tuple(theirs.shape)}")
            if ours.ndim != 1 or theirs.ndim != 1:
                return
            length = min(len(ours), len(theirs))
            ours, theirs = ours[:length], theirs[:length]
        self._count(ours, theirs)
        if not torch.equal(ours, theirs):
            at = (ours != theirs).nonzero()[0].tolist()
            here = tuple(at)
            self.problems.append(f"{label} differs at {at}: {ours[here]:g} instead of {theirs[here]:g}")

    def _count(self, ours: Tensor, theirs: Tensor) -> Tensor:
        error = (ours - theirs).abs()
        if error.numel():
            largest, scale = float(error.max()), float(theirs.abs().max())
            self.absolute = max(self.absolute, largest)
            self.relative = max(self.relative, largest / scale if scale else float(largest > 0))
        return error


def _tensor(values: Any) -> Tensor:
    values = values.detach() if isinstance(values, Tensor) else torch.as_tensor(values)
    return values.to("cpu", torch.float64)


def _same_but_for_ones(first: Sequence[int], second: Sequence[int]) -> bool:
    return [n for n in first if n != 1] == [n for n in second if n != 1]


@dataclass(frozen=True)
class Case:
    """A named piece of work that puts its comparisons into a ``Check``; may raise ``Skip``."""

    name: str
    work: Callable[[Check], None]
    rules: Rules | None = None

    def run(self) -> Result:
        """The verdict; whatever goes wrong inside is a failure of this case only."""
        check = Check(self.rules)
        try:
            self.work(check)
        except Skip as reason:
            if not check.problems:
                return Result(self.name, "SKIP", check.absolute, check.relative, str(reason))
        except KeyError as error:
            check.problems.append(f"the entry {error} is missing")
        except CaseError as error:
            check.problems.append(str(error))
        except Exception as error:  # a damaged folder may break anything in any way
            check.problems.append(f"{type(error).__name__}: {_one_line(str(error))}")
        if not check.compared and not check.problems:
            check.problems.append("nothing was compared")
        status = "FAIL" if check.problems else "PASS"
        more = f" (and {len(check.problems) - 1} more)" if len(check.problems) > 1 else ""
        reason = check.problems[0] + more if check.problems else "; ".join(dict.fromkeys(check.notes))
        return Result(self.name, status, check.absolute, check.relative, reason)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"
