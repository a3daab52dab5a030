"""Replies made beforehand are told as if they were made now, where they are what the model would say."""

import threading

import numpy as np
import pytest

from nextgpt_chat.content import Finished, Image, MediaPart, MediaReady, Notice, TextDelta, TextPart, Turn
from nextgpt_chat.serving import ChatService, DataFolder, Runner, TalkStore
from tests.fake_pipeline import FakePipeline

MADE = MediaPart(Image(np.full((8, 8, 3), 90, np.uint8)), "a red car", generated=True, details={"seed": 5})
ANSWER = Turn("assistant", (TextPart("Here it is."), MADE))


@pytest.fixture
def loading():
    """Set when the model may be there."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def pipeline():
    return FakePipeline(steps=2, pause=0.002)


@pytest.fixture
def service(pipeline, loading, tmp_path):
    folder = DataFolder(tmp_path / "data")
    runner = Runner(lambda: loading.wait(20) and pipeline)
    runner.start()
    service = ChatService(runner, folder.shown, store=TalkStore(folder.root))
    yield service
    loading.set()
    service.close()
    folder.close()


def ask(service, session):
    return list(service.send(session, "draw a red car", answer=ANSWER, notice="Made beforehand.").watch())


def test_it_comes_at_once_while_the_model_loads_and_is_kept(service):
    owner = service.store.owner_of(service.store.new_browser_id())
    session = service.session(None, owner)
    words, picture, notice, finished = ask(service, session)
    assert words == TextDelta("Here it is.") and notice == Notice("Made beforehand.")
    assert isinstance(picture, MediaReady) and isinstance(finished, Finished) and finished.reply.seed == 5
    assert not session.busy
    assert service.runner.status.phase == "loading"
    kept = service.store.load(owner, session.talk.id)
    turns = getattr(kept, "conversation", kept).turns
    assert [turn.text for turn in turns] == ["draw a red car", "Here it is."] and turns[1].media[0].generated


def test_its_media_have_ids_of_their_own_in_every_talk(service):
    made = [ask(service, service.session(None))[1].id for _ in range(2)]
    assert len({*made, MADE.id}) == 3


def test_what_follows_is_the_models(service, pipeline, loading):
    session = service.session(None)
    ask(service, session)
    loading.set()
    list(service.retry(session).watch())
    assert session.conversation.turns[-1].text != "Here it is." and len(pipeline.seen) == 1


@pytest.mark.parametrize("changed", ["settings", "modalities", "a turn before"])
def test_where_it_is_not_what_the_model_would_say_now_the_model_is_asked(service, pipeline, loading, changed):
    loading.set()
    session = service.session(None)
    if changed == "settings":
        service.set(session, "image.steps", 3)
    elif changed == "modalities":
        service.set_modalities(session, {"text"})
    else:
        list(service.send(session, "hello").watch())
    before = len(pipeline.seen)
    ask(service, session)
    assert len(pipeline.seen) == before + 1
