"""Answers to the example cards, made beforehand by a checkpoint and kept in its folder, so that they come at once.

python -m nextgpt_chat.web.answers checkpoints/nextgpt-mini     makes them anew
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checkpoints import locate
from ..content import Turn
from ..conversation import Conversation
from ..errors import NextGPTError
from .examples import Example, make_examples

logger = logging.getLogger(__name__)

FOLDER = "answers"
SEED = 1


class Answers:
    """The answers in a checkpoint's folder; none where there is no such folder."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.folder = checkpoint / FOLDER if checkpoint is not None else None

    def to(self, example: Example) -> Turn | None:
        """The reply to an example, or None where it was not answered beforehand, or in other words or files."""
        file = self.folder / file_name(example) if self.folder is not None else None
        if file is None or not file.is_file():
            return None
        try:
            asked, reply = Conversation.load(file).turns
        except (NextGPTError, ValueError) as error:
            logger.warning("An answer made beforehand cannot be used: %s", error)
            return None
        same = asked.text == example.text and [part.name for part in asked.media] == [f.name for f in example.files]
        return reply if same else None


def file_name(example: Example) -> str:
    return example.direction.replace(" ", "-") + ".zip"


def make_answers(pipeline: Any, examples: Sequence[Example], folder: Path) -> dict[str, Turn]:
    """Answers every example with the pipeline's own settings and writes them to ``folder``; returns them by direction.

    The first seed is taken, not the best.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for example in examples:
        talk = Conversation()
        talk.add_user(example.text, list(example.files))
        for _ in pipeline.stream(talk, seed=SEED):
            pass
        talk.save(folder / file_name(example))
        made[example.direction] = talk.turns[-1]
    return made


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    try:
        checkpoint = locate(parser.parse_args(argv).checkpoint)
        if checkpoint is None:
            raise NextGPTError("Answers are kept in the checkpoint's folder. Download it first.")
        from ..pipeline import NextGPTPipeline

        with tempfile.TemporaryDirectory() as drawn:
            made = make_answers(
                NextGPTPipeline.from_pretrained(checkpoint), make_examples(Path(drawn)), checkpoint / FOLDER
            )
    except NextGPTError as error:
        print(f"answers: {error}", file=sys.stderr)
        return 2
    for direction, turn in made.items():
        print(f"{direction}: {turn.text} {[part.kind for part in turn.media]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
