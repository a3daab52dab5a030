"""Sounds with words that there are not: said where they are asked for, and never made."""

import random
import re

import pytest

from nextgpt_chat.picturebook import PITCHES
from nextgpt_chat.picturebook.dialogues import as_text, dialogue
from nextgpt_chat.picturebook.reading import parse
from nextgpt_chat.training.invented import (
    asked_with_invented_pitch,
    has_known_source,
    with_invented_pitch,
    with_invented_source,
)
from nextgpt_chat.training.stand_ins import OnlySaidSlot, SaidSlot, said_of


@pytest.mark.parametrize(("kind", "least"), [("make_audio", 15), ("across_to_audio", 1)])
def test_a_request_for_a_sound_at_an_invented_pitch_is_only_said(kind, least):
    changed = 0
    for number in range(60):
        one = dialogue(number, kind=kind)
        told = asked_with_invented_pitch(one, random.Random(number))
        if told is one:
            continue
        changed += 1
        (asked, reply), (slot,) = told.turns, told.turns[-1].slots
        assert isinstance(slot, OnlySaidSlot) and slot.value == one.turns[-1].slots[0].value
        assert "pitch" not in parse(asked.text) | parse(reply.text)
        before = one.turns[-1].text.split()
        (new,) = (word for word, old in zip(reply.text.split(), before, strict=True) if word != old)
        assert new in asked.text.split() and new not in PITCHES
        assert asked.slots == one.turns[0].slots
    assert changed >= least


@pytest.mark.parametrize("kind", ["describe_image", "change_image", "across_to_audio", "greet"])
def test_dialogues_that_are_not_on_sounds_alone_are_left_as_they_are(kind):
    for number in range(20):
        one = dialogue(number, kind=kind)
        assert with_invented_source(one, ["always"], random.Random(number)) is one
        if kind != "across_to_audio":
            assert asked_with_invented_pitch(one, random.Random(number)) is one


@pytest.mark.parametrize("kind", ["describe_audio", "make_audio", "change_audio"])
def test_an_invented_source_stands_wherever_the_source_did_and_the_rest_stays(kind):
    changed = 0
    for number in range(60):
        one = dialogue(number, kind=kind)
        told = with_invented_source(one, ["always"], random.Random(number))
        assert has_known_source(one)
        if told is one:
            continue
        changed += 1
        assert not has_known_source(told)
        for before, after in zip(one.turns, told.turns, strict=True):
            said, new = parse(before.text), parse(after.text)
            assert "source" not in new and after.text.count("always") == ("source" in said)
            kept = [{name: words[name] for name in ("pitch", "speed") if name in words} for words in (said, new)]
            assert kept[0] == kept[1]
            for slot, other in zip(before.slots, after.slots, strict=True):
                assert dict(said_of(other)) == {**dict(said_of(slot)), "source": "always"}
                made = before is one.turns[-1]
                assert isinstance(other, SaidSlot) and isinstance(other, OnlySaidSlot) is made
    assert changed > 30


def test_an_invented_pitch_stands_in_the_message_and_in_its_reply():
    rng, found = random.Random(5), 0
    for _ in range(400):
        spoken = as_text(dialogue(rng), rng)
        told = with_invented_pitch(spoken, random.Random(2))
        if told is None:
            continue
        found += 1
        assert [role for role, _ in told] == ["user", "assistant"]
        assert all(re.search("zetiku[ -]pitch", words) for _, words in told)
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
