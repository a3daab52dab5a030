"""What each update of a turn does to the page, without a browser."""

import threading

import gradio as gr
import numpy as np
import pytest
import soundfile

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


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "note.wav"
    soundfile.write(path, np.zeros(8000), 16_000)
    return str(path)


def composers(handlers, message, *files):
    """What the composer is updated with, update by update."""
    return [update[1] for update in handlers.send({"text": message, "files": list(files)}, None)]


def test_files_leave_the_composer_by_more_than_one_update_and_then_it_is_left_alone(handlers, monkeypatch, note):
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", 1e9)
    updates = composers(handlers, "draw it", note)
    assert len(updates) > 2 and all(update == EMPTY for update in updates)
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", -1)
    assert all(update == gr.skip() for update in composers(handlers, "draw it", note))


def test_what_is_written_after_a_message_of_words_alone_is_left_alone(handlers):
    assert all(update == gr.skip() for update in composers(handlers, "draw it"))


def test_what_fails_goes_back_to_the_composer_even_at_once(handlers, monkeypatch, note):
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", 1e9)
    assert composers(handlers, "crash", note)[-1] == {"text": "crash", "files": [note]}
    assert composers(handlers, "crash")[-1] == {"text": "crash", "files": []}


@pytest.mark.parametrize("again", [("draw it", True), ("", True), ("", False)])
def test_enter_pressed_twice_says_a_message_once(handlers, monkeypatch, note, again):
    monkeypatch.setattr(gr, "Warning", lambda *said, **_: pytest.fail(f"was told {said}"))
    text, whole = again
    request = gr.Request(session_hash="page")
    first = handlers.send({"text": "draw it", "files": [note]}, None, request)
    next(first)
    for update in handlers.send({"text": text, "files": [note] if whole else []}, None, request):
        assert update[:3] == (gr.skip(), gr.skip(), gr.skip())
    *_, last = first
    assert len([message for message in last[0] if message["role"] == "user"]) == 1


def test_a_message_given_back_is_not_emptied_by_the_one_before(handlers, monkeypatch, note):
    monkeypatch.setattr(talking, "EMPTYING_SECONDS", 1.5)  # on busy cores the second update may come after 0.4
    request = gr.Request(session_hash="page")
    shown, began, seen = dict(EMPTY), threading.Event(), []

    def follow(message):
        for update in handlers.send({"text": message, "files": [note]}, None, request):
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
