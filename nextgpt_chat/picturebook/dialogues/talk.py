"""A dialogue in the making: the turns so far, what was shown, and which values may be shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from nextgpt_chat.picturebook.dialogues import answers
from nextgpt_chat.picturebook.dialogues.defaults import ATTRIBUTES, attributes, random_value
from nextgpt_chat.picturebook.dialogues.phrasing import typed
from nextgpt_chat.picturebook.dialogues.turns import Dialogue, DialogueTurn, MediaSlot, canonical, kind_of
from nextgpt_chat.picturebook.values import Value, is_held_out

Found = TypeVar("Found")

MOST_EXCHANGES = 6


class Talk:
    """Adds a user's turn and a reply at a time. ``media``: every value shown so far, uploads and replies."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out
        self.turns: list[DialogueTurn] = []
        self.media: list[Value] = []
        self.topic: dict[str, str] = {}
        self._answers: dict[str, str] = {}
        self._described: tuple[Value, ...] = ()
        self._forced: frozenset[str] = frozenset()

    # Choosing

    def value(self, kind: str, things: Sequence[str] = ()) -> Value:
        """A value to be shown: held out if the dialogue is to test those."""
        return random_value(self.rng, kind, self.held_out, things)

    def search(self, attempt: Callable[[], tuple[Found, Sequence[Value], Sequence[Value]] | None]) -> Found | None:
        """The first attempt that fits; an attempt is (what is found, values it makes, other values it shows).

        For training none of the values may be held out. For evaluation all that is made should be; else, where
        defaults decide what is made, anything shown. None if no attempt fits.
        """
        second = third = None
        for tries in range(400):
            tried = attempt()
            if tried is None:
                continue
            found, targets, others = tried
            if not self.held_out:
                if not any(map(is_held_out, (*targets, *others))):
                    return found
                continue
            if targets and all(map(is_held_out, targets)):
                return found
            if second is None and any(map(is_held_out, targets)):
                second = found
            if third is None and any(map(is_held_out, others)):
                third = found
            if tries > 150 and (second or third) is not None:
                break
        return second if second is not None else third

    # Speaking

    def user(self, text: str, *values: Value, request: bool = False) -> None:
        """The user's turn: files first, as the pipeline has them, and seldom last. ``text`` may be empty."""
        files = tuple(map(self._slot, values))
        words = (typed(self.rng, text, request),) if text else ()
        parts = words + files if self.rng.random() < 0.05 else files + words
        self._add(DialogueTurn("user", parts))
        for value in values:
            self._show(value)

    def tell(self, text: str, expected: dict[str, str] | None = None, described: Iterable[Value] = ()) -> None:
        """A reply in words only."""
        self._add(DialogueTurn("assistant", (text,)))
        self._answers, self._described = expected or {}, tuple(described)

    def make(self, *values: Value, last: str = "") -> None:
        """A reply with media, each after its sentence. ``last``: a sentence on what cannot be made."""
        parts: list[str | MediaSlot] = []
        for value in values:
            parts += [answers.made(value), self._slot(value)]
            self._show(value)
        self._add(DialogueTurn("assistant", (*parts, *([last] if last else []))))
        self._answers, self._described = {}, ()

    def describe(self, *values: Value, add: Sequence[Value] = ()) -> None:
        """A reply that describes media. ``add``: the media of a forced reply, which stand after the words."""
        if len(values) == 1:
            text = answers.told(values[0])
        else:
            kinds = [kind_of(value) for value in values]
            which = [
                ("first ", "second ", "third ")[kinds[:number].count(kind)] if kinds.count(kind) > 1 else ""
                for number, kind in enumerate(kinds)
            ]
            text = " ".join(answers.told(value, word) for value, word in zip(values, which, strict=True))
        self._add(DialogueTurn("assistant", (text, *map(self._slot, add))))
        for value in add:
            self._show(value)
        self._answers, self._described = answers.expected(values), values
        self._forced = frozenset(map(kind_of, add))

    def dialogue(self, kind: str) -> Dialogue:
        """What was said."""
        return Dialogue(kind, tuple(self.turns), self._answers, self._described, self._forced)

    @property
    def exchanges(self) -> int:
        """How many replies there are."""
        return len(self.turns) // 2

    def _slot(self, value: Value) -> MediaSlot:
        return MediaSlot(value, self.rng.randrange(2**31), kind_of(value), canonical(value))

    def _show(self, value: Value) -> None:
        named = attributes(value)
        if self.topic.get("thing") != named["thing"]:
            self.topic = {}
        self.topic.update(named)
        self.media.append(value)

    def _add(self, turn: DialogueTurn) -> None:
        due = "assistant" if len(self.turns) % 2 else "user"
        if turn.role != due:
            raise ValueError(f"it is the {due}'s turn, not the {turn.role}'s")
        self.turns.append(turn)


def some(rng: random.Random, kind: str, value: Value, whole: float = 0.45) -> dict[str, str]:
    """What a request names of a value: the thing, and with probability ``whole`` everything, else any part."""
    named = attributes(value)
    if rng.random() < whole:
        return named
    keys = [key for key in ATTRIBUTES[kind] if key != "thing"]
    kept = set(rng.sample(keys, rng.choice([0, 1, 1, 2, 2, *range(len(keys))])))
    return {key: word for key, word in named.items() if key == "thing" or key in kept}
