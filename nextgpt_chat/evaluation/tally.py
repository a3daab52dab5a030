"""Counting right answers: rows of ``{"n", "distinct", "correct", "rate", "low95", "ceiling"}``."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

Row = dict[str, float | int | None]


def wilson_low(correct: int, n: int, z: float = 1.959964) -> float:
    """Lower end of Wilson's score interval (1927) for ``correct`` of ``n``; ``z`` = 1.96 is the two-sided 95 % one."""
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be between 0 and n, not {correct} of {n}")
    if n == 0:
        return 0.0
    rate, spread = correct / n, z * z / n
    margin = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n))
    return max(0.0, (rate + spread / 2 - margin) / (1 + spread))


@dataclass
class Tally:
    """Right and wrong answers by row, in the order in which rows first appear."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    asked: dict[str, set[Hashable]] = field(default_factory=dict)

    def add(self, row: str, right: bool, value: Hashable) -> None:
        """One answer; ``value`` is what was asked for, to count the distinct ones."""
        count = self.counts.setdefault(row, [0, 0])
        count[0] += bool(right)
        count[1] += 1
        self.asked.setdefault(row, set()).add(value)

    def add_attributes(self, prefix: str, wanted: Mapping[str, str], got: Mapping[str, str], value: Hashable) -> None:
        """One answer per attribute of ``wanted``, in rows ``prefix/attribute``; one that is missing is wrong."""
        for name, word in wanted.items():
            self.add(f"{prefix}/{name}", got.get(name) == word, value)

    def join(self, other: Tally) -> None:
        """Add what another tally counted."""
        for row, (correct, n) in other.counts.items():
            count = self.counts.setdefault(row, [0, 0])
            count[0] += correct
            count[1] += n
            self.asked.setdefault(row, set()).update(other.asked[row])

    def rows(self, ceilings: Mapping[str, Row] | None = None) -> dict[str, Row]:
        """The table; ``ceiling`` is the rate of the row of the same name in ``ceilings``, else None."""
        result: dict[str, Row] = {}
        for row, (correct, n) in self.counts.items():
            ceiling = (ceilings or {}).get(row, {}).get("rate")
            result[row] = {
                "n": n,
                "distinct": len(self.asked[row]),
                "correct": correct,
                "rate": round(correct / n, 4),
                "low95": round(wilson_low(correct, n), 4),
                "ceiling": ceiling,
            }
        return result
