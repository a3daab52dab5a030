"""What the measurements share: arguments, a loaded pipeline, tables of medians."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nextgpt_chat import NextGPTPipeline


def arguments(what: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--checkpoint", default="nextgpt-mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def load(options: argparse.Namespace) -> NextGPTPipeline:
    return NextGPTPipeline.from_pretrained(options.checkpoint, device=options.device)


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(seconds: Sequence[float]) -> str:
    """Median with the smallest and largest, in seconds."""
    return f"{statistics.median(seconds):7.2f} ({min(seconds):.2f}–{max(seconds):.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
