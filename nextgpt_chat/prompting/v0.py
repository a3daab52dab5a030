"""Templates ``v0`` and ``v0-as-trained``: how the published code reads a conversation, and how it was trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..content import TextPart, Turn
from ..tokens import IMAGE_CLOSE, IMAGE_OPEN, ROLE_MARK, PlainTokenizer
from .layout import Layout, last_reply
from .segments import MediaSegment, Segment, TextSegment, cut, joined, merged, position_keys

_Item = str | MediaSegment


class V0Template(Layout):
    """As the original demo infers: BOS before every text segment, two spaces before the newest user words.

    A conversation is one string cut at its media; a reply's medium stands before its caption. The original's defects
    are not copied: any number of files in their order, and words with ``<`` or ``>`` stay whole.
    """

    name = "v0"
    sums_files = True

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        items: list[_Item] = [ROLE_MARK]
        for index, turn in enumerate(turns):
            newest = index == len(turns) - 1
            items += self._user(turn, newest) if turn.role == "user" else self._assistant(turn)
            if not newest:
                after = turns[index + 1].role
                # Roles alternate as "\n### Assistant:" and "\n###" + " Human:".
                items.append("\n" + ROLE_MARK if turn.role == "assistant" or after == "user" else "")
        return joined(self._cut([*items, "\n" + ROLE_MARK + " Assistant:"]))

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        raise ValueError("template 'v0' is a layout of use only; train with 'clean' or 'v0-as-trained'")

    def _user(self, turn: Turn, newest: bool) -> list[_Item]:
        items: list[_Item] = [" Human: "]
        for position in self._files(turn):
            items += [position, " "]
        words = " ".join(self.text.quote(part.text) for part in turn.parts if isinstance(part, TextPart))
        return [*items, " " + words if newest else words]

    def _assistant(self, turn: Turn) -> list[_Item]:
        items: list[_Item] = ["\n" + ROLE_MARK + " Assistant: "]
        words = ""
        for part in turn.parts:
            if isinstance(part, TextPart):
                words += self.text.quote(part.text)
            else:
                items += [self._position(part.media), " ", f"{words.rstrip()} " if words else ""]
                words = ""
        return [*items, words]

    def _cut(self, items: list[_Item]) -> list[Segment]:
        segments: list[Segment] = []
        runs = merged(items)
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


class V0AsTrainedTemplate(Layout):
    """As the original was trained: one BOS, every string tokenised by itself, signal runs in the history too.

    Source: the training code's three batch builders (REFERENCE g.2 of the golden data). The lone word boundary after
    ``Human: `` and ``Assistant: `` belongs to the layout.
    """

    name = "v0-as-trained"
    sums_files = True

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        return joined(self._sequence(turns, text=False, every=False, last=None))

    def example(
        self, turns: Sequence[Turn], *, text: bool = True, every: bool = False, limit: int | None = None
    ) -> tuple[Segment, ...]:
        """``limit``: most positions after the prefix. The original cuts there, at 512, before it puts the prefix in
        front (see ``cut``)."""
        segments = joined(self._sequence(turns, text=text, every=every, last=last_reply(turns)))
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
        for position in self._files(turn):
            segments += [TextSegment(self._tokenise([*before, self._mark(True)])), position]
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


def tokenise_v0(items: Iterable[str | int], text: PlainTokenizer) -> tuple[int, ...]:
    """Ids as transformers 4.29's slow LLaMA tokenizer gives them for strings and added tokens (ids) in a row.

    White space that touches an added token is lost; each piece is encoded by itself, with its own word boundary.
    """
    ids: list[int] = []
    runs = merged(items)
    for index, item in enumerate(runs):
        if not isinstance(item, str):
            ids.append(item)
            continue
        item = item.rstrip() if index + 1 < len(runs) else item
        ids += text.encode(item.lstrip() if index else item)
    return tuple(ids)
