"""Dialogues: nothing held out leaks, replies say and make what was asked, and all that must occur does."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter

import pytest

from nextgpt_chat.picturebook import captions, is_held_out, parse
from nextgpt_chat.picturebook.dialogues import (
    DEFAULT_COLOURS,
    DEFAULT_MOTIONS,
    DEFAULT_PITCHES,
    INPUTS,
    KINDS,
    MEDIA,
    TEXT_ONLY_KINDS,
    Dialogue,
    MediaSlot,
    as_text,
    attributes,
    cell,
    complete,
    dialogue,
    phrasing,
    text_corpus,
)
from nextgpt_chat.picturebook.dialogues.defaults import ALLOWED, ATTRIBUTES
from nextgpt_chat.picturebook.dialogues.turns import kind_of
from nextgpt_chat.picturebook.values import (
    HELD_OUT_LOOKS,
    HELD_OUT_MOTIONS,
    HELD_OUT_PITCHES,
    SOUNDS,
    THINGS,
    WEATHER,
    Sound,
    Value,
)

SUBSETS = [frozenset(c) for size in range(4) for c in itertools.combinations(MEDIA, size)]
CELLS = [
    (frozenset(inputs), outputs)
    for size in range(1, 5)
    for inputs in itertools.combinations(INPUTS, size)
    for outputs in SUBSETS
]


@pytest.fixture(scope="module")
def training() -> list[Dialogue]:
    rng = random.Random(0)
    return [dialogue(rng) for _ in range(3000)]


@pytest.fixture(scope="module")
def cells() -> list[tuple[frozenset[str], frozenset[str], bool, Dialogue]]:
    return [
        (inputs, outputs, held_out, cell(inputs, outputs, seed, held_out))
        for inputs, outputs in CELLS
        for held_out in (False, True)
        for seed in range(3)
    ]


def _as_parsed(value: Value) -> dict[str, str]:
    """What `parse` reads from a caption of the value."""
    named = attributes(value)
    thing = named["thing"]
    if thing in WEATHER:
        del named["thing"]
    return {**named, "source": thing} if thing in SOUNDS else named


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^.!]+[.!]", text)


def _leaks(text: str) -> bool:
    """True if a sentence names a held-out pair."""
    for sentence in _sentences(text):
        said = parse(sentence)
        pairs = (said.get("thing"), said.get("colour")), (said.get("thing"), said.get("motion"))
        heard = (said.get("source"), said.get("pitch"))
        if pairs[0] in HELD_OUT_LOOKS or pairs[1] in HELD_OUT_MOTIONS or heard in HELD_OUT_PITCHES:
            return True
    return False


def test_no_held_out_value_or_pair_is_in_a_training_dialogue(training, cells):
    for talk in [*training, *(one for _, _, held_out, one in cells if not held_out)]:
        assert not any(map(is_held_out, talk.values))
        for turn in talk.turns:
            if turn.role == "assistant":
                assert not _leaks(turn.text), turn.text


def test_the_leak_check_finds_leaks():
    thing, colour = min(HELD_OUT_LOOKS)
    assert _leaks(f"Hello. The {thing} is {colour}.")
    source, pitch = min(HELD_OUT_PITCHES)
    assert _leaks(captions(Sound(source, pitch, "fast"))[0] + ".")


def test_held_out_dialogues_make_held_out_values_where_the_request_decides_them():
    for kind in KINDS:
        if kind in TEXT_ONLY_KINDS or kind == "session":
            continue
        for seed in range(8):
            talk = dialogue(seed, held_out=True, kind=kind)
            assert any(map(is_held_out, talk.values)), talk
            if kind.startswith(("make_i", "make_a", "make_v", "change")):
                assert all(is_held_out(slot.value) for slot in talk.targets), talk


def test_defaults_are_never_held_out():
    assert not (HELD_OUT_LOOKS & DEFAULT_COLOURS.items() or HELD_OUT_MOTIONS & DEFAULT_MOTIONS.items())
    assert not HELD_OUT_PITCHES & DEFAULT_PITCHES.items()
    assert set(DEFAULT_COLOURS) == set(DEFAULT_MOTIONS) == set(THINGS)
    assert set(DEFAULT_PITCHES) == set(SOUNDS)
    assert complete("audio", {"thing": "ball"}) is None
    assert complete("video", {"thing": "rain"}) is None


def test_the_same_seed_gives_the_same_dialogue():
    assert [dialogue(seed) for seed in range(40)] == [dialogue(random.Random(seed)) for seed in range(40)]
    assert len({dialogue(seed).turns for seed in range(40)}) > 35
    assert cell({"text"}, {"image"}, 5) == cell({"text"}, {"image"}, 5)
    assert list(text_corpus(3, 10)) == list(text_corpus(3, 10))


def test_every_kind_occurs_in_about_its_share(training):
    counted = Counter(talk.kind for talk in training)
    total = sum(KINDS.values())
    for kind, weight in KINDS.items():
        wanted = len(training) * weight / total
        assert abs(counted[kind] - wanted) < 4 * wanted**0.5 + 1, (kind, counted[kind], wanted)
    with pytest.raises(ValueError, match="'nonsense'"):
        dialogue(0, kind="nonsense")


def test_turns_alternate_and_are_one_to_six_exchanges(training):
    lengths = set()
    for talk in training:
        roles = [turn.role for turn in talk.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        lengths.add(len(roles) // 2)
        assert all(turn.parts for turn in talk.turns)
        assert sum(len(turn.text.split()) for turn in talk.turns) < 350
        assert all(part == part.strip() != "" for turn in talk.turns for part in turn.parts if isinstance(part, str))
    assert lengths == set(range(1, 7))


def test_each_medium_of_a_reply_follows_a_sentence_with_its_whole_canonical_caption(training):
    made = 0
    for talk in training:
        if talk.forced:
            continue
        for turn in talk.turns[1::2]:
            for before, slot in itertools.pairwise(("", *turn.parts)):
                if isinstance(slot, MediaSlot):
                    made += 1
                    if made % 10 == 0:  # captions() is slow
                        assert slot.caption == captions(slot.value)[0]
                    assert slot.caption in before
                    assert parse(before) == _as_parsed(slot.value)
                    assert slot.kind == kind_of(slot.value)
    assert made > 2000


def test_words_name_the_expected_answers(training, cells):
    told = Counter()
    for talk in [*training, *(one for *_, one in cells)]:
        said = parse(talk.turns[-1].text)
        assert talk.answers.items() <= said.items(), (talk.answers, talk.turns[-1].text, said)
        told.update(talk.answers.keys())
        if talk.described:
            sentences = _sentences(talk.turns[-1].text)
            assert [parse(one) for one in sentences] == [_as_parsed(value) for value in talk.described]
    assert set(told) == {*ALLOWED, "thing", "source"}


def test_what_is_asked_with_a_guess_is_answered_by_what_is_there_and_half_of_the_guesses_are_right():
    right = []
    for seed in range(200):
        talk = dialogue(seed, kind="yes_or_no")
        guessed, said = parse(talk.turns[0].text.lower()), parse(talk.turns[-1].text)
        assert talk.answers.items() <= said.items()
        right += [guessed[key] == word for key, word in talk.answers.items() if key in guessed]
    assert len(right) > 150 and 0.4 < sum(right) / len(right) < 0.6


@pytest.mark.parametrize("held_out", [False, True])
def test_all_120_cells_have_exactly_their_modalities(cells, held_out):
    assert len(CELLS) == 120
    for inputs, outputs, held, talk in cells:
        if held != held_out:
            continue
        user, reply = talk.turns
        assert {slot.kind for slot in user.slots} | ({"text"} if user.text else set()) == inputs
        made = [slot.kind for slot in talk.targets]
        assert sorted(made) == sorted(outputs)
        assert "text" in inputs or made == sorted(made, key=MEDIA.index)
        assert reply.text
        assert talk.forced == (outputs if "text" not in inputs else frozenset())
    with pytest.raises(ValueError, match="smell"):
        cell({"smell"}, {"image"}, 0)
    with pytest.raises(ValueError):
        cell(set(), {"image"}, 0)


def test_media_of_a_cell_show_the_thing_that_went_in(cells):
    kept = 0
    for _, outputs, _, talk in cells:
        shown = talk.turns[0].slots
        if not (shown and outputs):
            continue
        assert len({attributes(slot.value)["thing"] for slot in (*shown, *talk.targets)}) == 1
        if not talk.forced and "still" not in talk.turns[0].text.lower():
            assert all(attributes(slot.value).get("motion") != "still" for slot in talk.targets)
        if talk.forced:
            known: dict[str, str] = {}
            for slot in shown:
                known |= attributes(slot.value)
            for slot in talk.targets:
                assert slot.value == complete(slot.kind, known)
                kept += 1
    assert kept > 200


def test_held_out_cells_show_something_held_out(cells):
    for _, _, held_out, talk in cells:
        if held_out and talk.values:
            assert any(map(is_held_out, talk.values))


def test_every_attribute_value_is_made_and_is_shown(training):
    for made, slots in (
        (True, [slot for talk in training for turn in talk.turns[1::2] for slot in turn.slots]),
        (False, [slot for talk in training for turn in talk.turns[::2] for slot in turn.slots]),
    ):
        seen = {(slot.kind, *pair) for slot in slots for pair in attributes(slot.value).items()}
        for kind in MEDIA:
            pools = {**ALLOWED, "thing": SOUNDS if kind == "audio" else THINGS}
            wanted = {(kind, key, word) for key in ATTRIBUTES[kind] for word in pools[key]}
            assert wanted <= seen, (made, wanted - seen)


def test_changes_keep_what_was_not_named():
    for kind, seed in itertools.product(MEDIA, range(60)):
        talk = dialogue(seed, kind=f"change_{kind}")
        *_, before, after = [slot.value for turn in talk.turns for slot in turn.slots]
        old, new = attributes(before), attributes(after)
        assert old.keys() == new.keys()
        assert 1 <= sum(old[key] != new[key] for key in old) <= 2


def test_after_several_media_the_one_is_changed_that_can_be_or_that_is_named():
    named = re.compile(r"\b(picture|image|drawing|sound|noise|clip|video)\b")
    seen = Counter()
    for seed in range(200):
        _, first, request, last = dialogue(seed, kind="change_several").turns
        (after,) = last.slots
        before = next(slot.value for slot in first.slots if slot.kind == after.kind)
        old, new = attributes(before), attributes(after.value)
        changed = {key for key in old if old[key] != new[key]}
        assert len(first.slots) > 1 and 1 <= len(changed) <= 2
        told = named.search(request.text.lower())
        seen[after.kind, bool(told)] += 1
        for slot in first.slots:
            assert told or slot.kind == after.kind or not changed & set(ATTRIBUTES[slot.kind])
    assert seen.keys() == set(itertools.product(MEDIA, (True, False)))


def test_crossing_over_keeps_the_thing_or_says_why_not():
    made = Counter()
    for kind, seed in itertools.product(MEDIA, range(60)):
        talk = dialogue(seed, kind=f"across_to_{kind}")
        base = talk.values[0]
        thing = attributes(base)["thing"]
        if talk.targets:
            made[kind] += 1
            assert [slot.kind for slot in talk.targets] == [kind]
            assert attributes(talk.targets[0].value)["thing"] == thing
        else:
            reply = "makes no sound" if kind == "audio" else "no picture"
            assert reply in talk.turns[-1].text
            assert thing in talk.turns[-1].text.lower()
    assert all(made[kind] > 35 for kind in MEDIA)


def test_several_media_are_asked_for_in_any_order_and_given_in_that_one():
    rng, first = random.Random(4), Counter()
    names = {"image": "picture|image|drawing|draw|paint|see", "audio": "sound|noise|audio|hear|listen"}
    names["video"] = "clip|video|film|animate|move|moving|let (it|a)"
    for _ in range(300):
        one = dialogue(rng, kind="make_several")
        asked, made = one.turns[-2].text.lower(), [slot.kind for slot in one.targets]
        if len(set(made)) == len(made) > 1:
            found = {kind: re.search(names[kind], asked) for kind in made}
            if all(found.values()):
                assert made == sorted(made, key=lambda kind: found[kind].start()), asked
                first[made[0]] += 1
    assert all(first[kind] > 10 for kind in MEDIA), first


def test_requests_in_words_name_nothing_that_is_not_made():
    for kind, seed in itertools.product(MEDIA, range(150)):
        talk = dialogue(seed, kind=f"make_{kind}")
        target = _as_parsed(talk.targets[0].value)
        words = talk.turns[0].text
        said = {key: word for key, word in parse(words).items() if key in target}
        wrong = {key: word for key, word in said.items() if target[key] != word}
        assert not wrong, (words, wrong, target)


def test_synonyms_mean_what_they_stand_for():
    for key, rows in phrasing.SAID.items():
        for word, said in rows.items():
            assert said[0].startswith(word) or key not in ("thing", "colour", "size")
            for phrase in said:
                if key in ("pitch", "speed"):
                    phrase = f"it sounds {phrase}"
                got = parse(f"the dog is {phrase}" if key != "thing" else f"a {phrase}")
                assert got.get("source" if word in WEATHER else key) == word, (phrase, got)
    for word, forms in phrasing.MOTIONS_SAID.items():
        for do, does, doing in forms:
            for text in (f"let a dog {do}", f"a dog that {does}", f"a dog {doing}"):
                assert parse(text).get("motion") == word, text


def test_text_replaces_a_users_media_by_captions_in_brackets():
    talk = dialogue(1, kind="describe_without_words")
    (role, said), (_, reply) = as_text(talk)
    assert (role, said) == ("user", f"({talk.turns[0].slots[0].caption})")
    assert talk.turns[0].slots[0].caption in reply
    (_, asked), (_, reply) = as_text(dialogue(1, kind="make_image"))
    assert "(" not in asked + reply
    for turns in text_corpus(0, 300):
        for role, words in turns:
            assert words
            assert role == "user" or not _leaks(words)


def test_the_language_is_small_and_replies_are_smaller(training):
    words = {"user": Counter(), "assistant": Counter()}
    for talk in training:
        for turn in talk.turns:
            words[turn.role].update(re.findall(r"[a-z]+", turn.text.lower()))
    common = {word for word, count in words["user"].items() if count > 1}
    assert len(common) < 900
    assert len(words["assistant"]) < 250
    assert len(words["assistant"]) < len(common)
