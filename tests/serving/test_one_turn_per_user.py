"""Who has two talks, or two windows, has one running reply all the same; others are not in the way."""

import os

import pytest

from nextgpt_chat.errors import BusyError
from nextgpt_chat.serving import ChatService, Runner, TalkStore, chat_service
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
