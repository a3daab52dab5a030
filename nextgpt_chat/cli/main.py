"""Flags to commands, errors to exit statuses. Heavy libraries are imported by the commands, when they run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence

from ..errors import NextGPTError
from . import chat, doctor, importing, new_checkpoint, work
from .output import one_line

USAGE, FAULT = 2, 1
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
INTERRUPTED = 130  # as shells do: 128 + SIGINT


class Unusable(NextGPTError):
    """Arguments that no command can work with."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise Unusable(f"{message} (see `{self.prog} --help`)")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m nextgpt_chat",
        description="Text, pictures, sounds and clips in and out: talk, train, evaluate, check.",
        epilog="Exit status: 0 success, 2 unusable input, 1 a fault of the program.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="chat | train | evaluate | doctor | import-checkpoint | download | new-checkpoint",
    )
    for module in (chat, work, doctor, importing, new_checkpoint):
        module.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for unusable input (one line on standard error says why), 1 for
    a fault of ours (with its traceback)."""
    try:
        _start_logging(os.environ.get("NEXTGPT_LOG", "warning"))
        arguments = make_parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.run
        with _ended_as_by_ctrl_c():
            return command(arguments)
    except NextGPTError as error:
        print(f"nextgpt_chat: {one_line(error)}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("nextgpt_chat: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away; nothing more to say
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the interpreter flushes standard output at its end)
        return FAULT
    except SystemExit as end:  # argparse's --help
        return int(end.code or 0)
    except Exception as error:
        traceback.print_exc()
        print(f"nextgpt_chat: fault of the program: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return FAULT


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """A closed terminal and SIGTERM interrupt the command, so that nothing half-made stays behind."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ending = [one for one in (getattr(signal, name) for name in names) if signal.getsignal(one) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ending = []  # only that one may say what signals do
    for one in ending:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one in ending:
            signal.signal(one, signal.SIG_DFL)


def _start_logging(level: str) -> None:
    if level.upper() not in LOG_LEVELS:
        raise Unusable(f"NEXTGPT_LOG is {level!r}; it must be one of {', '.join(LOG_LEVELS).lower()}.")
    logging.basicConfig(level=level.upper(), stream=sys.stderr)
