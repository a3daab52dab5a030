"""A medium of an earlier reply made again: the same with the same settings, another with others."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_image
from tiny_checkpoint import tiny_pipeline

from nextgpt_chat import Conversation, GenerationSettings
from nextgpt_chat.content import Finished, MediaPart, MediaProgress, MediaReady, TextPart, Turn
from nextgpt_chat.conversation import REMADE, add_remade, find_generated
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.model import Example
from nextgpt_chat.prompting import SignalSegment

SETTINGS = GenerationSettings().with_value("image.steps", 2).with_value("audio.steps", 2).with_value("video.steps", 2)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture
def talk(pipe):
    """A talk whose reply has no words, so that its ids are known: the random model's words mean nothing."""
    conv = Conversation()
    conv.add_user("draw a red car, and its sound and a clip")
    settings = SETTINGS.with_value("text.max_new_tokens", 1).with_value("text.temperature", 0.0)
    pipe.reply(conv, settings, seed=5, modalities={"image", "audio", "video"})
    reply = conv.turns[-1]
    assert [part.kind for part in reply.parts] == ["image", "audio", "video"]
    return conv


def remade(pipe, conv, part, settings=SETTINGS, seed=5):
    *events, last = pipe.remake(conv, part.id, settings, seed)
    assert isinstance(last, Finished)
    ready = next(event for event in events if isinstance(event, MediaReady))
    assert last.reply.parts == (ready.part,)
    return ready.part


def array(part):
    media = part.media
    return np.asarray(getattr(media, {"image": "pixels", "audio": "samples", "video": "frames"}[part.kind]), np.float32)


def test_a_run_is_read_as_it_was_trained(pipe, talk, monkeypatch):
    upload, picture, sound, _ = (MediaPart(tiny_image()), *talk.turns[-1].parts)
    turns = (
        Turn("user", (upload, TextPart("draw it at night"))),
        Turn("assistant", (TextPart("Here it is."), picture, TextPart("It sounds like this."), sound)),
    )
    conditioned = []
    render = pipe._parts.renderer.render

    def watched(ident, decoder, conditioning, *options):
        conditioned.append(conditioning)
        return render(ident, decoder, conditioning, *options)

    monkeypatch.setattr(
        pipe._parts.renderer, "render", lambda i, d, c, *o: conditioned.append(c) or render(i, d, c, *o)
    )
    list(pipe.remake(Conversation(turns), sound.id, SETTINGS))

    model = pipe.model
    example = Example(pipe._parts.template.example(turns), ())
    embeds, mask, _ = model.batch([example])
    start = 0
    for segment in example.segments:
        if isinstance(segment, SignalSegment) and segment.kind == "audio":
            break
        start += segment.positions if hasattr(segment, "positions") else len(segment.ids)
    run = slice(start, start + len(segment.ids))
    with torch.no_grad():
        states = model.language_model.states(embeds, mask)
        expected = model.conditioning_of("audio", states[:, run], embeds[:, run])
    assert torch.allclose(conditioned[0], expected, atol=1e-5)


def test_a_run_of_a_reply_whose_words_were_not_shown_is_read_with_them(pipe, talk, monkeypatch):
    picture, sound, _ = talk.turns[-1].parts
    picture, sound = replace(picture, caption="Here it is."), replace(sound, caption="It sounds like this.")
    conditioned = []
    render = pipe._parts.renderer.render
    monkeypatch.setattr(
        pipe._parts.renderer, "render", lambda i, d, c, *o: conditioned.append(c) or render(i, d, c, *o)
    )
    for parts in (
        (TextPart("Here it is."), picture, TextPart("It sounds like this."), sound),
        (picture, sound),
    ):
        turns = (Turn("user", (TextPart("draw it at night"),)), Turn("assistant", parts))
        list(pipe.remake(Conversation(turns), sound.id, SETTINGS))
    shown, hidden = conditioned
    assert torch.equal(shown, hidden)


def test_with_the_same_settings_it_is_the_same_again(pipe, talk):
    first = talk.turns[-1].media[0]
    assert np.array_equal(array(remade(pipe, talk, first)), array(remade(pipe, talk, first)))


def test_another_seed_gives_another_and_the_words_stay(pipe, talk):
    first = talk.turns[-1].media[0]
    other = remade(pipe, talk, first, seed=6)
    assert not np.array_equal(array(first), array(other))
    assert other.details["seed"] == 6 and other.details[REMADE] == first.id and other.caption == first.caption
    assert other.generated and len(talk.turns[-1].parts) == 3  # the talk is its owner's to change


def test_caption_conditioning_and_steps_are_taken(pipe, talk):
    first = talk.turns[-1].media[0]
    by_words = remade(pipe, talk, first, SETTINGS.with_value("conditioning", "caption"))
    longer = remade(pipe, talk, first, SETTINGS.with_value("image.steps", 3))
    assert by_words.details["conditioning"] == "caption" and longer.details["steps"] == 3
    assert not np.array_equal(array(by_words), array(longer))


def test_the_new_one_stands_behind_its_first_and_is_no_first_itself(pipe, talk):
    turns = talk.turns
    first = turns[-1].media[1]
    second = remade(pipe, talk, first, seed=6)
    assert add_remade(talk, second) == 1
    third = remade(pipe, talk, second, seed=7)
    add_remade(talk, third)
    assert [part.id for part in talk.turns[-1].parts] == [
        turns[-1].parts[0].id,
        first.id,
        second.id,
        third.id,
        turns[-1].parts[2].id,
    ]
    assert third.details[REMADE] == first.id
    assert find_generated(talk.turns, third.id)[1].id == first.id
    same = remade(pipe, talk, third, seed=7)  # those made again change nothing for the next
    assert np.array_equal(array(same), array(third))


@pytest.mark.parametrize("of", ["itself", "gone", 7, ["a"]])
def test_a_talk_that_says_anything_of_what_was_made_again_is_refused_in_words(talk, of):
    first = talk.turns[-1].media[0]
    strange = replace(first, id="itself", details={REMADE: of})
    turns = (*talk.turns[:-1], replace(talk.turns[-1], parts=(strange,)))
    with pytest.raises(NextGPTError, match="no such picture"):
        find_generated(turns, "itself")


def test_stopping_ends_within_a_step_and_gives_nothing(pipe, talk, monkeypatch):
    cancel, steps_done = threading.Event(), []
    decoder = pipe.model.decoders["image"]
    predict = decoder._predict  # steps are counted where they are made: the decoder does not wait for who reads
    monkeypatch.setattr(decoder, "_predict", lambda *given: steps_done.append(cancel.is_set()) or predict(*given))
    for event in pipe.remake(talk, talk.turns[-1].media[0].id, SETTINGS.with_value("image.steps", 100), 5, cancel):
        if isinstance(event, MediaProgress):
            cancel.set()
        last = event
    assert sum(steps_done) <= 1 and len(steps_done) < 100
    assert last.reply.cancelled and not last.reply.parts


def test_uploads_and_strangers_are_refused(pipe, talk):
    upload = replace(talk.turns[-1].media[0], generated=False, id="upload")
    other = Conversation([Turn("user", (TextPart("look"), upload)), Turn("assistant", (TextPart("I see"),))])
    for conv, name in ((other, "upload"), (talk, "nobody")):
        with pytest.raises(NextGPTError, match="no such picture"):
            pipe.remake(conv, name)


def test_in_a_talk_longer_than_the_context_it_is_made_from_what_the_reply_had_read(pipe, monkeypatch):
    conv = Conversation()
    for number in range(60):
        conv.add_user(f"a {number}")
        conv.add_assistant([TextPart("car")])
    conv.add_user("draw a red car")
    settings = SETTINGS.with_value("text.max_new_tokens", 1)
    left_out, fit = [], pipe._parts.template.fit

    def watched(turns, limit):
        prompt = fit(turns, limit)
        left_out.append(prompt.left_out)
        return prompt

    monkeypatch.setattr(pipe._parts.template, "fit", watched)
    pipe.reply(conv, settings, seed=5, modalities={"image"})
    remade(pipe, conv, conv.turns[-1].media[0], settings)
    first, again = left_out
    assert first > 0 and again == first
