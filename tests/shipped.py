"""The checkpoint that the repository ships, for tests of what it can do."""

from pathlib import Path

import pytest

NEXTGPT_MINI = Path(__file__).resolve().parents[1] / "checkpoints" / "nextgpt-mini"

needs_nextgpt_mini = pytest.mark.skipif(
    not (NEXTGPT_MINI / "nextgpt.json").exists(), reason="checkpoints/nextgpt-mini is not there yet"
)
