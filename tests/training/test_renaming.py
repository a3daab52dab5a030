import random
import re
from dataclasses import replace

import pytest

from nextgpt_chat.picturebook import Scene, parse
from nextgpt_chat.picturebook.dialogues import Dialogue, DialogueTurn, MediaSlot, dialogue
from nextgpt_chat.training.lm_dialogues import KINDS, few_known_pairs
from nextgpt_chat.training.renaming import RENAMED, has_known_pair, renamed
from nextgpt_chat.training.stand_ins import SaidSlot, said_of
from nextgpt_chat.training.word_vectors import REPLACED

OTHERS = {name: ["about", "again", "always", "please", "under", "which"] for name in REPLACED}


def new_words(before, after):
    """(attribute, word) → other word, of all media."""
    slots = [
        pair
        for old, new in zip(before.turns, after.turns, strict=True)
        for pair in zip(old.slots, new.slots, strict=True)
    ]
    both = [pair for old, new in slots for pair in zip(said_of(old), said_of(new), strict=True)]
    return {(name, word): other for (name, word), (_, other) in both if word != other}


@pytest.mark.parametrize("kind", ["describe_video", "make_image", "change_audio", "across_to_image", "session"])
def test_a_word_is_another_one_in_messages_media_captions_and_replies(kind):
    count = 0
    for number in range(150):
        one = dialogue(number, kind=kind)
        told = renamed(one, OTHERS, random.Random(number))
        if told is one:
            continue
        count += 1
        new = new_words(one, told)
        assert new and {name for name, _ in new} <= set(RENAMED)
        slots = [slot for turn in told.turns for slot in turn.slots]
        for text in [*(turn.text for turn in told.turns), *(slot.caption for slot in slots)]:
            assert not [pair for pair in new if parse(text).get(pair[0]) == pair[1]]
        for slot in told.turns[-1].slots:
            said = {word for name, word in said_of(slot) if name in RENAMED}
            assert all(re.search(rf"\b{word}\b", told.turns[-1].text) for word in said)
    assert count > 40


def test_a_reply_says_no_new_word_that_nobody_said_or_showed():
    count = 0
    for number in range(300):
        one = dialogue(number, kind=random.Random(number).choice(["make_image", "make_audio", "change_image"]))
        told = renamed(one, OTHERS, random.Random(number))
        asked = " ".join(turn.text for turn in told.turns if turn.role == "user")
        shown = {word for turn in told.turns if turn.role == "user" for slot in turn.slots for _, word in said_of(slot)}
        for slot in told.turns[-1].slots:
            for (_, old), (_, word) in zip(said_of(replace_words(slot)), said_of(slot), strict=True):
                assert word == old or word in shown or re.search(rf"\b{word}\b", asked)
                count += word != old
    assert count > 50


def replace_words(slot):
    return MediaSlot(slot.value, slot.seed, slot.kind, slot.caption)


def test_a_word_said_in_a_way_of_its_own_leaves_the_dialogue_as_it_is():
    dog = MediaSlot(Scene("dog", "red", "big", "left", "grass"), 1, "image", "a big red dog on the left on the grass")
    turns = (DialogueTurn("user", ("a big red puppy",)), DialogueTurn("assistant", ("Here is a dog.", dog)))
    one = Dialogue("make_image", turns)
    told = [renamed(one, {**OTHERS, "colour": ["please"]}, random.Random(seed)) for seed in range(40)]
    changed = [new_words(one, other) for other in told if other is not one]
    assert changed and all(set(new) == {("colour", "red")} for new in changed)
    twice = replace(one, turns=(replace(turns[0], parts=("a big red dog",)), turns[1]))
    assert any(("thing", "dog") in new_words(twice, renamed(twice, OTHERS, random.Random(seed))) for seed in range(40))


def test_a_medium_from_outside_the_world_stays():
    other = MediaSlot(None, 1, "image", "")
    turns = (DialogueTurn("user", (other, "what is it?")), DialogueTurn("assistant", ("I do not know that.",)))
    one = Dialogue("describe_image", turns)
    assert renamed(one, OTHERS, random.Random(0)) is one


def test_few_sounds_that_the_language_model_reads_of_have_a_source_and_a_pitch_of_the_world():
    rng = random.Random(0)
    drawn = [few_known_pairs(rng, OTHERS) for _ in range(400)]
    heard = [one for one in drawn if any(slot.kind == "audio" for turn in one.turns for slot in turn.slots)]
    assert len(heard) > 80
    assert 0.05 < sum(map(has_known_pair, heard)) / len(heard) < 0.35
    silent = [one for one in drawn if one not in heard]
    strange = sum(any(isinstance(slot, SaidSlot) for turn in one.turns for slot in turn.slots) for one in silent)
    assert 0.15 < strange / len(silent) < 0.6
    assert sum(KINDS.values()) == pytest.approx(1)
