"""Template ``v1.5``: how the code of 2024 (Vicuna-7B v1.5) lays out a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..content import TextPart, Turn
from ..tokens import PlainTokenizer, SignalIds
from .layout import Layout, last_reply
from .segments import MediaSegment, Segment, SignalSegment, TextSegment, joined

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ROLES = {"user": "USER:", "assistant": "ASSISTANT:"}
# Unicode noncharacters stand for a typed role between quoting and encoding; they never occur in real text.
_TYPED = {"USER:": "\ufdd1", "ASSISTANT:": "\ufdd2"}
_MEANT = {sign: role for role, sign in _TYPED.items()}


class V15Template(Layout):
    """Vicuna's v1 layout, with media at the places of the placeholders::

        BOS SYSTEM USER: E \\nWORDS ASSISTANT: WORDS</s>USER: WORDS ASSISTANT:

    The separators are one space after the system sentence and after the user, ``</s>`` and nothing after a reply. A
    medium is one position without marks around it. Every string between two media is tokenised by itself, with its
    own word boundary; as in that code, which cuts at clips, then at sounds, then at pictures, a new BOS follows every
    clip and every sound, but no picture. A reply's medium is its signal run in the history too: in training it is
    nothing else, and each reply is a target. Where that code's tokenizer has its own signal tokens, a run has a space
    piece between any two of them (``SignalIds``). A reply ends at ``</s>``, and at ``###``, which that code still
    stops at. Roles that a user types are spelled in other ids with the same characters.

    Left open by that code, and decided here:

    * Its one-turn program asks with "human" for "user" in the system sentence; this is the sentence of training.
    * It has no history. Ours continues the training sequence.
    * Placeholders stand where the data have them; here parts keep their order, with a line break next to a file, as
      in the question of its program (``<image>`` and a line break before the words).
    * No word boundary after ``</s>``: Vicuna v1.5's tokenizer is not a "legacy" one [from memory of its files].
    """

    name = "v1.5"

    def __init__(self, text: PlainTokenizer, signals: SignalIds, add_files: bool = False) -> None:
        super().__init__(text, signals, add_files)
        self.end = () if text.eos is None else (text.eos,)

    def prompt(self, turns: Sequence[Turn]) -> tuple[Segment, ...]:
        writer = self._sequence(turns, text=False, every=False, last=None)
        writer.write(writer.separator + ROLES["assistant"])
        return writer.segments()

    def example(self, turns: Sequence[Turn], *, text: bool = True, every: bool = False) -> tuple[Segment, ...]:
        """``every``: all replies are targets, as in that code, else the last one; ``text=False``: signal runs only."""
        return self._sequence(turns, text=text, every=every, last=last_reply(turns)).segments()

    def _sequence(self, turns: Sequence[Turn], *, text: bool, every: bool, last: Turn | None) -> _Writer:
        writer = _Writer(self)
        writer.write(SYSTEM)
        for turn in turns:
            writer.write(writer.separator + ROLES[turn.role])
            if turn.role == "user":
                self._user(writer, turn)
            else:
                target = last is not None and (every or turn is last)
                self._reply(writer, turn, target and text, target)
        return writer

    def _user(self, writer: _Writer, turn: Turn) -> None:
        after_words = True
        for index, part in enumerate(turn.parts):
            is_words = isinstance(part, TextPart)
            writer.write(" " if index == 0 or (after_words and is_words) else "\n")
            if is_words:
                writer.write(quote(part.text))
            else:
                writer.medium(self._position(part.media))
            after_words = is_words

    def _reply(self, writer: _Writer, turn: Turn, text: bool, signals: bool) -> None:
        for part in turn.parts:
            if isinstance(part, TextPart):
                writer.write(" " + quote(part.text.strip()), text)
            else:
                writer.write(" ", text)
                writer.run(self._run(part, signals))
        writer.end(text)


class _Writer:
    """One sequence in the making: knows what is tokenised together."""

    def __init__(self, layout: V15Template) -> None:
        self._text, self._bos, self._end = layout.text, layout._bos, layout.end
        self._segments: list[Segment] = [TextSegment(self._bos)]
        self._words, self._target = "", False
        self._anew = True  # the next string gets a word boundary
        self.separator = " "

    def write(self, words: str, target: bool = False) -> None:
        if target != self._target:
            self._flush()
        self._words, self._target, self.separator = self._words + words, target, " "

    def medium(self, position: MediaSegment) -> None:
        self._flush()
        again = () if position.media.kind == "image" else self._bos
        self._segments += [position, TextSegment(again)]
        self._anew = True

    def run(self, segment: SignalSegment) -> None:
        self._flush()
        self._segments.append(segment)

    def end(self, target: bool) -> None:
        self._flush()
        self._segments.append(TextSegment(self._end, target))
        self.separator = ""

    def segments(self) -> tuple[Segment, ...]:
        self._flush()
        return joined(self._segments)

    def _flush(self) -> None:
        if not self._words:
            return
        ids: tuple[int, ...] = ()
        for piece in re.split(f"([{''.join(_MEANT)}])", (" " if self._anew else "") + self._words):
            ids += self._text.misspelled(_MEANT[piece]) if piece in _MEANT else self._text.extend(piece)
        self._segments.append(TextSegment(ids, self._target))
        self._words, self._anew = "", False


def quote(words: str) -> str:
    """Words in which what looks like a role is no role."""
    for sign in _MEANT:
        words = words.replace(sign, "\ufffd")
    for role in sorted(_TYPED, key=len, reverse=True):
        words = words.replace(role, _TYPED[role])
    return words
