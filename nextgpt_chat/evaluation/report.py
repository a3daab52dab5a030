"""Evaluations as Markdown, for model cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cells import Cell
from .tally import Row

ENOUGH = 0.8
"""Share of the seeds in which a cell must succeed."""
_SHORT = {"text": "words", "image": "picture", "audio": "sound", "video": "clip"}


def _percent(rate: float | int | None) -> str:
    return "" if rate is None else f"{100 * rate:.1f} %"


def rows_as_markdown(rows: Mapping[str, Row]) -> str:
    """A table of what ``evaluate`` answers."""
    lines = ["| row | cases | distinct | right | low 95 % | ceiling |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, row in rows.items():
        rates = " | ".join(_percent(row[key]) for key in ("rate", "low95", "ceiling"))
        lines.append(f"| {name} | {row['n']} | {row['distinct']} | {rates} |")
    return "\n".join(lines) + "\n"


def cells_as_markdown(table: Mapping[Cell, tuple[int, str]], seeds: int) -> str:
    """A table of what ``cells`` answers: successes of ``seeds``, those of at least `ENOUGH` in bold."""
    inputs = list(dict.fromkeys(given for given, _ in table))
    outputs = list(dict.fromkeys(asked for _, asked in table))

    def named(kinds: tuple[str, ...]) -> str:
        return " + ".join(_SHORT[kind] for kind in kinds) or "words only"

    lines = [
        f"| in \\ out | {' | '.join(named(asked) for asked in outputs)} |",
        f"| --- |{' ---: |' * len(outputs)}",
    ]
    for given in inputs:
        shown = []
        for asked in outputs:
            right, error = table[given, asked]
            count = f"{right}/{seeds}"
            shown.append("error" if error else f"**{count}**" if right >= ENOUGH * seeds else count)
        lines.append(f"| {named(given)} | {' | '.join(shown)} |")
    good = sum(right >= ENOUGH * seeds and not error for right, error in table.values())
    return "\n".join(lines) + f"\n\n{good} of {len(table)} cells succeed in at least {ENOUGH:.0%} of {seeds} seeds.\n"


def cells_as_list(table: Mapping[Cell, tuple[int, str]], seeds: int) -> list[dict[str, Any]]:
    """What ``cells`` answers, JSON-able."""
    return [
        {"in": given, "out": asked, "right": right, "of": seeds, "error": error or None}
        for (given, asked), (right, error) in table.items()
    ]


def with_section(card: str, title: str, text: str) -> str:
    """A Markdown text in which the section "## title" is ``text``: put in the place of the old one, else at the end.

    >>> with_section("# Card\\n\\n## Speed\\n\\nold\\n\\n## Limits\\n", "Speed", "new")
    '# Card\\n\\n## Speed\\n\\nnew\\n\\n## Limits\\n'
    """
    before, found, rest = f"\n{card.rstrip()}\n".partition(f"\n## {title}\n")
    after = rest.partition("\n## ")[2] if found else ""
    pieces = [before.strip(), f"## {title}\n\n{text.strip()}", f"## {after.rstrip()}" if after else ""]
    return "\n\n".join(piece for piece in pieces if piece) + "\n"
