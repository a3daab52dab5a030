"""Prompt assembly of whole conversations, by template v0."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nextgpt_chat.content import Audio, Image, Media, MediaPart, TextPart, Turn, Video
from nextgpt_chat.prompting import MediaSegment, Segment, Template, make_template
from nextgpt_chat.tokens import PlainTokenizer

from .comparing import Case, CaseError, Check, Rules
from .folder import GoldenFolder

FILE = "prompts.json"
KINDS = ("image", "audio", "video")  # the order in which the original's demo puts a turn's files
SHORT = {"img": "image", "vid": "video", "aud": "audio"}
_opened: list[str] | None = None


def find(golden: GoldenFolder) -> Iterator[Case]:
    """One case a conversation without quirks, one for all turns that show a bug of the original."""
    if not golden.has(FILE):
        return
    facts = golden.json(FILE)
    rules = Rules(facts, FILE)
    talks = [list(_turns(golden, conversation)) for conversation in facts["conversations"]]
    for number, talk in enumerate(talks):
        if any(not turn["quirk"] for _, turn in talk):
            yield Case(f"prompts conversation {number}", functools.partial(_run, golden, facts, talk), rules)
    quirks = [pair for talk in talks for pair in talk if pair[1]["quirk"]]
    if quirks:
        yield Case("prompts of the original's bugs", functools.partial(_run_quirks, golden, facts, quirks))


def stand_in(kind: str, name: str) -> Media:
    """A tiny medium whose content depends on the name of the file it stands for."""
    value = sum(name.encode()) % 251
    if kind == "image":
        return Image(np.full((2, 2, 3), value, np.uint8))
    if kind == "audio":
        return Audio(np.full(16, value / 256, np.float32), 16000)
    return Video(np.full((2, 2, 2, 3), value, np.uint8), 8.0)


def _turns(golden: GoldenFolder, conversation: list[dict[str, Any]]) -> Iterator[tuple[list[Turn], dict[str, Any]]]:
    """(our turns up to and with the user's, the original's turn), one at a time."""
    turns: list[Turn] = []
    for turn in conversation:
        files = [MediaPart(stand_in(kind, turn[kind])) for kind in KINDS if turn.get(kind)]
        turns.append(Turn("user", (*files, TextPart(turn["user_text"]))))
        yield list(turns), turn
        turns.append(Turn("assistant", tuple(_reply(golden, turn["model_output"]))))


def _reply(golden: GoldenFolder, outputs: list[Any]) -> Iterator[TextPart | MediaPart]:
    for output in outputs:
        if isinstance(output, str):
            yield TextPart(output.replace("\n###", ""))
            continue
        for short, items in output.items():
            kind = SHORT[short]
            signals = " ".join(golden.signal_tokens.names(kind))
            for caption, _ in zip(items[::2], items[1::2], strict=True):
                yield TextPart(caption.removesuffix(signals).strip())
                yield MediaPart(stand_in(kind, caption), caption=caption)


def _template(golden: GoldenFolder, facts: dict[str, Any]) -> tuple[Template, PlainTokenizer]:
    plain, signals = golden.plain(facts["tokenizer"])
    return make_template("v0", plain, signals), plain


def _positions(segments: tuple[Segment, ...]) -> list[int]:
    """Ids; a medium is a number below zero that tells its kind."""
    found: list[int] = []
    for segment in segments:
        found += [-1 - KINDS.index(segment.media.kind)] if isinstance(segment, MediaSegment) else segment.ids
    return found


def _expected(turn: dict[str, Any]) -> list[int]:
    expected: list[int] = []
    for segment in turn["segments"]:
        if segment["type"] == "text":
            expected += segment["ids"]
        elif segment["type"] in KINDS:
            around = segment["ids_around"]
            expected += [around[0], -1 - KINDS.index(segment["type"]), around[-1]]
        else:
            raise CaseError(f"{FILE}: unknown segment type {segment['type']!r}")
    return expected


def _run(golden: GoldenFolder, facts: dict[str, Any], talk: list, check: Check) -> None:
    template, _ = _template(golden, facts)
    for turns, turn in talk:
        if turn["quirk"]:
            continue
        found = _positions(template.prompt(turns))
        check.compare("segments", found, _expected(turn), label=f"prompt {turn['prompt_text']!r}")
        check.compare("segments", len(found), turn["total_positions"], label=f"length of {turn['prompt_text']!r}")


def _run_quirks(golden: GoldenFolder, facts: dict[str, Any], quirks: list, check: Check) -> None:
    """All words are in our ids, every attached file is embedded, and nothing else is, nor opened."""
    template, plain = _template(golden, facts)
    for turns, turn in quirks:
        with _watched() as opened:
            segments = template.prompt(turns)
        attached = [part.media.kind for each in turns for part in each.media]
        embedded = [segment.media.kind for segment in segments if isinstance(segment, MediaSegment)]
        said = turn["user_text"]
        check.compare("media", len(embedded), len(attached), label=f"number of media in {said!r}")
        check.require(embedded == attached, f"media of {said!r} are {embedded} instead of {attached}")
        words = "\n".join(plain.decode(s.ids) for s in segments if not isinstance(s, MediaSegment))
        check.require(said in words, f"the words {said!r} are not all in our ids")
        check.require(not opened, f"{opened[:1]} was opened for {said!r}")
    check.notes.append("not compared: bugs that must not be copied")


@contextmanager
def _watched() -> Iterator[list[str]]:
    """The names of all files that are opened meanwhile."""
    global _opened
    _watch()
    _opened = opened = []
    try:
        yield opened
    finally:
        _opened = None


@functools.cache
def _watch() -> None:
    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and _opened is not None:
            _opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # cannot be taken out again, hence only once
