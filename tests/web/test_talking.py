"""What each update of a turn does to the page, without a browser."""

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
    runner = Runner(FakePipeline)
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
