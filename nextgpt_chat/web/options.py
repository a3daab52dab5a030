"""Options of the web app: each is a flag and an environment variable. Knows no gradio."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

MEMORY_PLANS = (
    *("auto", "fp32", "fp32-offload", "bf16", "bf16-offload", "int8", "int8-offload", "int4", "int4-offload"),
    "bf16-lm-cpu",
)
_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True)
class PageOptions:
    """What ``python app.py`` may be told. ``data_dir`` None means the user's own data folder."""

    checkpoint: str = "checkpoints/nextgpt-mini"
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    mcp: bool = False
    """Whether other assistants may ask, too (Model Context Protocol)."""
    device: str = "auto"
    memory_plan: str = "auto"
    data_dir: str | None = None
    media_quota_gb: int = 10
    """What the pictures, sounds and clips of all talks may take together."""
    keep_media_days: int = 0
    """After how long without use the media of a talk are removed; 0: never."""
    allow_sharing: bool = False
    """Whether users may make a link to a talk, for anyone who has it to read."""
    max_file_size: int = 20
    """Megabytes of one uploaded file."""
    queue_size: int = 16
    """Replies that may be under way or waiting at once."""
    turn_seconds: int = 900
    """A reply is stopped after so long."""


_HELP = {
    "checkpoint": "a checkpoint folder, a shipped name or a hub repository",
    "host": "address to listen on; 0.0.0.0 for every network",
    "port": "port to listen on",
    "share": "also make a public link through Gradio's servers",
    "mcp": "also be an MCP server, for other assistants (needs requirements-mcp.txt)",
    "device": "auto, cpu, cuda, cuda:1, mps",
    "memory_plan": f"layout in memory: {', '.join(MEMORY_PLANS)}",
    "data_dir": "folder where talks are kept (default: nextgpt-chat in the user's data folder)",
    "media_quota_gb": "gigabytes that the stored pictures, sounds and clips of all talks may take together",
    "keep_media_days": "days after which the media of a talk that nobody used are removed; 0 keeps them",
    "allow_sharing": "let users make read-only links to their talks",
    "max_file_size": "largest upload in megabytes",
    "queue_size": "replies that may be under way or waiting at once",
    "turn_seconds": "a reply is stopped after so many seconds",
}
_RANGES = {
    "port": (0, 65535),
    "media_quota_gb": (1, 1_000_000),
    "keep_media_days": (0, 36_500),
    "max_file_size": (1, 2000),
    "queue_size": (1, 1000),
    "turn_seconds": (1, 86_400),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def parse_options(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> PageOptions:
    """Flags, then ``NEXTGPT_…`` variables, then defaults. Unusable values end the program with status 2
    and one line that says why."""
    environment = os.environ if environment is None else environment
    parser = _Parser(
        prog="app.py",
        description="The NExT-GPT chat page: text, pictures, sounds and clips in and out.",
        epilog="Every flag may also be set in the environment: NEXTGPT_CHECKPOINT, NEXTGPT_HOST, …",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for field in fields(PageOptions):
        name = field.name
        flag = "--" + name.replace("_", "-")
        default = _from_environment(parser, name, field.default, environment)
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=_HELP[name])
        else:
            kind = int if isinstance(field.default, int) else str
            parser.add_argument(flag, type=kind, default=default, help=_HELP[name])
    values = vars(parser.parse_args(argv))
    for name, (low, high) in _RANGES.items():
        if not low <= values[name] <= high:
            parser.error(f"--{name.replace('_', '-')} is {values[name]}; choose a number from {low} to {high}")
    # Known only when the model is loaded, a wrong one would leave a page that never answers.
    if values["memory_plan"] not in MEMORY_PLANS:
        parser.error(f"--memory-plan is {values['memory_plan']!r}; choose {', '.join(MEMORY_PLANS)}")
    if not _DEVICE.fullmatch(values["device"]):
        parser.error(f"--device is {values['device']!r}; choose {_HELP['device']}")
    return PageOptions(**values)


def _from_environment(parser: argparse.ArgumentParser, name: str, default: Any, environment: Mapping[str, str]) -> Any:
    variable = f"NEXTGPT_{name.upper()}"
    text = environment.get(variable)
    if not text:  # compose files set what is not set to nothing
        return default
    if isinstance(default, bool):
        if text.lower() not in (*_TRUE, *_FALSE):
            parser.error(f"{variable} is {text!r}; it must be true or false")
        return text.lower() in _TRUE
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            parser.error(f"{variable} is {text!r}; it must be a whole number")
    return text
