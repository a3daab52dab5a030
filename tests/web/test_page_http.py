"""The page as a program sees it: endpoints, separate talks, and what is refused."""

import itertools
import json
import threading
import time
from pathlib import Path

import httpx
import PIL.Image
import pytest
from gradio_client import Client, handle_file

from nextgpt_chat.media import read_media, read_metadata


@pytest.fixture(scope="module")
def client(served):
    return Client(served.page.local_url, verbose=False, analytics_enabled=False)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.new("RGB", (64, 48), "green").save(path)
    return path


def session_of(served, text):
    """The session whose talk begins with these words."""
    sessions = list(served.service.sessions._sessions.values())
    return next(s for s in sessions if s.conversation.turns and s.conversation.turns[0].text == text)


def join(served, fn_index, data, session="forger1"):
    """The last message about what any program may post, past the page; None where it was refused."""
    base = f"{served.page.local_url}gradio_api"
    body = {"data": data, "fn_index": fn_index, "session_hash": session}
    answer = httpx.post(f"{base}/queue/join", json=body)
    if answer.status_code != 200:
        return None
    with httpx.stream("GET", f"{base}/queue/data", params={"session_hash": session}, timeout=20) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ") or "null")
            if message and message["msg"] == "process_completed":
                return message
    return None


def ask(served, text, session):
    """One turn through the endpoint for programs; the reply's words."""
    return join(served, function_index(served, "reply"), [text, [], None], session)["output"]["data"][0]


def function_index(served, handler):
    return next(i for i, fn in served.page.fns.items() if getattr(fn.fn, "__name__", "") == handler)


def test_reply_takes_text_and_files_and_gives_text_and_files(client, photo):
    text, files = client.predict("draw it", [handle_file(photo)], api_name="/reply")
    assert text == "I got image."
    assert [read_media(file).kind for file in files] == ["image"]
    assert read_metadata(Path(files[0]))["comment"] == "AI-generated"


def test_only_the_two_documented_endpoints_are_named(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(named) == ["/reply", "/stream"]
    for endpoint in named.values():
        assert [p["parameter_name"] for p in endpoint["parameters"]] == ["text", "files"]
        assert len(endpoint["returns"]) == 2


def test_stream_gives_more_and_more_words(client):
    said = [text for text, _ in client.submit("many words", [], api_name="/stream")]
    assert len(said) > 3 and all(later.startswith(earlier.strip()) for earlier, later in itertools.pairwise(said))
    assert said[-1].endswith("word199")


def test_turns_of_one_client_are_one_talk_and_of_two_are_two(served):
    ask(served, "my secret", "first")
    ask(served, "another talk", "second")
    ask(served, "and more", "first")
    assert [t.text for t in session_of(served, "my secret").conversation.turns][::2] == ["my secret", "and more"]
    assert len(session_of(served, "another talk").conversation) == 2


@pytest.mark.parametrize(("name", "content"), [("note.png", b"just text"), ("empty.wav", b"")])
def test_a_bad_file_is_named_in_a_clear_error(client, tmp_path, name, content):
    bad = tmp_path / name
    bad.write_bytes(content)
    with pytest.raises(Exception, match=name):
        client.predict("look", [handle_file(bad)], api_name="/reply")


def test_a_fault_of_ours_is_one_plain_sentence_without_details(client):
    with pytest.raises(Exception, match="Something went wrong") as raised:
        client.predict("crash", [], api_name="/reply")
    assert "secret detail" not in str(raised.value) and "Traceback" not in str(raised.value)


def test_a_file_over_the_limit_is_refused_by_the_server(served):
    answer = httpx.post(
        f"{served.page.local_url}gradio_api/upload", files={"files": ("big.png", b"x" * 2_500_000, "image/png")}
    )
    assert answer.status_code == 413


def test_forged_paths_in_a_message_are_refused(served, pipeline):
    before = len(pipeline.seen)
    for path in ("/etc/hostname", str(Path(__file__).resolve())):
        message = {"text": "look", "files": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
        end = join(served, function_index(served, "send"), [message, None])
        assert end is None or not end["success"]
    assert len(pipeline.seen) == before


def test_a_posted_session_id_is_not_looked_at(served):
    """State lives on the server: even the true id of another's talk, posted as a value, opens nothing."""
    ask(served, "whose talk", "victim")
    victim = session_of(served, "whose talk")
    join(served, function_index(served, "send"), [{"text": "intruder", "files": []}, victim.id], "forger2")
    assert len(victim.conversation) == 2
    assert len(session_of(served, "intruder").conversation) == 2


def test_no_handler_takes_the_chatbot_as_an_input(served):
    chatbots = {i for i, block in served.page.blocks.items() if type(block).__name__ == "Chatbot"}
    assert chatbots
    assert not any(block._id in chatbots for fn in served.page.fns.values() for block in fn.inputs)


def test_a_card_is_chosen_by_its_words_and_nothing_else_of_it_is_taken(served, pipeline):
    for text in ("evil", "draw a red car on the grass"):
        body = {
            "data": [None],
            "fn_index": function_index(served, "send_example"),
            "session_hash": "forger3",
            "event_data": {"index": 3, "value": {"text": text, "files": ["/etc/hostname"]}},
        }
        httpx.post(f"{served.page.local_url}gradio_api/queue/join", json=body)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not any("red car" in turn.text for *_, turn in pipeline.seen):
        time.sleep(0.05)
    assert any("red car" in turn.text for *_, turn in pipeline.seen)
    assert not any("evil" in turn.text for *_, turn in pipeline.seen)
    assert not any(turn.media for *_, turn in pipeline.seen if "red car" in turn.text)


@pytest.mark.parametrize("path", ["/etc/hostname", "talks", "../etc/passwd"])
def test_files_that_were_not_shown_are_not_served(served, path):
    folder = served.service.sessions.root
    target = folder if path == "talks" else path
    assert httpx.get(f"{served.page.local_url}gradio_api/file={target}").status_code in (403, 404)


def test_a_client_that_goes_away_stops_the_work(served):
    base, index = f"{served.page.local_url}gradio_api", function_index(served, "stream")
    body = {"data": ["many words gone", [], None], "fn_index": index, "session_hash": "leaver"}
    httpx.post(f"{base}/queue/join", json=body)
    with httpx.stream("GET", f"{base}/queue/data", params={"session_hash": "leaver"}, timeout=20) as stream:
        next(line for line in stream.iter_lines() if "process_generating" in line)
    session = session_of(served, "many words gone")
    deadline = time.monotonic() + 10
    while session.busy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not session.busy and session.conversation.turns[-1].cancelled


def test_two_clients_at_once_are_answered_one_after_the_other(served, pipeline):
    pipeline.most_running = 0
    answers = {}

    def turn(number):
        answers[number] = ask(served, f"draw {number}", f"client{number}")

    threads = [threading.Thread(target=turn, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert answers == {number: f"You said: draw {number}" for number in range(3)}
    assert pipeline.most_running == 1


def test_nothing_is_recorded_or_sent_elsewhere(served):
    config = httpx.get(f"{served.page.local_url}config").json()
    assert config.get("analytics_enabled") is False
    assert httpx.get(f"{served.page.local_url}gradio_api/monitoring").status_code in (403, 404)
    page = httpx.get(served.page.local_url).text
    assert "fonts.googleapis.com/css" not in page
