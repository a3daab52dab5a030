"""Start here: ``python app.py`` opens the NExT-GPT chat in the browser."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

# First, because with gradio comes ZeroGPU's package spaces, which wants to be imported before torch.
from nextgpt_chat.web.on_spaces import prepare, space_environment  # isort: split

from nextgpt_chat.checkpoints import locate
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.web import launch, parse_options


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after an interrupt, 2 for what cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = parse_options(argv, space_environment())

    def load() -> Any:
        # Imported here, in the thread that loads: the page is up before the heavy libraries are.
        from nextgpt_chat import NextGPTPipeline

        return NextGPTPipeline.from_pretrained(
            options.checkpoint, device=options.device, memory_plan=options.memory_plan
        )

    try:
        locate(options.checkpoint)  # a wrong name is said now, in the terminal, and not later on the page
        launch(prepare(load), options)
    except KeyboardInterrupt:
        return 0
    except (NextGPTError, OSError) as error:  # OSError: the port is taken, the folder cannot be written
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
