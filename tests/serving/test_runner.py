"""The thread that owns the pipeline: one turn at a time, real stops, honest failures."""

import threading
import time

import pytest

from nextgpt_chat.content import Finished, MediaProgress, Notice, TextDelta
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import BusyError, CheckpointError, NextGPTError
from nextgpt_chat.serving import Runner, Waiting
from tests.fake_pipeline import FakePipeline


def talk(text: str) -> Conversation:
    conversation = Conversation()
    conversation.add_user(text)
    return conversation


@pytest.fixture
def pipeline():
    return FakePipeline(steps=5, pause=0.005)


@pytest.fixture
def runner(pipeline):
    runner = Runner(lambda: pipeline, capacity=4)
    runner.start()
    yield runner
    runner.close()


def real(events):
    return [event for event in events if event is not None and not isinstance(event, Waiting)]


def test_a_turn_yields_the_pipelines_events_and_its_reply_is_in_the_talk(runner):
    conversation = talk("draw it")
    events = real(runner.submit(conversation).events())
    assert isinstance(events[0], TextDelta)
    assert [event.step for event in events if isinstance(event, MediaProgress)] == [1, 2, 3, 4, 5]
    assert isinstance(events[-1], Finished)
    assert conversation.turns[-1].parts == events[-1].reply.parts


def test_turns_of_many_talks_are_never_made_at_once(runner, pipeline):
    jobs = [runner.submit(talk("a clip of it")) for _ in range(4)]
    threads = [threading.Thread(target=lambda job=job: list(job.events())) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(pipeline.seen) == 4
    assert pipeline.most_running == 1


def test_too_many_turns_are_refused(runner):
    jobs = [runner.submit(talk("many words")) for _ in range(4)]
    with pytest.raises(BusyError, match="4 replies"):
        runner.submit(talk("one more"))
    for job in jobs:
        job.cancel()


def test_waiting_turns_are_told_about_how_long_it_takes_judged_by_the_turns_before(runner, pipeline):
    assert list(runner.submit(talk("draw a car")).events())[-1]
    pipeline.pause = 5.0
    jobs = [runner.submit(talk("draw a car")) for _ in range(4)]
    second, third = (next(one.watch(tick=0.01)) for one in jobs[1:3])
    assert (second.ahead, third.ahead) == (1, 2) and 0 <= second.seconds < third.seconds < 5
    with pytest.raises(BusyError, match="Try again in about 1 s"):
        runner.submit(talk("one more"))
    for job in jobs:
        job.cancel()


def test_a_cancelled_waiting_turn_ends_at_once_and_is_never_made(runner, pipeline):
    first, second = runner.submit(talk("many words")), runner.submit(talk("second"))
    assert next(second.events(tick=0.01)) == Waiting(ahead=1, loading=False)
    second.cancel()
    assert second.ended.wait(timeout=1)
    first.cancel()
    assert first.ended.wait(timeout=5)
    assert [turn.text for *_, turn in pipeline.seen] == ["many words"]


def test_stop_lets_at_most_one_more_step_run_and_the_next_turn_comes_after_it(pipeline):
    pipeline.steps, pipeline.pause = 50, 0.03
    runner = Runner(lambda: pipeline)
    runner.start()
    first, second = runner.submit(talk("draw")), runner.submit(talk("hello"))
    for event in first.events():
        if isinstance(event, MediaProgress) and event.step == 3:
            before = pipeline.steps_done
            first.cancel()
            break
    assert first.ended.wait(timeout=5)
    assert pipeline.steps_done <= before + 1
    assert second.ended.wait(timeout=5)
    assert pipeline.most_running == 1
    assert first.conversation.turns[-1].cancelled and not second.conversation.turns[-1].cancelled
    runner.close()


def test_closing_the_events_cancels_the_turn(runner):
    job = runner.submit(talk("many words"))
    events = job.events()
    next(events)
    events.close()
    assert job.ended.wait(timeout=5)
    assert job.conversation.turns[-1].cancelled


def test_turns_sent_while_the_model_loads_wait_for_it(pipeline):
    loaded = threading.Event()

    def load():
        loaded.wait(timeout=10)
        return pipeline

    runner = Runner(load)
    runner.start()
    assert runner.status.phase == "loading"
    job = runner.submit(talk("hello"))
    events = job.events(tick=0.01)
    assert next(events) == Waiting(ahead=0, loading=True)
    loaded.set()
    assert isinstance(real(events)[-1], Finished)
    assert runner.status.phase == "ready"
    runner.close()


@pytest.mark.parametrize(
    ("error", "shown"),
    [(CheckpointError("the file x is missing"), "the file x is missing"), (KeyError("weights"), "server's log")],
)
def test_a_model_that_cannot_be_loaded_is_told_to_every_turn(error, shown):
    def load():
        raise error

    runner = Runner(load)
    runner.start()
    job = runner.submit(talk("hello"))
    with pytest.raises(NextGPTError, match=shown):
        list(job.events())
    assert runner.status.phase == "failed" and shown in runner.status.message
    runner.close()


def test_a_crash_in_one_turn_does_not_end_the_thread(runner):
    with pytest.raises(RuntimeError, match="secret"):
        list(runner.submit(talk("crash")).events())
    assert isinstance(real(runner.submit(talk("hello")).events())[-1], Finished)


def test_a_turn_is_stopped_after_the_longest_time_allowed(pipeline):
    runner = Runner(lambda: pipeline, turn_seconds=0.05)
    runner.start()
    began = time.monotonic()
    events = real(runner.submit(talk("many words")).events())
    assert time.monotonic() - began < 1.5
    assert any(isinstance(event, Notice) for event in events)
    assert events[-1].reply.cancelled
    runner.close()
