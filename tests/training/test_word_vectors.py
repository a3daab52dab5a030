import random

import pytest
import torch
from tiny import tiny_language_model

from nextgpt_chat.content import MediaPart, TextPart
from nextgpt_chat.picturebook import Clip, Scene, parse
from nextgpt_chat.picturebook.dialogues import dialogue
from nextgpt_chat.prompting import make_template
from nextgpt_chat.training import language, word_vectors, worlddata

WORDS = ["about", "again", "always", "please"]
OTHERS = dict.fromkeys(word_vectors.REPLACED, WORDS)
DOG = tuple({"thing": "dog", "colour": "red", "size": "big", "position": "left", "place": "grass"}.items())


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return tiny_language_model(tmp_path_factory.mktemp("lm"))


def read(one, seed=0):
    return word_vectors.as_read(word_vectors.with_other_words(one, OTHERS, random.Random(seed)))


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


CLIP = (*DOG, ("motion", "moves right"))
SOUND = (("source", "bell"), ("pitch", "low"), ("speed", "fast"))


@pytest.mark.parametrize("said", [DOG, CLIP, SOUND])
def test_a_blurred_vector_has_more_of_each_word_than_of_any_other_and_a_little_of_some(said):
    strongest = []
    for _ in range(50):
        weighed = {(name, word): weight for name, word, weight in word_vectors._blurred(said)}
        for name, word in said:
            others = [weight for (other, _), weight in weighed.items() if other == name]
            others.remove(weighed[name, word])
            assert others and max(others) <= weighed[name, word] - word_vectors.MARGIN + 1e-9
            strongest.append(max(others))
        extra = {name for name, _ in weighed} - {name for name, _ in said}
        assert extra == ({"motion"} if said is DOG else set())
    assert 0.05 < sum(strongest) / len(strongest) < 0.3 and max(strongest) <= 0.45


def test_only_a_blurred_vector_has_less_of_a_word_or_some_of_another(lm, monkeypatch):
    monkeypatch.setattr(word_vectors, "NOISE", 0.0)
    monkeypatch.setattr(word_vectors, "BLURRED_NOISE", 0.0)
    exact, blurred = word_vectors.WordVectors(lm), word_vectors.WordVectors(lm, blurred=True)
    assert torch.equal(*exact.of([SOUND, SOUND]))
    one, again = blurred.of([SOUND, SOUND])
    assert (one - again).norm() > 0.05 * one.norm()


def test_media_stand_where_they_stood_and_the_last_reply_is_text():
    rng = random.Random(0)
    for _ in range(50):
        one = dialogue(rng, kind="change_image")
        turns = read(one)
        assert all(isinstance(part, TextPart) for part in turns[-1].parts)
        shown = [slot for turn in one.turns[:-1] for slot in turn.slots]
        assert len(media_of(turns)) == len(shown)


@pytest.mark.parametrize("kind", ["describe_image", "describe_audio", "describe_video"])
def test_words_put_in_the_place_of_others_are_in_the_vector_and_in_the_reply(kind):
    rng, replaced = random.Random(0), 0
    for number in range(100):
        one = dialogue(rng, kind=kind)
        turns = read(one, number)
        (said,) = media_of(turns)
        before, after = one.turns[-1].text, turns[-1].parts[0].text
        meant = dict(word_vectors.said_of(one.turns[0].slots[0]))
        new = {name: word for name, word in said if word != meant[name]}
        assert (before != after) == bool(new)
        assert set(new) <= set(word_vectors.REPLACED)
        for name, word in new.items():
            assert word.split()[-1] in WORDS and word in after
            assert parse(after).get(name) != meant[name]
        replaced += bool(new)
    assert 30 < replaced < 100


def test_a_dialogue_with_several_media_is_left_as_it_is():
    for number in range(20):
        one = dialogue(number, kind="describe_several")
        assert word_vectors.with_other_words(one, OTHERS, random.Random(number)) is one


def test_other_words_are_never_said_of_what_they_stand_for(lm):
    words = word_vectors.other_words(lm)
    assert set(words) == set(word_vectors.REPLACED)
    for name, others in words.items():
        assert not set(others) & {part for word in worlddata.ATTRIBUTES[name] for part in word.split()}
        neutral = [word for word in others if not any(word in known for known in worlddata.ATTRIBUTES.values())]
        assert neutral and len(neutral) < len(others)
        assert not any(parse(word) for word in neutral)
        assert all(len(lm.text.encode(word)) == 1 for word in neutral)


def test_a_clip_is_said_by_six_words():
    clip = Clip(Scene("dog", "red", "big", "left", "grass"), "moves right")

    class Slot:
        value = clip

    assert dict(word_vectors.said_of(Slot)) == {**dict(DOG), "motion": "moves right"}


def test_the_loss_reads_vectors_and_does_not_predict_them(lm):
    template = make_template("clean", lm.text, lm.signals)
    one = dialogue(3, kind="describe_image")
    rows = [language.dialogue_keys(template, word_vectors.as_read(one))]
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
