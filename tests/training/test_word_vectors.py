import random

import pytest
import torch

from nextgpt_chat.content import MediaPart, TextPart
from nextgpt_chat.picturebook import Clip, Scene, parse
from nextgpt_chat.picturebook.dialogues import dialogue
from nextgpt_chat.prompting import make_template
from nextgpt_chat.training import language, word_vectors
from tests.tiny import tiny_language_model

OTHERS = ["about", "again", "always"]
DOG = tuple({"thing": "dog", "colour": "red", "size": "big", "position": "left", "place": "grass"}.items())


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_language_model(tmp_path_factory.mktemp("lm"))


def read(lm, one, seed=0, others=OTHERS):
    return word_vectors.read_dialogue(one, others, random.Random(seed))


def media_of(turns):
    return [part.media.sha256 for turn in turns for part in turn.parts if isinstance(part, MediaPart)]


def test_the_order_of_words_does_not_matter_but_what_they_are_said_of_does(lm, monkeypatch):
    monkeypatch.setattr(word_vectors, "NOISE", 0.0)
    vectors = word_vectors.WordVectors(lm)
    there, back = (("position", "left"), ("speed", "slow")), (("speed", "slow"), ("position", "left"))
    swapped = (("position", "slow"), ("speed", "left"))
    one, same, other = vectors.of([there, back, swapped])
    assert torch.allclose(one, same, atol=1e-6)
    assert (one - other).norm() > 0.3 * one.norm()


def test_noise_and_media_from_outside_the_world_differ_every_time(lm):
    vectors = word_vectors.WordVectors(lm)
    one, again, unknown, another = vectors.of([DOG, DOG, (), ()])
    assert not torch.equal(one, again)
    assert not torch.equal(unknown, another)


def test_media_stand_where_they_stood_and_the_last_reply_is_text(lm):
    rng = random.Random(0)
    for _ in range(50):
        one = dialogue(rng, kind="change_image")
        turns = read(lm, one)
        assert all(isinstance(part, TextPart) for part in turns[-1].parts)
        shown = [slot for turn in one.turns[:-1] for slot in turn.slots]
        assert len(media_of(turns)) == len(shown)


def test_words_put_in_the_place_of_others_are_in_the_vector_and_in_the_reply(lm):
    rng, replaced = random.Random(0), 0
    for number in range(100):
        one = dialogue(rng, kind="describe_image")
        turns = read(lm, one, number)
        (said,) = media_of(turns)
        new = [word for _, word in said if word in OTHERS]
        before, after = one.turns[-1].text, turns[-1].parts[0].text
        assert (before != after) == bool(new)
        if new:
            replaced += 1
            assert new[0] in after.split()
            lost = set(dict(word_vectors.said_of(one.turns[0].slots[0])).values()) - {word for _, word in said}
            assert len(lost) == 1 and not lost & set(after.rstrip(".").split())
    assert 20 < replaced < 80


def test_nothing_is_replaced_without_other_words(lm):
    for number in range(20):
        one = dialogue(number, kind="describe_image")
        assert read(lm, one, number, [])[-1].parts[0].text == one.turns[-1].text


def test_other_words_are_single_tokens_that_name_nothing_of_the_world(lm):
    words = word_vectors.single_words(lm)
    assert words
    for word in words:
        assert len(lm.text.encode(word)) == 1
        assert not parse(word)


def test_a_clip_is_said_by_six_words():
    clip = Clip(Scene("dog", "red", "big", "left", "grass"), "moves right")

    class Slot:
        value = clip

    assert dict(word_vectors.said_of(Slot)) == {**dict(DOG), "motion": "moves right"}


def test_the_loss_reads_vectors_and_does_not_predict_them(lm):
    template = make_template("clean", lm.text, lm.signals)
    one = dialogue(3, kind="describe_image")
    rows = [language.dialogue_keys(template, read(lm, one, others=[]))]
    places = [place for place, key in enumerate(rows[0]) if word_vectors.is_medium(key)]
    assert len(places) == 1

    class Vectors:
        def __init__(self, value):
            self.vector = torch.full((1, lm.width), value, requires_grad=True)

        def of(self, said):
            assert said == (word_vectors.said_of(one.turns[0].slots[0]),)
            return self.vector

    small, large = Vectors(0.1), Vectors(-3.0)
    losses = [language.next_token_loss(lm, rows, vectors) for vectors in (small, large)]
    assert losses[0] != losses[1]
    losses[0].backward()
    assert small.vector.grad.abs().sum() > 0
