"""Talks on the server: what may be done with them, and that failures leave them as they were."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest

from nextgpt_chat.content import Audio, Image, MediaPart, TextDelta, TextPart, Video
from nextgpt_chat.conversation import conversation
from nextgpt_chat.errors import BusyError, LimitError, MediaError, NextGPTError
from nextgpt_chat.media import read_media, read_metadata
from nextgpt_chat.serving import ChatService, MediaFiles, Runner, ServiceLimits, SessionStore
from tests.fake_pipeline import FakePipeline


@pytest.fixture
def pipeline():
    return FakePipeline(steps=2, pause=0.002)


@pytest.fixture
def service(pipeline, tmp_path):
    runner = Runner(lambda: pipeline)
    runner.start()
    service = ChatService(runner, tmp_path / "talks", ServiceLimits(files_per_turn=2, characters=100, sessions=2))
    yield service
    service.close()


def said(session):
    return [(turn.role, turn.text) for turn in session.conversation.turns]


def finish(job):
    return list(job.events())


def test_a_talk_grows_by_turns_and_knows_its_files(service, tmp_path):
    picture = tmp_path / "photo.png"
    PIL.Image.new("RGB", (20, 10), "red").save(picture)
    session = service.session(None)
    finish(service.send(session, "what is it?", [picture]))
    finish(service.send(session, "thanks"))
    assert said(session) == [
        ("user", "what is it?"),
        ("assistant", "I got image."),
        ("user", "thanks"),
        ("assistant", "You said: thanks"),
    ]


def test_sessions_are_found_by_their_id_only(service):
    session = service.session(None)
    assert service.session(session.id) is session
    assert service.session("guess") is not session


def test_only_one_turn_of_a_session_runs(service):
    session = service.session(None)
    job = service.send(session, "many words")
    events = job.events()
    assert any(isinstance(event, TextDelta) for event in events)
    for action in (
        lambda: service.send(session, "more"),
        lambda: service.undo(session),
        lambda: service.retry(session),
    ):
        with pytest.raises(BusyError, match="Stop"):
            action()
    assert service.stop(session)
    assert job.ended.wait(timeout=5)
    assert not service.stop(session)
    assert session.conversation.turns[-1].cancelled
    finish(service.send(session, "again"))


def test_a_crashed_turn_leaves_the_talk_as_it_was(service):
    session = service.session(None)
    finish(service.send(session, "hello"))
    before = session.conversation.turns
    job = service.send(session, "crash")
    with pytest.raises(RuntimeError):
        finish(job)
    assert job.undone and session.conversation.turns == before and not session.busy


def test_retry_makes_the_last_reply_again_with_another_seed(service, pipeline):
    session = service.session(None)
    service.set(session, "seed", 5)
    finish(service.send(session, "hello"))
    finish(service.retry(session))
    assert len(session.conversation) == 2
    assert pipeline.seen[0][1] == 5 and pipeline.seen[1][1] != 5
    assert pipeline.seen[0][3] is pipeline.seen[1][3]


def test_a_failed_retry_keeps_the_old_reply(service, pipeline):
    session = service.session(None)
    finish(service.send(session, "hello"))
    before = session.conversation.turns
    pipeline.stream = lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("broken"))
    with pytest.raises(RuntimeError):
        finish(service.retry(session))
    assert session.conversation.turns == before


def test_nothing_to_retry_or_undo_is_said(service):
    session = service.session(None)
    with pytest.raises(NextGPTError, match="no reply"):
        service.retry(session)
    assert service.undo(session) is None


def test_undo_takes_back_message_and_reply(service):
    session = service.session(None)
    finish(service.send(session, "one"))
    finish(service.send(session, "two"))
    assert service.undo(session).text == "two"
    assert said(session) == [("user", "one"), ("assistant", "You said: one")]


def test_clear_stops_the_running_turn_and_deletes_the_files(service):
    session = service.session(None)
    finish(service.send(session, "draw"))
    shown = session.files.path_of(session.conversation.turns[-1].media[0])
    service.send(session, "many words")
    service.clear(session)
    assert len(session.conversation) == 0 and not session.busy and not shown.exists()


def test_bad_messages_are_refused_and_the_talk_stays(service, tmp_path):
    fake = tmp_path / "note.png"
    fake.write_text("not a picture")
    session = service.session(None)
    finish(service.send(session, "hello"))
    before = session.conversation.turns
    with pytest.raises(MediaError, match=r"note\.png"):
        service.send(session, "look", [fake])
    with pytest.raises(LimitError, match="3 files"):
        service.send(session, "look", [fake] * 3)
    with pytest.raises(LimitError, match="101 characters"):
        service.send(session, "x" * 101)
    with pytest.raises(NextGPTError, match="nothing to send"):
        service.send(session, "  ")
    assert session.conversation.turns == before and not session.busy


def test_stop_counts_while_files_are_read(service, pipeline, tmp_path, monkeypatch):
    reading, stopped = threading.Event(), threading.Event()

    def slow(*args, **kwargs):
        reading.set()
        assert stopped.wait(timeout=5)
        return read_media(*args, **kwargs)

    monkeypatch.setattr(conversation, "read_media", slow)
    picture = tmp_path / "photo.png"
    PIL.Image.new("RGB", (20, 10), "red").save(picture)
    session = service.session(None)
    with ThreadPoolExecutor() as pool:
        sent = pool.submit(service.send, session, "what is it?", [picture])
        assert reading.wait(timeout=5)
        assert service.stop(session)
        stopped.set()
        job = sent.result(timeout=5)
    assert finish(job) == [] and job.undone and job.error is None
    assert said(session) == [] and not session.busy and not pipeline.seen
    finish(service.send(session, "hello"))
    assert said(session)[-1] == ("assistant", "You said: hello")


def test_settings_are_the_sessions_own_and_checked(service, pipeline):
    mine, other = service.session(None), service.session(None)
    service.set(mine, "image.steps", 3)
    service.set_modalities(mine, {"text", "audio"})
    with pytest.raises(LimitError, match="steps"):
        service.set(mine, "image.steps", 100_000)
    with pytest.raises(ValueError, match="smell"):
        service.set_modalities(mine, {"smell"})
    finish(service.send(mine, "hello"))
    finish(service.send(other, "hello"))
    assert [(settings.image.steps, modalities) for settings, _, modalities, _ in pipeline.seen] == [
        (3, frozenset({"text", "audio"})),
        (None, None),
    ]


def test_a_closed_session_stops_its_turn_and_leaves_no_files(service):
    session = service.session(None)
    finish(service.send(session, "draw"))
    folder = session.files.path_of(session.conversation.turns[-1].media[0]).parent
    job = service.send(session, "many words")
    service.sessions.close(session.id)
    assert job.ended.wait(timeout=5)
    assert not folder.exists()
    assert service.session(session.id) is not session


def test_the_session_unused_for_longest_gives_way(service):
    first, second = service.session(None), service.session(None)
    service.session(first.id)
    service.session(None)
    assert service.sessions.get(first.id) is first
    assert service.sessions.get(second.id) is None and second.closed


def test_a_store_never_gives_the_same_id_twice(tmp_path):
    store = SessionStore(tmp_path, ServiceLimits().media)
    ids = {store.create().id for _ in range(50)}
    assert len(ids) == 50 and min(map(len, ids)) >= 30


@pytest.mark.parametrize("generated", [True, False])
def test_files_shown_are_written_once_unguessable_and_marked_if_generated(tmp_path, generated):
    rng = np.random.default_rng(0)
    media = [
        Image(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)),
        Audio(np.sin(np.linspace(0, 500, 8000)).astype(np.float32) * 0.5, 16_000),
        Video(rng.integers(0, 255, (4, 64, 64, 3), dtype=np.uint8), 4.0),
    ]
    files = MediaFiles(tmp_path)
    for medium, suffix in zip(media, (".png", ".wav", ".mp4"), strict=True):
        part = MediaPart(medium, generated=generated)
        path = files.path_of(part)
        assert files.path_of(part) == path
        assert path.suffix == suffix and len(path.stem) >= 20 and len(path.parent.name) >= 20
        assert (read_metadata(path).get("comment") == "AI-generated") is generated
        assert read_media(path).kind == medium.kind
    assert min(read_media(path).frames.shape[1:3]) >= 256
    files.remove()
    assert not list(tmp_path.iterdir())


def test_a_reply_that_the_pipeline_did_not_record_is_taken_back(service, pipeline):
    session = service.session(None)
    pipeline.stream = lambda *args, **kwargs: iter(())
    job = service.send(session, "hello")
    finish(job)
    assert job.undone and len(session.conversation) == 0


def test_words_and_media_of_a_turn_are_kept_in_order(service):
    session = service.session(None)
    finish(service.send(session, "draw"))
    kinds = [type(part) for part in session.conversation.turns[-1].parts]
    assert kinds == [TextPart, MediaPart]
