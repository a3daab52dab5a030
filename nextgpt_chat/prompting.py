"""Prompt templates: from a sequence of turns to segments of ids and media.

Three layouts share one interface (`Template`): ``clean`` (ours: one BOS, the same in training and in use), ``v0``
(as the original code infers) and ``v0-as-trained`` (as it was trained). User words are data: roles, separators,
media marks and signal tokens are put in by id, never by parsing a string.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from .content import Media, MediaPart, TextPart, Turn
from .errors import CheckpointError, LimitError
from .tokens import IMAGE_CLOSE, IMAGE_OPEN, ROLE_MARK, PlainTokenizer, SignalIds


@dataclass(frozen=True)
class TextSegment:
    """Token ids; ``target`` says that the model is trained to produce them."""

    ids: tuple[int, ...]
    target: bool = False


@dataclass(frozen=True)
class MediaSegment:
    """One position that holds the projected ImageBind embedding of ``media``."""

    media: Media


@dataclass(frozen=True)
class SignalSegment:
    """A whole run of signal tokens; ``part`` is the medium it stands for (its caption is the alignment target).

    ``forced``: nobody asked for it in words and the pipeline will force it, so its tokens are not to be predicted.
    """

    kind: str
    ids: tuple[int, ...]
    part: MediaPart
    target: bool = False
    forced: bool = False


Segment = TextSegment | MediaSegment | SignalSegment


@dataclass(frozen=True)
class Prompt:
    """What goes into the language model. ``left_out`` oldest turns did not fit."""

    segments: tuple[Segment, ...]
    left_out: int = 0

    @property
    def positions(self) -> int:
        """Length of the sequence of embeddings."""
        return len(self.keys)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """One key a position: the id, or the content hash of a medium. Equal keys mean equal embeddings."""
        return position_keys(self.segments)


def position_keys(segments: Iterable[Segment]) -> tuple[Hashable, ...]:
    """One key a position: the id, or the content hash of a medium."""
    keys: list[Hashable] = []
    for segment in segments:
        keys += [segment.media.sha256] if isinstance(segment, MediaSegment) else segment.ids
    return tuple(keys)


class Template(Protocol):
    """A layout of conversations. ``stops``: strings at which a reply ends (they are never shown)."""

    name: str
    stops: tuple[str, ...]

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        """Everything in front of the assistant's next reply."""

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        """A training sequence that ends with the last (assistant's) turn, with targets marked."""

    def fit(self, turns: Sequence[Turn], limit: int) -> Prompt:
        """The prompt within ``limit`` positions, oldest turns left out. Raises LimitError if the last cannot fit."""


TEMPLATES = ("clean", "v0", "v0-as-trained")


def make_template(name: str, text: PlainTokenizer, signals: SignalIds) -> Template:
    """The template that a checkpoint's manifest names. Raises CheckpointError for an unknown one."""
    layouts = {"clean": CleanTemplate, "v0": V0Template, "v0-as-trained": V0AsTrainedTemplate}
    if name not in layouts:
        raise CheckpointError(f"Unknown prompt template {name!r}; this version knows {', '.join(TEMPLATES)}.")
    return layouts[name](text, signals)


class _Layout:
    """What the layouts share: fitting, media marks, end of a turn."""

    name = ""
    stops = (ROLE_MARK,)

    def __init__(self, text: PlainTokenizer, signals: SignalIds) -> None:
        self.text, self.signals = text, signals
        self._bos = () if text.bos is None else (text.bos,)
        # Without real tokens the marks are spelled as ordinary text (checkpoints from before November 2023).
        self._open = text.encode(IMAGE_OPEN) if signals.open is None else (signals.open,)
        self._close = text.encode(IMAGE_CLOSE) if signals.close is None else (signals.close,)
        self._end = text.extend("\n" + ROLE_MARK)

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        raise NotImplementedError

    def fit(self, turns: Sequence[Turn], limit: int) -> Prompt:
        if not turns:
            raise ValueError("a prompt needs at least one turn")
        starts = [i for i, turn in enumerate(turns) if i == 0 or turn.role == "user"]
        for start in starts:
            prompt = Prompt(self.prompt(turns[start:]), left_out=start)
            if prompt.positions <= limit:
                return prompt
        raise LimitError(
            f"Your last message takes {prompt.positions} tokens; this checkpoint has room for {limit}. "
            "Shorten the message or attach fewer files."
        )

    def _medium(self, media: Media) -> tuple[Segment, ...]:
        return (TextSegment(self._open), MediaSegment(media), TextSegment(self._close))

    def _run(self, part: MediaPart, target: bool) -> SignalSegment:
        if part.kind not in self.signals.groups:
            raise ValueError(f"this checkpoint has no signal tokens for {part.kind!r}")
        return SignalSegment(part.kind, self.signals.groups[part.kind], part, target)


class CleanTemplate(_Layout):
    """v0's roles and separators with one BOS, the same in training and in use::

        BOS ### Human: WORDS <Img>E</Img> \\n### Assistant: WORDS \\n### Human: …

    Parts stand in their own order and every file is its own ``<Img>E</Img>``. In a reply being made or trained a
    medium is its signal run; in earlier turns it is its embedding, so that the model sees what was made.
    """

    name = "clean"

    def __init__(self, text: PlainTokenizer, signals: SignalIds) -> None:
        super().__init__(text, signals)
        self._start = self._bos + text.encode(ROLE_MARK)
        self._roles = {"user": text.extend(" Human:"), "assistant": text.extend(" Assistant:")}

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        return _joined([*self._history(turns), TextSegment(self._roles["assistant"])])

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        """``text=False`` trains signal runs only. ``every``: earlier replies without media are targets too (one with
        media cannot be: history shows its embedding where a reply has the signal run)."""
        last = _last_reply(turns)
        history = self._history(turns[:-1], learn_words=text and every)
        return _joined([*history, TextSegment(self._roles["assistant"]), *self._reply(last, text)])

    def _history(self, turns: Sequence[Turn], learn_words: bool = False) -> list[Segment]:
        segments: list[Segment] = [TextSegment(self._start)]
        for turn in turns:
            target = learn_words and turn.role == "assistant" and not turn.media
            segments.append(TextSegment(self._roles[turn.role]))
            for part in turn.parts:
                segments += self._words(part, target) if isinstance(part, TextPart) else self._medium(part.media)
            segments.append(TextSegment(self._end, target))
        return segments

    def _reply(self, turn: Turn, text: bool) -> list[Segment]:
        segments: list[Segment] = []
        for part in turn.parts:
            segments += self._words(part, text) if isinstance(part, TextPart) else [self._run(part, True)]
        return [*segments, TextSegment(self._end, text)]

    def _words(self, part: TextPart, target: bool) -> list[Segment]:
        return [TextSegment(self.text.encode_quoted(part.text.strip()), target)]


class V0Template(_Layout):
    """As the original demo infers: BOS before every text segment, two spaces before the newest user words.

    A conversation is one string cut at its media; a reply's medium stands before its caption. The original's defects
    are not copied: any number of files in their order, and words with ``<`` or ``>`` stay whole.
    """

    name = "v0"

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        items: list[str | Media] = [ROLE_MARK]
        for index, turn in enumerate(turns):
            newest = index == len(turns) - 1
            items += self._user(turn, newest) if turn.role == "user" else self._assistant(turn)
            if not newest:
                after = turns[index + 1].role
                # Roles alternate as "\n### Assistant:" and "\n###" + " Human:".
                items.append("\n" + ROLE_MARK if turn.role == "assistant" or after == "user" else "")
        return _joined(self._cut([*items, "\n" + ROLE_MARK + " Assistant:"]))

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        raise ValueError("template 'v0' is a layout of use only; train with 'clean' or 'v0-as-trained'")

    def _user(self, turn: Turn, newest: bool) -> list[str | Media]:
        items: list[str | Media] = [" Human: "]
        for part in turn.media:
            items += [part.media, " "]
        words = " ".join(self.text.quote(part.text) for part in turn.parts if isinstance(part, TextPart))
        return [*items, " " + words if newest else words]

    def _assistant(self, turn: Turn) -> list[str | Media]:
        items: list[str | Media] = ["\n" + ROLE_MARK + " Assistant: "]
        words = ""
        for part in turn.parts:
            if isinstance(part, TextPart):
                words += self.text.quote(part.text)
            else:
                items += [part.media, " ", f"{words.rstrip()} " if words else ""]
                words = ""
        return [*items, words]

    def _cut(self, items: list[str | Media]) -> list[Segment]:
        segments: list[Segment] = []
        runs = _merged(items)
        for index, item in enumerate(runs):
            if not isinstance(item, str):
                segments += self._medium(item)
                continue
            # The original's separators are "space <" and "> space": one space on either side of a medium is lost.
            item = item.removesuffix(" ") if index + 1 < len(runs) else item
            item = item.removeprefix(" ") if index else item
            if item:
                segments.append(TextSegment(self._bos + self.text.encode(item)))
        return segments


class V0AsTrainedTemplate(_Layout):
    """As the original was trained: one BOS, every string tokenised by itself, signal runs in the history too.

    Source: the training code's three batch builders (REFERENCE g.2 of the golden data). The lone word boundary after
    ``Human: `` and ``Assistant: `` belongs to the layout.
    """

    name = "v0-as-trained"

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        return _joined(self._sequence(turns, text=False, every=False, last=None))

    def example(
        self, turns: Sequence[Turn], *, text: bool = True, every: bool = False, limit: int | None = None
    ) -> tuple[Segment, ...]:
        """``limit``: most positions after the prefix. The original cuts there, at 512, before it puts the prefix in
        front (see ``cut``)."""
        segments = _joined(self._sequence(turns, text=text, every=every, last=_last_reply(turns)))
        return segments if limit is None else cut(segments, self.prefix_length(turns) + limit)

    def prefix_length(self, turns: Sequence[Turn]) -> int:
        """Positions of what the original puts in front of every sequence: BOS, the first head, the first medium."""
        if not turns or turns[0].role != "user":
            return len(self._bos)
        head = self._user(turns[0], first=True)[: 2 if turns[0].media else 1]
        return len(self._bos) + len(position_keys(head))

    def _sequence(self, turns: Sequence[Turn], *, text: bool, every: bool, last: Turn | None) -> list[Segment]:
        segments: list[Segment] = [TextSegment(self._bos)]
        for index, turn in enumerate(turns):
            if turn.role == "user":
                segments += self._user(turn, first=index == 0)
            else:
                target = every or (turn is last and index == len(turns) - 1)
                segments += self._assistant(turn, text and target, target and last is not None)
        return segments

    def _user(self, turn: Turn, first: bool) -> list[Segment]:
        head = f"{ROLE_MARK} Human: " if first else "Human: "
        words = " ".join(self.text.quote(part.text) for part in turn.parts if isinstance(part, TextPart))
        tail = f"{words}\n{ROLE_MARK} Assistant: "
        if not turn.media:
            # Only the first turn's head is a string of its own.
            strings = [head, tail] if first else [head + tail]
            return [TextSegment(self.text.encode(string)) for string in strings]
        segments: list[Segment] = []
        before: list[str | int] = [head]
        for part in turn.media:
            segments += [TextSegment(self._tokenise([*before, self._mark(True)])), MediaSegment(part.media)]
            before = [self._mark(False), " "]
        return [*segments, TextSegment(self._tokenise([*before, tail]))]

    def _assistant(self, turn: Turn, text: bool, signals: bool) -> list[Segment]:
        segments: list[Segment] = []
        words, after_run = "", False
        for part in turn.parts:
            if isinstance(part, TextPart):
                words += self.text.quote(part.text)
                continue
            segments.append(TextSegment(self.text.encode(words.strip() if after_run else words.rstrip()), text))
            segments.append(self._run(part, signals))
            words, after_run = "", True
        words += "\n" + ROLE_MARK
        return [*segments, TextSegment(self.text.encode(words.lstrip() if after_run else words), text)]

    def _mark(self, opening: bool) -> str | int:
        token = self.signals.open if opening else self.signals.close
        return (IMAGE_OPEN if opening else IMAGE_CLOSE) if token is None else token

    def _tokenise(self, items: Iterable[str | int]) -> tuple[int, ...]:
        return tokenise_v0(items, self.text)


def cut(segments: Iterable[Segment], limit: int) -> tuple[Segment, ...]:
    """The first ``limit`` positions. What is left of a signal run is ordinary ids: it stands for no medium."""
    kept: list[Segment] = []
    for segment in segments:
        room = limit - len(position_keys(kept))
        if room <= 0:
            break
        if not isinstance(segment, MediaSegment) and len(segment.ids) > room:
            forced = isinstance(segment, SignalSegment) and segment.forced
            segment = TextSegment(segment.ids[:room], segment.target and not forced)
        kept.append(segment)
    return _joined(kept)


def tokenise_v0(items: Iterable[str | int], text: PlainTokenizer) -> tuple[int, ...]:
    """Ids as transformers 4.29's slow LLaMA tokenizer gives them for strings and added tokens (ids) in a row.

    White space that touches an added token is lost; each piece is encoded by itself, with its own word boundary.
    """
    ids: list[int] = []
    runs = _merged(items)
    for index, item in enumerate(runs):
        if not isinstance(item, str):
            ids.append(item)
            continue
        item = item.rstrip() if index + 1 < len(runs) else item
        ids += text.encode(item.lstrip() if index else item)
    return tuple(ids)


def _merged(items: Iterable) -> list:
    """Neighbouring strings become one; everything else stays."""
    runs: list = []
    for item in items:
        if isinstance(item, str) and runs and isinstance(runs[-1], str):
            runs[-1] += item
        elif item != "":
            runs.append(item)
    return runs


def _joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Neighbouring text segments of the same kind become one; empty ones vanish."""
    joined: list[Segment] = []
    for segment in segments:
        previous = joined[-1] if joined else None
        if isinstance(segment, TextSegment) and not segment.ids:
            continue
        if isinstance(segment, TextSegment) and isinstance(previous, TextSegment) and segment.target == previous.target:
            joined[-1] = replace(previous, ids=previous.ids + segment.ids)
        else:
            joined.append(segment)
    return tuple(joined)


def _last_reply(turns: Sequence[Turn]) -> Turn:
    if not turns or turns[-1].role != "assistant":
        raise ValueError("a training example ends with an assistant's turn")
    return turns[-1]
