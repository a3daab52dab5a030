"""Changing a talk: an earlier message said anew, a medium made again, a reply rated."""

import os

import pytest
from fake_pipeline import FakePipeline

from nextgpt_chat.content import MediaReady
from nextgpt_chat.conversation import REMADE
from nextgpt_chat.errors import BusyError, NextGPTError
from nextgpt_chat.serving import ChatService, Runner, TalkStore


@pytest.fixture
def pipeline():
    return FakePipeline(steps=2)


@pytest.fixture
def service(pipeline, tmp_path):
    runner = Runner(lambda: pipeline)
    service = ChatService(runner, tmp_path / "shown", store=TalkStore(tmp_path / "kept"))
    runner.start()
    yield service
    service.close()


@pytest.fixture
def session(service):
    return service.session(None, service.store.owner_of("a" * 30))


def end(job):
    for _ in job.watch():
        pass
    return job


def say(service, session, text):
    return end(service.send(session, text))


def stored(service, session):
    return service.store.load(session.owner, session.talk.id).turns


def test_an_edited_message_replaces_what_followed(service, session):
    say(service, session, "first")
    say(service, session, "second")
    end(service.edit(session, 0, "other words"))
    assert [turn.text for turn in session.conversation.turns] == ["other words", "You said: other words"]
    assert stored(service, session) == session.conversation.turns


def test_an_edited_message_keeps_its_files(service, session, tmp_path):
    import PIL.Image

    PIL.Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    end(service.send(session, "what is it?", [str(tmp_path / "one.png")]))
    end(service.edit(session, 0, "what colour is it?"))
    media, words = session.conversation.turns[0].parts
    assert media.name == "one.png" and words.text == "what colour is it?"


@pytest.mark.parametrize("index", [1, 2, -1, 99])
def test_only_messages_of_the_users_can_be_edited(service, session, index):
    say(service, session, "first")
    before = session.conversation.turns
    with pytest.raises(NextGPTError, match="not in the talk"):
        service.edit(session, index, "no")
    assert session.conversation.turns == before and not session.busy


def test_a_reply_that_fails_brings_the_edited_talk_back(service, session):
    say(service, session, "first")
    say(service, session, "second")
    before = session.conversation.turns
    with pytest.raises(RuntimeError):
        end(service.edit(session, 0, "crash"))
    assert session.conversation.turns == before == stored(service, session)


@pytest.mark.parametrize(
    ("how", "same_seed", "steps", "conditioning"),
    [("seed", False, 4, "signal"), ("steps", True, 8, "signal"), ("conditioning", True, 4, "caption")],
)
def test_a_medium_made_again_stands_beside_the_first(service, session, how, same_seed, steps, conditioning):
    say(service, session, "draw a car and the sound of it")
    words, first, sound = session.conversation.turns[-1].parts
    end(service.again(session, first.id, how))
    parts = session.conversation.turns[-1].parts
    assert [parts[0], parts[1], parts[3]] == [words, first, sound]
    again = parts[2].details
    assert (again["seed"] == first.details["seed"]) is same_seed
    assert (again["steps"], again["conditioning"], again[REMADE]) == (steps, conditioning, first.id)
    assert stored(service, session) == session.conversation.turns and not session.busy


def test_a_medium_is_made_again_with_the_settings_chosen_now(service, session):
    say(service, session, "draw a car")
    service.set(session, "image.steps", 7)
    end(service.again(session, session.conversation.turns[-1].media[0].id, "settings"))
    assert session.conversation.turns[-1].media[1].details["steps"] == 7


def test_all_media_of_a_reply_are_made_again_beside_their_firsts_to_compare(service, session):
    say(service, session, "draw a car with the sound of it")
    words, picture, sound = session.conversation.turns[-1].parts
    end(service.compare(session, 1, "conditioning"))
    again = session.conversation.turns[-1].parts
    assert again[:2] == (words, picture) and again[3] == sound and len(again) == 5
    for first, other in ((picture, again[2]), (sound, again[4])):
        assert other.kind == first.kind and other.details[REMADE] == first.id
        assert other.details["conditioning"] == "caption" and other.details["seed"] == first.details["seed"]
    service.set(session, "image.steps", 7)
    end(service.compare(session, 1, "settings"))
    kinds = [(part.kind, part.details["steps"]) for part in session.conversation.turns[-1].media]
    assert len(kinds) == 6 and ("image", 7) in kinds and stored(service, session) == session.conversation.turns


def test_a_comparison_stopped_half_way_keeps_what_was_made(service, session, pipeline):
    say(service, session, "draw a car with the sound of it")
    seen = []
    job = service.compare(session, 1, "conditioning")
    for event in job.watch():
        seen.append(event)
        if isinstance(event, MediaReady):
            pipeline.steps, pipeline.pause = 500, 0.01
            service.stop(session)
    assert not job.undone and len(session.conversation.turns[-1].media) == 3
    assert stored(service, session) == session.conversation.turns


@pytest.mark.parametrize("index", [0, 5, -1])
def test_only_a_reply_with_media_can_be_compared(service, session, index):
    say(service, session, "draw a car")
    say(service, session, "hello")
    with pytest.raises(NextGPTError, match="no picture, sound or clip"):
        service.compare(session, index, "conditioning")
    assert not session.busy


def test_a_later_turn_stays_as_it_is_when_an_earlier_medium_is_made_again(service, session):
    say(service, session, "draw a car")
    say(service, session, "forget this")
    noticed = service.store.notices(session.owner, session.talk.id)
    end(service.again(session, session.conversation.turns[1].media[0].id, "seed"))
    assert len(session.conversation.turns[1].media) == 2 and len(session.conversation) == 4
    assert service.store.notices(session.owner, session.talk.id) == noticed != {}


def test_nothing_is_made_again_for_strangers_words_or_in_unknown_ways(service, session):
    say(service, session, "draw a car")
    part = session.conversation.turns[-1].media[0]
    other = service.session(None, service.store.owner_of("b" * 30))
    for who, part_id, how in ((other, part.id, "seed"), (session, "x", "seed"), (session, part.id, "__class__")):
        with pytest.raises(NextGPTError):
            service.again(who, part_id, how)
        assert not who.busy


def test_a_stopped_remake_changes_nothing_and_nothing_else_runs_meanwhile(service, session, pipeline):
    say(service, session, "draw a car")
    before = session.conversation.turns
    pipeline.steps, pipeline.pause = 500, 0.01
    job = service.again(session, before[-1].media[0].id, "seed")
    with pytest.raises(BusyError):
        service.send(session, "hello")
    service.stop(session)
    assert end(job).undone
    assert session.conversation.turns == before == stored(service, session) and pipeline.steps_done < 100


def test_a_reply_is_rated_and_the_rating_taken_back(service, session):
    say(service, session, "draw a car")
    store, owner, talk = service.store, session.owner, session.talk.id
    store.rate(owner, talk, 1, False, "  not red ")
    assert store.ratings(owner, talk) == {1: (False, "not red")}
    end(service.again(session, session.conversation.turns[1].media[0].id, "seed"))
    assert store.ratings(owner, talk) == {1: (False, "not red")}
    store.rate(owner, talk, 1, None)
    assert store.ratings(owner, talk) == {}
    with pytest.raises(NextGPTError):
        store.rate(owner, talk, 5, True)
    with pytest.raises(NextGPTError):
        store.ratings(store.owner_of("c" * 30), talk)


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_said_with_a_reply_stands_beside_it_until_it_goes(service, session, kept):
    session = session if kept else service.session(None)
    say(service, session, "hello")
    say(service, session, "forget it, then fail to draw a car")
    left_out, failed = session.talk.notices[3]
    assert "left out" in left_out and "not enough memory" in failed
    service.rate(session, 3, True)
    assert session.talk.notices == {3: (left_out, failed)}
    if kept:
        assert service.store.notices(session.owner, session.talk.id) == session.talk.notices
    end(service.edit(session, 2, "thanks"))
    assert session.talk.notices == {} == session.talk.ratings
    say(service, session, "forget it")
    service.undo(session)
    assert session.talk.notices == {}
    say(service, session, "forget it")
    service.clear(session)
    assert session.talk.notices == {}


def test_a_retry_that_comes_to_nothing_leaves_what_stood_beside_the_reply(service, session, pipeline):
    say(service, session, "forget it")
    service.rate(session, 1, True, "short")
    noticed = dict(session.talk.notices)
    pipeline.stream = lambda *args, **kwargs: iter(())
    assert end(service.retry(session)).undone
    assert session.talk.notices == noticed == service.store.notices(session.owner, session.talk.id) != {}
    assert session.talk.ratings == {1: (True, "short")} == service.store.ratings(session.owner, session.talk.id)


def test_a_retry_that_cannot_begin_leaves_what_is_stored_beside_the_reply(service, session, monkeypatch):
    say(service, session, "forget it")
    service.rate(session, 1, False, "long")

    def full(*args):
        raise NextGPTError("the disk is full")

    monkeypatch.setattr(service.store, "begin_reply", full)
    with pytest.raises(NextGPTError, match="disk is full"):
        service.retry(session)
    assert service.store.notices(session.owner, session.talk.id) == session.talk.notices != {}
    assert service.store.ratings(session.owner, session.talk.id) == session.talk.ratings == {1: (False, "long")}


def test_what_could_not_be_stored_is_said_beside_the_reply(service, session, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    say(service, session, "draw a car")
    (said,) = session.talk.notices[1]
    assert "could not be stored" in said
