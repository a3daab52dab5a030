"""The process that decodes: ``python -m nextgpt_chat.media.worker``, one file, then it ends.

A request comes as JSON on standard input; ``result.json`` next to the output says what became of it. What goes
wrong in here (a crash, endless work, too much memory) does not reach the chat.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from ..errors import LimitError, MediaError
from .decoding import Request, decode
from .limits import Limits

_MEMORY = 6 << 30


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def main() -> None:
    request = json.load(sys.stdin)
    request["limits"] = Limits(**request["limits"])
    request = Request(**request)
    _limit_memory()
    try:
        result = decode(request)
    except LimitError as error:
        result = {"error": "limit", "message": str(error)}
    except MediaError as error:
        result = {"error": "media", "message": str(error)}
    Path(request.output).with_name("result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
