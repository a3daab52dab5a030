"""What each update of a turn does to the page, without a browser."""

import threading
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import soundfile

from nextgpt_chat.content import Image, MediaPart
from nextgpt_chat.serving import ChatService, DataFolder, Runner, TalkStore
from nextgpt_chat.serving.media_files import MediaFiles
from nextgpt_chat.web.answers import Answers
from nextgpt_chat.web.handlers import Talking, Talks, Visits, talking
from nextgpt_chat.web.identity import COOKIE
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


def given(update):
    """Words and files that an update gives to the composer."""
    back = update[5]
    return None if back == gr.skip() else (back["text"], [file["path"] for file in back["files"]])


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
    for files in ([note], []):
        *_, last = handlers.send({"text": "crash", "files": files}, None)
        assert given(last) == ("crash", files) and last[1] == gr.skip()


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
    began, seen = threading.Event(), []

    def follow(message):
        for update in handlers.send({"text": message, "files": [note]}, None, request):
            if update[1] != gr.skip():
                seen.append((message, update[1]["text"]))
            if given(update):
                seen.append((message, given(update)[0]))
            began.set()

    first = threading.Thread(target=follow, args=("draw it",))
    first.start()
    began.wait()
    follow("and a sound")
    first.join()
    assert seen.count(("draw it", "")) > 1 and seen[-1] == ("and a sound", "and a sound")


@pytest.fixture
def said(monkeypatch):
    """What the page is told."""
    said = []
    for way in ("Info", "Warning"):
        monkeypatch.setattr(gr, way, lambda words, **_: said.append(words))
    return said


PAGE = gr.Request(session_hash="page")


def press(handlers, do, of=0, text=""):
    """The updates of a press on a button in a message."""
    return handlers.act(gr.EventData(None, {"do": do, "of": str(of), "text": text}), None, PAGE)


@pytest.fixture
def waiting(handlers):
    """A talk of one message and its reply, and another visitor's turn, which comes first from now on."""
    list(handlers.send({"text": "hello", "files": []}, None, PAGE))
    other = handlers.send({"text": "many words", "files": []}, None, gr.Request(session_hash="other"))
    next(other), next(other)
    yield
    other.close()


def test_an_edit_that_is_stopped_before_its_reply_gives_its_words_to_the_composer(handlers, waiting, said):
    edit = press(handlers, "edit", text="other words")
    next(edit), next(edit)
    handlers.stop(None, PAGE)
    *_, last = edit
    assert given(last) == ("other words", [])
    assert said == ["Stopped before the reply began; your message is back in the box."]
    assert "hello" in str(last[0]) and "other words" not in str(last[0])


def test_a_retry_that_is_stopped_before_its_reply_is_only_said_to_be_stopped(handlers, waiting, said):
    retry = handlers.retry(None, PAGE)
    next(retry), next(retry)
    handlers.stop(None, PAGE)
    *_, last = retry
    assert given(last) is None and said == ["Stopped."]


def test_a_page_that_is_loaded_again_gets_the_message_back_that_is_stopped_before_its_reply(
    handlers, waiting, said, note
):
    cookie = {"cookie": f"{COOKIE}={handlers.service.store.new_browser_id()}"}
    before = SimpleNamespace(session_hash="before", headers=cookie, query_params={})
    sent = handlers.send({"text": "and more", "files": [note]}, None, before)
    next(sent), next(sent)
    talk = handlers.visits.session(None, before).talk.id
    loaded = SimpleNamespace(session_hash="loaded", headers=cookie, query_params={"talk": talk})
    followed = handlers.follow(None, loaded)
    next(followed)
    handlers.stop(None, loaded)
    *_, last = followed
    text, (path,) = given(last)
    assert text == "and more" and Path(path).name == "note.wav" and "back in the box" in said[0]
    sent.close()


def test_an_open_talk_that_is_pressed_again_is_not_followed_twice(handlers, waiting, said):
    sent = handlers.send({"text": "and more", "files": []}, None, PAGE)
    next(sent), next(sent)
    session = handlers.visits.session(None, PAGE)
    picked = Talks(handlers.visits)._shown(session)
    assert picked[0] == gr.skip() and picked[1]["visible"]
    (update,) = handlers.follow(None, PAGE)
    assert [one == gr.skip() for one in update] == [True, True, True, False, True, True]
    handlers.stop(None, PAGE)
    *_, last = sent
    assert given(last) == ("and more", []) and len(said) == 1
    assert Talks(handlers.visits)._shown(session)[0] != gr.skip()


def test_a_talk_that_is_pressed_twice_at_once_is_followed_once(handlers, waiting, monkeypatch):
    sent = handlers.send({"text": "and more", "files": []}, None, PAGE)
    next(sent), next(sent)
    handlers.visits.session(None, PAGE).watched = None  # as if another page had sent it
    listing, updates = talking.talk_list, []

    def listed(*given):
        monkeypatch.setattr(talking, "talk_list", listing)
        updates.extend(handlers.follow(None, PAGE))
        return listing(*given)

    monkeypatch.setattr(talking, "talk_list", listed)
    first = handlers.follow(None, PAGE)
    next(first)
    assert len(updates) == 1
    first.close()


def test_an_edit_that_is_refused_gives_its_words_to_the_composer(handlers, waiting, said):
    first = press(handlers, "edit", text="other words")
    next(first), next(first)
    *_, last = press(handlers, "edit", text="yet others")
    assert given(last) == ("yet others", []) and "still being made" in said[0]
    first.close()


def test_a_medium_that_is_used_goes_into_a_message_of_another_talk_under_a_name_to_read(handlers, note):
    list(handlers.send({"text": "draw it", "files": [note]}, None, PAGE))
    session = handlers.visits.session(None, PAGE)
    (picture,) = session.conversation.turns[1].media
    _, (used,) = given(*press(handlers, "use", picture.id))
    assert Path(used).name == f"{picture.caption}.png"
    _, (again,) = given(*press(handlers, "use", picture.id))
    assert again == used
    text, (taken_back,) = given(handlers.undo(None, PAGE))
    assert text == "draw it" and Path(taken_back).name == "note.wav"
    handlers.clear(None, PAGE)
    list(handlers.send({"text": "", "files": [used, taken_back]}, None, PAGE))
    assert [part.name for part in session.conversation.turns[0].media] == [f"{picture.caption}.png", "note.wav"]
    handlers.service.sessions.close(session.id)
    assert not Path(used).exists() and not Path(taken_back).exists()


@pytest.mark.parametrize(
    ("name", "caption", "called"),
    [
        ("photo.one.jpg", "a car", "photo.one.png"),
        ("", "a red car. It is big", "a red car. It is big.png"),
        ("", 'x/../"<y>\ud800', "x .. y.png"),
        ("..", "", "Bild.png"),
        ("", "🚗" * 99 + "é" * 99, "é" * 60 + ".png"),
    ],
)
def test_a_medium_to_be_sent_is_called_by_a_harmless_name(tmp_path, name, caption, called):
    part = MediaPart(Image(np.zeros((4, 4, 3), np.uint8)), name=name, caption=caption)
    path = MediaFiles(tmp_path).named_path_of(part, "Bild")
    assert path.name == called and path.is_file()


def test_a_reply_that_is_rated_while_the_next_one_is_made_shows_it_at_once(handlers, waiting):
    following = handlers.send({"text": "and more", "files": []}, None, PAGE)
    next(following), next(following)
    list(press(handlers, "like", 1))
    handlers.stop(None, PAGE)
    shown = next(following)[0]
    assert 'class="act chosen" name="like"' in str(shown[1])
    following.close()
