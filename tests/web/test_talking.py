"""What each update of a turn does to the page, without a browser."""

import threading

import gradio as gr
import pytest

from nextgpt_chat.serving import ChatService, DataFolder, Runner, TalkStore
from nextgpt_chat.web.answers import Answers
from nextgpt_chat.web.handlers import Talking, Visits, talking
from tests.fake_pipeline import FakePipeline

EMPTY = {"text": "", "files": []}


@pytest.fixture
def handlers(tmp_path):
    folder = DataFolder(tmp_path)
    runner = Runner(lambda: FakePipeline(steps=12, pause=0.02))
    runner.start()
    service = ChatService(runner, folder.shown, store=TalkStore(folder.root))
    yield Talking(Visits(service), [], Answers(None))
    service.close()
    folder.close()


def composers(handlers, message):
    """What the composer is updated with, update by update."""
    return [update[1] for update in handlers.send({"text": message, "files": []}, None)]


def test_the_composer_is_emptied_by_more_than_one_update_and_then_left_alone(handlers, monkeypatch):
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", 1e9)
    assert len(updates := composers(handlers, "draw it")) > 2 and all(update == EMPTY for update in updates)
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", -1)
    assert all(update == gr.skip() for update in composers(handlers, "draw it"))


def test_what_fails_goes_back_to_the_composer_even_at_once(handlers, monkeypatch):
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", 1e9)
    assert composers(handlers, "crash")[-1] == {"text": "crash", "files": []}


def test_a_message_given_back_is_not_emptied_by_the_one_before(handlers):
    request = gr.Request(session_hash="page")
    shown, began, seen = dict(EMPTY), threading.Event(), []

    def follow(message):
        for update in handlers.send({"text": message, "files": []}, None, request):
            if update[1] != gr.skip():
                shown.update(update[1])
                seen.append((message, update[1]["text"]))
            began.set()

    first = threading.Thread(target=follow, args=("draw it",))
    first.start()
    began.wait()
    follow("and a sound")
    first.join()
    assert seen.count(("draw it", "")) > 1 and seen[-1] == ("and a sound", "and a sound")
    assert shown["text"] == "and a sound"
