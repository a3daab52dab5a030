"""Pages that wait for a model which is still loading, as the server sees them."""

import json
import threading
import time
from types import SimpleNamespace

import httpx
import pytest

from nextgpt_chat.serving import Waiting
from nextgpt_chat.web import PageOptions, launch
from nextgpt_chat.web.handlers import talking
from nextgpt_chat.web.messages import LiveReply
from tests.fake_pipeline import FakePipeline

PAGES = 45
"""More than the 40 threads that a server has by default."""


@pytest.fixture
def loading(tmp_path):
    """An app whose model does not come before the test is over."""
    over = threading.Event()

    def load():
        over.wait(60)
        return FakePipeline()

    app = launch(load, PageOptions(port=0, data_dir=str(tmp_path), queue_size=PAGES), block=False, quiet=True)
    yield app
    over.set()
    app.close()


def say(app, session):
    """A page without cookies sends a message; the address of its event stream."""
    at = f"{app.page.local_url}gradio_api/queue"
    send = next(i for i, fn in app.page.fns.items() if getattr(fn.fn, "__name__", "") == "send")
    body = {"data": [{"text": "hello", "files": []}, None], "fn_index": send, "session_hash": session}
    assert httpx.post(f"{at}/join", json=body).status_code == 200
    return f"{at}/data?session_hash={session}"


def until(true):
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def waiting(app):
    return len(app.service.runner._jobs)


def test_the_page_opens_and_its_buttons_work_while_more_pages_wait_than_a_server_has_threads(loading):
    for page in range(PAGES):
        say(loading, f"page{page}")
    assert until(lambda: waiting(loading) == PAGES)
    assert httpx.get(loading.page.local_url, timeout=10).status_code == 200
    poll = next(i for i, fn in loading.page.fns.items() if getattr(fn.fn, "__name__", "") == "poll")
    body = {"data": [None], "fn_index": poll, "session_hash": "another"}
    answer = httpx.post(f"{loading.page.local_url}gradio_api/run/predict", json=body, timeout=10)
    assert "Loading" in answer.text


def test_a_page_without_cookies_that_goes_away_gives_its_place_in_the_line_back(loading):
    with httpx.stream("GET", say(loading, "leaver"), timeout=20) as stream:
        lines = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line)
        next(line for line in lines if "still loading" in str(line))
        assert waiting(loading) == 1
    assert until(lambda: waiting(loading) == 0)


def test_what_has_not_changed_is_told_again_now_and_then(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(talking, "time", SimpleNamespace(monotonic=lambda: next(clock) / 10))
    events = (Waiting(1, True) for _ in range(1000))
    told = list(talking.throttled(events, LiveReply(lambda part: "")))
    assert 50 < len(told) < 200 and all(message == told[0] for message in told)
