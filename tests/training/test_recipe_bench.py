"""bench/recipe.py: times every run of the stages that it is asked for, at a tiny size."""

import importlib
import json
from pathlib import Path

import pytest

from tests.shipped import needs_nextgpt_mini

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("recipe")


@needs_nextgpt_mini
def test_every_run_of_a_stage_is_a_row_and_the_hours_are_their_sum(bench, capsys):
    bench.main(["--preset", "tiny", "--steps", "5", "--stages", "vocoder,audio"])
    *rows, total = capsys.readouterr().out.splitlines()
    runs = [row.split(" | ")[0].strip("| ") for row in rows[2:]]
    assert runs == ["vocoder", "vocoder-again", "audio", "audio-text", "audio-again"]
    assert {name: len(begun) for name, begun in bench._begun.items()} == dict.fromkeys(runs, 5)
    assert json.loads(total)["hours"] >= 0


def test_too_few_steps_for_a_median_are_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--steps", "3"])
    assert "--steps is 3; it must be at least 4" in capsys.readouterr().err
