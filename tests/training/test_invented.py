"""Sounds at pitches that there are not, in text."""

import random
import re

import pytest

from nextgpt_chat.picturebook.dialogues import as_text, dialogue
from nextgpt_chat.picturebook.reading import parse
from nextgpt_chat.training.invented import with_invented_pitch


def test_an_invented_pitch_stands_in_the_message_and_in_its_reply():
    rng, found = random.Random(5), 0
    for _ in range(400):
        spoken = as_text(dialogue(rng), rng)
        told = with_invented_pitch(spoken, random.Random(2))
        if told is None:
            continue
        found += 1
        assert [role for role, _ in told] == ["user", "assistant"]
        assert all(re.search("zetiku[ -]pitch", words, re.IGNORECASE) for _, words in told)
        assert parse(told[1][1]).get("pitch") is None
        before, after = parse(spoken[1][1]), parse(told[1][1])
        assert {name: word for name, word in before.items() if name != "pitch"} == after
    assert found > 20


@pytest.mark.parametrize(
    "spoken",
    [
        [("user", "(a bell rings at high pitch) make it lower"), ("assistant", "Hear how a bell rings at low pitch.")],
        [("user", "Play a bell."), ("assistant", "Hear how a bell rings at low pitch.")],
        [("user", "hello"), ("assistant", "Hello!")],
    ],
)
def test_a_pitch_that_the_message_does_not_name_is_not_invented(spoken):
    assert with_invented_pitch(spoken, random.Random(1)) is None
