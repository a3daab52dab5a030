"""``chat``: one turn from flags, or a talk in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..checkpoints import locate
from ..config import GenerationSettings, setting_names
from ..content import (
    MODALITIES,
    Event,
    Failed,
    Finished,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Reply,
    TextDelta,
)
from ..errors import NextGPTError
from ..media import read_media
from .output import MediaFolder, one_line, only_json, print_json, say

_HELP = """/file PATH        attach a file to the next message (again for more; without a path: detach them)
/modalities A,B   what the replies must hold (text,image,audio,video); without a list the model decides
/set NAME=VALUE   change a setting, for example image.steps=8
/seed N           the seed of the next replies; without a number a new one each time
/undo  /clear     take back the last message and its reply; empty the talk
/save FILE.zip    keep the talk
/quit             end (so does Ctrl-D); Ctrl-C stops a reply"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "chat",
        help="one turn, or a talk in the terminal",
        description="Answers --text and --file; without either, a talk in the terminal.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", default="nextgpt-mini", help="folder, shipped name or hub repository")
    parser.add_argument("--text", help="what to say")
    parser.add_argument("--file", action="append", default=[], metavar="F", help="attach a file; may be repeated")
    parser.add_argument("--modalities", help="what the reply must hold, for example text,image (default: free)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same reply")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"))
    parser.add_argument(
        "--memory-plan", default="auto", metavar="PLAN", help="layout in a GPU's memory; `doctor` lists what fits"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, for example image.steps=8"
    )
    parser.add_argument("--out", metavar="DIR", help="where media go (default: a new folder below replies/)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = parse_settings(arguments.set, arguments.seed)
    modalities = parse_modalities(arguments.modalities)
    folder = MediaFolder(arguments.out)
    folder.check()
    one_turn = arguments.text is not None or arguments.file or arguments.json
    with only_json(arguments.json) as out:
        from ..conversation import Conversation

        conversation = Conversation()
        if one_turn:  # files are read first: a bad one is said before a large model is loaded
            conversation.add_user(arguments.text or "", arguments.file)
        locate(arguments.checkpoint)  # so is an unknown checkpoint
        from ..pipeline import NextGPTPipeline

        pipeline = NextGPTPipeline.from_pretrained(
            arguments.checkpoint, arguments.device, arguments.dtype, memory_plan=arguments.memory_plan
        )
        if not one_turn:
            return _talk(pipeline, conversation, settings, modalities, folder)
        printer = Printer(folder, None if arguments.json else out)
        reply = _answer(pipeline, conversation, settings, modalities, printer)
        if arguments.json:
            print_json(reply_facts(reply, printer.paths), out)
    return 1 if printer.failed else 130 if reply.cancelled else 0


def reply_facts(reply: Reply, paths: dict[str, list[str]]) -> dict[str, Any]:
    """The JSON form of a reply."""
    timings = {stage: round(seconds, 4) for stage, seconds in reply.timings.items()}
    files = {"images": paths["image"], "audios": paths["audio"], "videos": paths["video"]}
    return {"text": reply.text, **files, "seed": reply.seed, "timings": timings}


def parse_settings(pairs: list[str], seed: int | None = None) -> GenerationSettings:
    """Settings of ``NAME=VALUE`` pairs. Raises NextGPTError for what is no setting."""
    settings = GenerationSettings()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise NextGPTError(f"--set {pair!r} is not NAME=VALUE; names are {', '.join(setting_names())}.")
        settings = _with_value(settings, name.strip(), value.strip())
    return settings if seed is None else _with_value(settings, "seed", seed)


def _with_value(settings: GenerationSettings, name: str, value: Any) -> GenerationSettings:
    try:
        return settings.with_value(name, value)
    except ValueError as error:
        raise NextGPTError(f"{error}.") from error


def parse_modalities(text: str | None) -> tuple[str, ...] | None:
    """Raises NextGPTError for a name that is no modality."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if unknown := [name for name in names if name not in MODALITIES]:
        raise NextGPTError(f"{unknown[0]!r} is no modality; choose from {', '.join(MODALITIES)}.")
    if text is not None and not names:
        raise NextGPTError(f"--modalities is empty; choose from {', '.join(MODALITIES)}, or leave it out.")
    return names or None


class Printer:
    """Events to a terminal (``out``; None = only remember), media to files."""

    def __init__(self, folder: MediaFolder, out: TextIO | None) -> None:
        self.folder, self.out = folder, out
        self.paths: dict[str, list[str]] = {"image": [], "audio": [], "video": []}
        self.failed = False
        self._column = 0
        self._bar = out is not None and sys.stderr.isatty()

    def show(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._write(event.text if self._column else event.text.lstrip())
        elif isinstance(event, MediaStarted):
            self._end_line()
        elif isinstance(event, MediaProgress) and self._bar:
            end = "\r" if event.step < event.steps else "\r\033[K"
            print(f"  step {event.step} of {event.steps}", end=end, file=sys.stderr, flush=True)
        elif isinstance(event, MediaReady):
            path = self.folder.write(event.media)
            self.paths[event.part.kind].append(path)
            self._write(f"[{event.part.kind}: {path}]")
            self._end_line()
        elif isinstance(event, (Notice, Failed)):
            self._end_line()
            self.failed = self.failed or isinstance(event, Failed)
            say(event.message)
        elif isinstance(event, Finished):
            self._end_line()

    def _write(self, text: str) -> None:
        if self.out is not None and text:
            print(text, end="", file=self.out, flush=True)
            self._column += len(text)

    def _end_line(self) -> None:
        if self._column:
            print(file=self.out, flush=True)
            self._column = 0


@contextlib.contextmanager
def _ctrl_c_sets(cancel: threading.Event) -> Iterator[None]:
    """The first Ctrl-C asks the reply to stop; a second one is the usual interrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _answer(pipeline: Any, conversation: Any, settings: GenerationSettings, modalities: Any, printer: Printer) -> Reply:
    cancel = threading.Event()
    reply = None
    with _ctrl_c_sets(cancel):
        for event in pipeline.stream(conversation, settings, modalities=modalities, cancel=cancel, previews=False):
            printer.show(event)
            if isinstance(event, Finished):
                reply = event.reply
    assert reply is not None
    return reply


def _talk(pipeline: Any, conversation: Any, settings: GenerationSettings, modalities: Any, folder: MediaFolder) -> int:
    print(f"{pipeline.summary}\nType a message, or /help.")
    _edit_lines()
    files: list[MediaPart] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print("\n(/quit ends)")
            continue
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        try:
            if command in ("/quit", "/exit"):
                return 0
            if command == "/help":
                print(_HELP)
            elif command == "/file":
                files = files if rest else []
                for path in _paths(rest):  # read now: what is wrong with one leaves the others attached
                    files.append(MediaPart(read_media(path, limits=conversation.limits), name=path.name))
            elif command == "/modalities":
                modalities = parse_modalities(rest or None)
            elif command == "/set":
                name, _, value = rest.partition("=")
                settings = _with_value(settings, name.strip(), value.strip())
            elif command == "/seed":
                settings = _with_value(settings, "seed", rest or "random")
            elif command == "/undo":
                conversation.undo()
            elif command == "/clear":
                conversation.clear()
            elif command == "/save":
                conversation.save(rest or "talk.zip")
            elif command.startswith("/"):
                print(f"There is no command {command}. /help lists them.")
            elif line or files:
                conversation.add_user(line, files)
                _answer(pipeline, conversation, settings, modalities, Printer(folder, sys.stdout))
                files = []
        except (NextGPTError, ValueError) as error:
            print(one_line(error))
            if len(conversation) and conversation.turns[-1].role == "user":
                conversation.undo()  # a message without an answer
                if files:
                    print("The files stay attached; /file without a path detaches them.")


def _paths(line: str) -> list[Path]:
    """One path with anything in its name, or several, quoted as in a shell."""
    whole = os.path.expanduser(line)
    return [Path(os.path.expanduser(one)) for one in ([whole] if os.path.isfile(whole) else shlex.split(line))]


def _edit_lines() -> None:
    with contextlib.suppress(ImportError):  # not on Windows; input() then works without history
        import readline  # noqa: F401
