"""Who has two talks, or two windows, has one running reply all the same; others are not in the way."""

import os
import threading
import time

import pytest

from nextgpt_chat.errors import BusyError
from nextgpt_chat.serving import ChatService, Runner, TalkStore, chat_service
from nextgpt_chat.serving.talk_library import Cleaned
from tests.fake_pipeline import FakePipeline


@pytest.fixture
def service(tmp_path):
    runner = Runner(lambda: FakePipeline(steps=4, pause=0.02))
    runner.start()
    service = ChatService(runner, tmp_path / "shown", store=TalkStore(tmp_path / "kept"))
    yield service
    service.close()


def owner(service):
    return service.store.owner_of(service.store.new_browser_id())


def test_a_user_has_one_running_turn_in_all_talks_together(service):
    me, other = owner(service), owner(service)
    first, second, strangers = service.session(None, me), service.session(None, me), service.session(None, other)
    job = service.send(first, "many words")
    with pytest.raises(BusyError, match=r"another one of your talks.*press Stop"):
        service.send(second, "hello")
    assert len(second.conversation) == 0
    waiting = service.send(strangers, "hello")
    assert service.stop(first) and job.ended.wait(timeout=10)
    again = service.send(second, "hello")
    assert waiting.ended.wait(timeout=10) and again.ended.wait(timeout=10)
    assert [session.conversation.turns[-1].text for session in (second, strangers)] == ["You said: hello"] * 2


def test_a_talk_whose_first_message_waits_is_deleted_without_ado(service):
    first, second = (service.session(None, owner(service)) for _ in range(2))
    service.send(first, "many words")
    waiting = service.send(second, "hello")
    service.clear(second)
    assert waiting.undone and not second.conversation.turns and not service.store.talks(second.owner)
    service.send(second, "hello again")
    assert [talk.title for talk in service.store.talks(second.owner)] == ["hello again"]


def test_of_two_talks_that_are_opened_at_once_the_one_pressed_last_is_shown(service, monkeypatch):
    mine = owner(service)
    page, ids = service.session(None, mine), []
    for words in ("one", "two"):
        service.new(page)
        list(service.send(page, words).events())
        ids.append(page.talk.id)
    service.new(page)
    service._talks.clear()
    load, go = service.store.load, threading.Event()
    monkeypatch.setattr(service.store, "load", lambda who, talk: (talk == ids[1] or go.wait(60)) and load(who, talk))
    slow = threading.Thread(target=service.open, args=(page, ids[0]))
    slow.start()
    while page.asked != ids[0]:
        time.sleep(0.001)
    service.open(page, ids[1])
    go.set()
    slow.join()
    assert page.talk.id == ids[1]


def test_a_clean_up_goes_on_past_a_talk_that_was_deleted_and_is_shown_still(service, monkeypatch):
    mine = owner(service)
    shown = [service.session(None, mine) for _ in range(2)]
    for page in shown:
        list(service.send(page, "hello").events())
    service.delete(mine, shown[0].talk.id)
    assert shown[0].talk.closed
    read = []
    monkeypatch.setattr(service.store, "clean", lambda: Cleaned(old=1))
    monkeypatch.setattr(service, "_talks", dict(enumerate(page.talk for page in shown)))
    monkeypatch.setattr(service._keeper, "load", lambda talk, talk_id: read.append(talk_id))
    service.clean()
    assert read == [shown[1].talk.id]


def test_a_turn_that_fails_or_is_refused_lets_the_next_one_in(service, tmp_path):
    me = owner(service)
    first, second = service.session(None, me), service.session(None, me)
    assert service.send(first, "crash").ended.wait(timeout=10)
    with pytest.raises(Exception, match="none"):
        service.send(first, "look", [tmp_path / "none.png"])
    job = service.send(second, "hello")
    assert job.ended.wait(timeout=10) and job.error is None and not job.undone


def test_a_disk_that_fails_costs_a_picture_and_shuts_nobody_out(service, monkeypatch):
    def refused(*paths):
        raise PermissionError(13, "Permission denied")

    session = service.session(None, owner(service))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        job = service.send(session, "draw a car")
        said = [getattr(event, "message", "") for event in job.events()]
    assert not job.undone and any("could not be stored" in words and "disk" in words for words in said)
    assert service.send(session, "hello").ended.wait(timeout=10)
    assert session.conversation.turns[-1].text == "You said: hello"


@pytest.mark.parametrize("what", ["end", "take_back", "change"])
def test_whatever_fails_when_a_turn_ends_the_next_one_is_let_in(service, monkeypatch, what):
    def failed(*args):
        raise OSError("no such device")

    session = service.session(None, owner(service))
    assert service.send(session, "draw a car").ended.wait(timeout=10)
    picture = session.conversation.turns[-1].media[0]
    begin = {
        "end": lambda: service.send(session, "hello"),
        "take_back": lambda: service.send(session, "crash"),
        "change": lambda: service.again(session, picture.id, "seed"),
    }[what]
    with monkeypatch.context() as patch:
        patch.setattr(chat_service.TalkKeeper, what, failed)
        assert begin().ended.wait(timeout=10)
    assert not session.busy
    assert service.send(service.session(None, session.owner), "hello").ended.wait(timeout=10)
