"""Whose session an event is about: told by its id, or before the page has one, by the page."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from nextgpt_chat.serving import ChatService, DataFolder, Runner, TalkStore
from nextgpt_chat.web.handlers import Visits
from nextgpt_chat.web.identity import COOKIE
from tests.fake_pipeline import FakePipeline


@pytest.fixture
def visits(tmp_path):
    folder = DataFolder(tmp_path)
    service = ChatService(Runner(FakePipeline), folder.shown, store=TalkStore(folder.root))
    yield Visits(service)
    service.close()
    folder.close()


def request(page, browser=None, **address):
    headers = {} if browser is None else {"cookie": f"{COOKIE}={browser}"}
    return SimpleNamespace(session_hash=page, headers=headers, query_params=address)


def test_a_message_sent_before_the_page_knows_its_id_and_the_pages_opening_are_one_session(visits):
    browser = visits.service.store.new_browser_id()
    sent = visits.session(None, request("page1", browser))
    opened = visits.session(None, request("page1", browser))
    assert opened is sent and visits.session(sent.id, request("page1", browser)) is sent


def test_a_message_sent_while_the_talk_of_the_address_is_read_goes_into_it(visits, monkeypatch):
    store, browser = visits.service.store, visits.service.store.new_browser_id()
    talk = store.create(store.owner_of(browser))
    load, reading, go = store.load, threading.Event(), threading.Event()
    monkeypatch.setattr(store, "load", lambda *given: (reading.set(), go.wait(60)) and load(*given))
    with ThreadPoolExecutor() as pool:
        opened = pool.submit(visits.session, None, request("page1", browser, talk=talk))
        reading.wait(60)
        sent = pool.submit(lambda: visits.session(None, request("page1", browser, talk=talk)).talk.id)
        time.sleep(0.05)  # a session that is given too soon is given now
        go.set()
        assert sent.result() == opened.result().talk.id == talk


def test_what_a_page_shows_as_set_stays_set_when_gradio_gives_its_session_up(visits):
    one, other = (visits.service.store.new_browser_id() for _ in range(2))
    given_up = visits.session(None, request("page1", one))
    visits.service.set(given_up, "image.steps", 7)
    visits.service.set_modalities(given_up, {"text", "image"})
    visits.close(given_up.id)
    assert visits.service.sessions.get(given_up.id) is None
    assert visits.session(given_up.id, request("page2", one)).settings.image.steps is None
    again = visits.session(given_up.id, request("page1", one))
    assert again is not given_up and (again.settings.image.steps, again.modalities) == (7, {"text", "image"})
    visits.close(again.id)
    assert visits.session(None, request("page1", other)).settings.image.steps is None


def test_two_pages_of_one_browser_are_two_sessions(visits):
    browser = visits.service.store.new_browser_id()
    assert visits.session(None, request("page1", browser)) is not visits.session(None, request("page2", browser))


def test_another_browser_that_claims_a_page_gets_a_session_of_its_own(visits):
    one, other = (visits.service.store.new_browser_id() for _ in range(2))
    mine = visits.session(None, request("page1", one))
    theirs = visits.session(None, request("page1", other))
    assert theirs is not mine and theirs.owner != mine.owner
    assert visits.session(mine.id, request("page1", one)) is mine


def test_calls_without_a_page_are_sessions_of_their_own(visits):
    assert visits.session(None, None) is not visits.session(None, None)


def test_a_closed_session_is_not_given_out_again(visits):
    closed = visits.session(None, request("page1"))
    visits.service.sessions.close(closed.id)
    assert visits.session(None, request("page1")) is not closed
