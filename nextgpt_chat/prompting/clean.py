"""Template ``clean``: ours, with one BOS, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence

from ..content import TextPart, Turn
from ..tokens import ROLE_MARK, PlainTokenizer, SignalIds
from .layout import Layout, last_reply
from .segments import Segment, TextSegment, joined


class CleanTemplate(Layout):
    """v0's roles and separators with one BOS, the same in training and in use::

        BOS ### Human: WORDS <Img>E</Img> \\n### Assistant: WORDS \\n### Human: …

    Parts stand in their own order and every file is its own ``<Img>E</Img>``. In a reply being made or trained a
    medium is its signal run; in earlier turns it is its embedding, so that the model sees what was made.
    """

    name = "clean"

    def __init__(self, text: PlainTokenizer, signals: SignalIds, add_files: bool = False) -> None:
        super().__init__(text, signals, add_files)
        self._start = self._bos + text.encode(ROLE_MARK)
        self._roles = {"user": text.extend(" Human:"), "assistant": text.extend(" Assistant:")}

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        return joined([*self._history(turns), TextSegment(self._roles["assistant"])])

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        """``text=False`` trains signal runs only. ``every``: earlier replies without media are targets too (one with
        media cannot be: history shows its embedding where a reply has the signal run)."""
        last = last_reply(turns)
        history = self._history(turns[:-1], learn_words=text and every)
        return joined([*history, TextSegment(self._roles["assistant"]), *self._reply(last, text)])

    def _history(self, turns: Sequence[Turn], learn_words: bool = False) -> list[Segment]:
        segments: list[Segment] = [TextSegment(self._start)]
        for turn in turns:
            target = learn_words and turn.role == "assistant" and not turn.media
            segments.append(TextSegment(self._roles[turn.role]))
            for part in turn.parts:
                segments += (
                    self._words(part, target)
                    if isinstance(part, TextPart)
                    else self._medium(self._position(part.media))
                )
            segments.append(TextSegment(self.end, target))
        return segments

    def _reply(self, turn: Turn, text: bool) -> list[Segment]:
        segments: list[Segment] = []
        for part in turn.parts:
            segments += self._words(part, text) if isinstance(part, TextPart) else [self._run(part, True)]
        return [*segments, TextSegment(self.end, text)]

    def _words(self, part: TextPart, target: bool) -> list[Segment]:
        return [TextSegment(self.text.encode_quoted(part.text.strip()), target)]
