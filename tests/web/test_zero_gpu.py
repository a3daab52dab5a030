"""ZeroGPU, with a stand-in for its package: replies made in another process, and how long a GPU is asked for."""

import os
import sys
import threading

import pytest
import torch
from lent_gpu import LentGPU
from tiny import tiny_image
from tiny_checkpoint import tiny_checkpoint, tiny_pipeline

import app
from nextgpt_chat.config import GenerationSettings, VideoSettings
from nextgpt_chat.content import Finished, MediaProgress, MediaReady, MediaStarted, TextDelta
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import BusyError, LimitError, NextGPTError
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.web import PageOptions
from nextgpt_chat.web.gpu_seconds import MOST, reply_seconds
from nextgpt_chat.web.on_spaces import prepare, space_environment

ZERO_GPU = {"SPACES_ZERO_GPU": "true"}
ALL = ("text", "image", "audio", "video")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As in the forked process: sums of another order would be other media."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def loaded():
    """Of its own: one that has made media in this process has a thread, which no fork takes along."""
    return NextGPTPipeline.from_pretrained(tiny_checkpoint(), device="cpu")


@pytest.fixture
def lent(monkeypatch):
    lent = LentGPU()
    monkeypatch.setitem(sys.modules, "spaces", lent.module)
    return lent


@pytest.fixture
def pipe(loaded, lent):
    return prepare(lambda: loaded, ZERO_GPU)


def asked(text="draw a red car", *files):
    conv = Conversation()
    conv.add_user(text, list(files))
    return conv


def seconds(settings=None, modalities=("text",), files=0):
    changed = GenerationSettings()
    for path, value in (settings or {}).items():
        changed = changed.with_value(path, value)
    return reply_seconds(changed, modalities, files)


# --- replies ---------------------------------------------------------------------------------------------------


def test_a_reply_is_the_pipelines_own_made_in_another_process(pipe, loaded, lent, monkeypatch):
    here, there = asked("what is this?", tiny_image(9)), asked("what is this?", tiny_image(9))
    expected = tiny_pipeline().reply(here, seed=5, modalities=ALL)
    monkeypatch.setattr(loaded.model, "encode_media", _only_elsewhere(loaded.model.encode_media))
    events = list(pipe.stream(there, seed=5, modalities=ALL))
    reply = events[-1].reply
    assert [getattr(p, "media", p) for p in reply.parts] == [getattr(p, "media", p) for p in expected.parts]
    assert reply.seed == 5 and not reply.cancelled and reply.timings["text"] > 0
    assert there.turns[-1].parts == reply.parts and len(there) == 2
    assert {type(event) for event in events} == {TextDelta, MediaStarted, MediaProgress, MediaReady, Finished}
    assert len(lent.asked) == 1


def _only_elsewhere(original):
    home = os.getpid()

    def call(*args):
        assert os.getpid() != home, "the model was used in the main process"
        return original(*args)

    return call


def test_the_next_turn_knows_the_one_before(pipe, lent):
    conv = asked()
    picture = list(pipe.stream(conv, seed=1, modalities=("text", "image")))[-1].reply.parts[-1].media
    conv.add_user("make it blue")
    list(pipe.stream(conv, seed=2, modalities="text"))
    assert [turn.role for turn in conv.turns] == ["user", "assistant"] * 2
    assert conv.turns[1].media[0].media == picture
    assert len(lent.asked) == 2


def test_a_medium_is_made_once_more_in_another_process_and_asks_for_that_alone(pipe, loaded, lent, monkeypatch):
    conv = asked()
    list(pipe.stream(conv, seed=1, modalities=ALL))
    picture = next(part for part in conv.turns[-1].media if part.kind == "image")
    before = conv.turns
    monkeypatch.setattr(loaded.model, "embed_segments", _only_elsewhere(loaded.model.embed_segments))
    for seed in (1, 2):
        *_, here = tiny_pipeline().remake(conv, picture.id, seed=seed)
        *_, there = pipe.remake(conv, picture.id, seed=seed)
        assert there.reply.parts[0].media == here.reply.parts[0].media
    assert there.reply.parts[0].media != picture.media
    assert conv.turns == before
    assert lent.asked[0] > lent.asked[1] == lent.asked[2]
    with pytest.raises(NextGPTError, match="no such"):
        pipe.remake(conv, "unknown")
    assert len(lent.asked) == 3


def test_everything_else_is_the_pipelines(pipe, loaded):
    assert (pipe.name, pipe.modalities, pipe.defaults) == (loaded.name, loaded.modalities, loaded.defaults)
    with pytest.raises(AttributeError, match="smell"):
        _ = pipe.smell


@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_stopping_ends_the_call_and_keeps_what_was_made(pipe, leave):
    conv, cancel = asked(), threading.Event()
    stream = pipe.stream(conv, seed=1, modalities=("text", "image", "video"), cancel=cancel)
    seen = []
    for event in stream:
        seen.append(event)
        if isinstance(event, MediaProgress) and event.step == 1 and any(isinstance(e, MediaReady) for e in seen):
            if leave == "close":
                break
            cancel.set()
    stream.close()
    turn = conv.turns[-1]
    assert turn.role == "assistant" and turn.cancelled
    assert [part.kind for part in turn.media] == ["image"]
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)).strip().startswith(turn.text[:5])
    if leave == "cancel":
        assert seen[-1].reply.cancelled and seen[-1].reply.parts == turn.parts
        assert isinstance(seen[-2], MediaProgress) and seen[-2].step == 1  # not one step more


def test_a_turn_stopped_before_it_began_asks_for_no_gpu(pipe, lent):
    conv, cancel = asked(), threading.Event()
    cancel.set()
    (end,) = pipe.stream(conv, cancel=cancel)
    assert end.reply.cancelled and end.reply.parts == () and lent.asked == []


def test_what_cannot_be_made_is_refused_before_a_gpu_is_asked_for(pipe, lent):
    settings = GenerationSettings().with_value("image.width", 33)
    with pytest.raises(LimitError, match="33"):
        pipe.stream(asked(), settings)
    assert lent.asked == []


def test_an_error_of_ours_comes_out_of_the_other_process_whole(pipe):
    conv = asked("word " * 2000)
    with pytest.raises(LimitError, match="message"):
        list(pipe.stream(conv))
    assert len(conv) == 1


def test_where_no_gpu_is_lent_its_reason_is_told(pipe, lent):
    lent.lends = False
    conv = asked()
    with pytest.raises(BusyError, match=r"quota exceeded: You have exceeded your quota\. Try again later"):
        list(pipe.stream(conv))
    assert len(conv) == 1


def test_a_fault_in_the_other_process_leaves_the_talk_as_it_was(pipe, loaded, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(loaded.model, "reply_steps", broken)
    conv = asked()
    with pytest.raises(BusyError, match="ZeroDivisionError"):
        list(pipe.stream(conv))
    assert len(conv) == 1


# --- how long --------------------------------------------------------------------------------------------------


def test_the_seconds_asked_for_grow_with_what_is_to_be_made():
    words = seconds()
    assert 5 <= words < seconds(files=3) < seconds(files=30)
    assert seconds({"text.max_new_tokens": 16}) < words < seconds({"text.max_new_tokens": 1000})
    for kind, smaller, larger in (
        ("image", {"image.steps": 4}, {"image.width": 1024, "image.height": 1024}),
        ("audio", {"audio.steps": 4}, {"audio.seconds": 30}),
        ("video", {"video.frames": 4}, {"video.steps": 80}),
    ):
        usual = seconds(modalities=("text", kind))
        assert words < seconds(smaller, ("text", kind)) < usual < seconds(larger, ("text", kind))
        assert seconds(smaller) == seconds(larger) == words  # only what is made counts
    assert seconds(modalities=ALL) > seconds(modalities=("text", "video"))


def test_no_more_is_asked_for_than_visitors_may_have():
    assert seconds({"video.steps": 200, "video.frames": 64}, ALL) == MOST
    with pytest.raises(ValueError, match="smell"):
        seconds(modalities=("smell",))


def test_a_calls_own_settings_and_modalities_decide(pipe, loaded, lent):
    lent.lends = False
    long_clip = GenerationSettings(video=VideoSettings(steps=80, frames=24, width=512, height=320))
    for settings, modalities in ((None, "text"), (None, None), (long_clip, None), (long_clip, {"text"})):
        with pytest.raises(BusyError):
            list(pipe.stream(asked(), settings, seed=1, modalities=modalities))
    words, any_kind, with_a_long_clip, no_clip = lent.asked
    assert words < any_kind < with_a_long_clip and no_clip == words
    assert words == reply_seconds(GenerationSettings().resolved(loaded.defaults), ("text",), 0)


# --- wiring ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"SPACE_ID": "me/mine"}, {"SPACES_ZERO_GPU": "false"}])
def test_elsewhere_the_loader_is_left_alone(environment):
    def load():
        raise AssertionError("loaded too early")

    assert prepare(load, environment) is load


def test_a_missing_package_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(NextGPTError, match=r"spaces is missing.*requirements"):
        prepare(lambda: pytest.fail("loaded all the same"), ZERO_GPU)


def test_a_space_listens_on_every_address_unless_told_otherwise():
    assert space_environment({}) == {}
    assert space_environment({"SPACE_ID": "me/mine"})["NEXTGPT_HOST"] == "0.0.0.0"
    assert space_environment({"SPACE_ID": "me/mine", "NEXTGPT_HOST": ""})["NEXTGPT_HOST"] == "0.0.0.0"
    assert space_environment({"SPACE_ID": "me/mine", "NEXTGPT_HOST": "127.0.0.1"})["NEXTGPT_HOST"] == "127.0.0.1"


def test_app_py_goes_by_the_spaces_environment(monkeypatch):
    launched = {}
    monkeypatch.setattr(app, "locate", lambda name: None)
    monkeypatch.setattr(app, "launch", lambda given, options: launched.update(given=given, options=options))
    for name in [name for name in os.environ if name.startswith("NEXTGPT_")]:
        monkeypatch.delenv(name)
    assert app.main([]) == 0
    assert launched["options"] == PageOptions() and callable(launched["given"])
    monkeypatch.setenv("SPACE_ID", "me/mine")
    assert app.main(["--port", "8000"]) == 0
    assert launched["options"] == PageOptions(host="0.0.0.0", port=8000)


def test_app_py_loads_on_zero_gpu_before_it_launches(lent, monkeypatch):
    launched = []
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(app, "locate", lambda name: None)
    monkeypatch.setattr("nextgpt_chat.NextGPTPipeline.from_pretrained", lambda *args, **kwargs: tiny_pipeline())
    monkeypatch.setattr(app, "launch", lambda given, options: launched.append(given))
    assert app.main([]) == 0
    assert launched[0].name == "tiny" and hasattr(launched[0], "stream")
