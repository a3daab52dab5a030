"""The pipeline interrupted: cancelling, faults, a second reply in the middle of the first."""

import threading
import time

import pytest
import torch
from tiny import tiny_image

from nextgpt_chat.config import GenerationSettings
from nextgpt_chat.content import (
    Failed,
    Finished,
    MediaProgress,
    MediaReady,
    MediaStarted,
    TextDelta,
    Turn,
)
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import BusyError, NextGPTError
from pipeline.scripted import asked, kinds, script


def test_cancelling_in_the_words_keeps_what_was_said(pipe):
    cancel, conv, said = threading.Event(), asked(), ""
    for event in pipe.stream(conv, seed=3, modalities={"text", "image"}, cancel=cancel):
        if isinstance(event, TextDelta):
            said += event.text
            cancel.set()
        assert not isinstance(event, MediaStarted)
    assert isinstance(event, Finished) and event.reply.cancelled
    assert conv.turns[-1].cancelled and conv.turns[-1].text == event.reply.text
    assert conv.turns[-1].text.startswith(said.strip())


def test_cancelling_while_media_are_read_stops_before_the_next_one(pipe, monkeypatch):
    cancel, conv, read = threading.Event(), Conversation(), []
    conv.add_user("what are these?", [tiny_image(1), tiny_image(2), tiny_image(3)])
    encode = pipe.model.encode_media
    monkeypatch.setattr(pipe.model, "encode_media", lambda media: read.append(media) or cancel.set() or encode(media))
    *_, last = pipe.stream(conv, seed=1, cancel=cancel)
    assert last.reply.cancelled and conv.turns[-1].cancelled
    assert len(read) == len(read[0]) == 1


def test_cancelling_in_the_denoising_stops_within_a_step_and_keeps_finished_media(pipe, monkeypatch):
    script(monkeypatch, pipe, "First.", "image", "Then.", "audio", "Never said.")
    cancel, conv, events = threading.Event(), asked(), []
    decoder = pipe.model.decoders["audio"]
    steps_done = []
    predict = decoder._predict
    monkeypatch.setattr(decoder, "_predict", lambda *given: steps_done.append(cancel.is_set()) or predict(*given))
    settings = GenerationSettings().with_value("audio.steps", 60)
    for event in pipe.stream(conv, settings, seed=1, cancel=cancel):
        events.append(event)
        if isinstance(event, MediaProgress) and event.steps == 60:
            cancel.set()
    assert sum(steps_done) <= 1 and len(steps_done) < 60
    reply = events[-1].reply
    assert reply.cancelled and kinds(reply.parts) == ["image"] and reply.text == "First. Then."
    assert conv.turns[-1] == Turn("assistant", reply.parts, cancelled=True)


@pytest.mark.parametrize("kind", [TextDelta, MediaStarted, MediaProgress, MediaReady])
def test_closing_the_stream_is_cancelling(pipe, monkeypatch, kind):
    script(monkeypatch, pipe, "First. ", "audio", "Last.")
    conv = asked()
    calls = []
    decoder = pipe.model.decoders["audio"]
    predict = decoder._predict
    monkeypatch.setattr(decoder, "_predict", lambda *given: calls.append(1) or predict(*given))
    settings = GenerationSettings().with_value("audio.steps", 100)
    if kind is MediaReady:
        settings = GenerationSettings()
    stream = pipe.stream(conv, settings, seed=1)
    while not isinstance(next(stream), kind):
        pass
    stream.close()
    made, turn = len(calls), conv.turns[-1]
    assert turn.role == "assistant" and turn.cancelled and turn.text == "First."
    assert kinds(turn.parts) == (["audio"] if kind is MediaReady else [])
    time.sleep(0.05)
    assert len(calls) == made < 100  # no work goes on
    conv.add_user("go on")
    assert not pipe.reply(conv, seed=1).cancelled  # and the pipeline is free


def test_cancelling_before_the_start_leaves_an_empty_cancelled_turn(pipe):
    cancel, conv = threading.Event(), asked()
    cancel.set()
    (event,) = pipe.stream(conv, cancel=cancel)
    assert event.reply.cancelled and event.reply.parts == ()
    assert conv.turns[-1] == Turn("assistant", (), cancelled=True)
    conv.add_user("again")
    assert pipe.reply(conv, seed=1, modalities={"text"}).text


# --- failures --------------------------------------------------------------------------------------------------


def test_a_decoder_that_fails_does_not_end_the_reply(pipe, monkeypatch, caplog):
    script(monkeypatch, pipe, "One.", "image", "Two.", "audio")
    monkeypatch.setattr(pipe.model.decoders["image"], "decode", lambda *given, **named: 1 / 0)
    conv = asked()
    events = list(pipe.stream(conv, seed=1))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    (started, _) = [event for event in events if isinstance(event, MediaStarted)]
    assert failed.id == started.id and "picture could not be made" in failed.message
    reply = events[-1].reply
    assert kinds(reply.parts) == ["audio"] and reply.text == "One. Two." and reply.notices == (failed.message,)
    assert not reply.cancelled and conv.turns[-1].parts == reply.parts
    assert "ZeroDivisionError" in caplog.text


def test_a_medium_after_one_that_failed_is_made_again_as_it_was(pipe, monkeypatch):
    script(monkeypatch, pipe, "One.", "image", "Two.", "image")
    settings, conv = GenerationSettings(conditioning="caption"), asked()
    decode = pipe.model.decoders["image"].decode
    outcomes = iter([raising(ZeroDivisionError), decode, decode])
    monkeypatch.setattr(pipe.model.decoders["image"], "decode", lambda *given, **named: next(outcomes)(*given, **named))
    made = pipe.reply(conv, settings, seed=1).parts[-1]
    *_, last = pipe.remake(conv, made.id, settings, 1)
    assert last.reply.parts[0].media == made.media


@pytest.mark.parametrize(("kind", "lower"), [("image", "Ask for it alone"), ("audio", "seconds"), ("video", "frames")])
def test_a_medium_that_memory_was_too_small_for_says_what_to_lower(pipe, monkeypatch, kind, lower):
    script(monkeypatch, pipe, "One.", kind)
    monkeypatch.setattr(pipe.model.decoders[kind], "decode", raising(torch.OutOfMemoryError("CUDA out of memory")))
    (failed,) = [event for event in pipe.stream(asked(), seed=1) if isinstance(event, Failed)]
    assert "not enough memory" in failed.message and lower in failed.message and "--memory-plan" in failed.message
    assert "CUDA" not in failed.message


def test_words_that_memory_was_too_small_for_say_what_to_do_and_leave_the_users_turn(pipe, monkeypatch):
    script(monkeypatch, pipe, "Half of", torch.OutOfMemoryError("CUDA out of memory"))
    conv = asked()
    forgotten = []
    monkeypatch.setattr(pipe.model.language_model.prefixes, "clear", lambda: forgotten.append(1))
    with pytest.raises(NextGPTError, match=r"not enough memory to read this talk.*Start a new talk"):
        pipe.reply(conv)
    assert [turn.role for turn in conv.turns] == ["user"]


def raising(error):
    def fail(*given, **named):
        raise error

    return fail


def test_a_fault_leaves_the_users_turn_and_no_half_reply(pipe, monkeypatch):
    script(monkeypatch, pipe, "Half of", RuntimeError("broken"))
    conv = asked()
    with pytest.raises(RuntimeError, match="broken"):
        pipe.reply(conv)
    assert [turn.role for turn in conv.turns] == ["user"]
    script(monkeypatch, pipe, "Whole.")
    assert pipe.reply(conv).text == "Whole."


# --- one reply at a time ---------------------------------------------------------------------------------------


def test_a_second_reply_waits_for_the_first(pipe, monkeypatch):
    script(monkeypatch, pipe, "One.", "Two.")
    stream = pipe.stream(asked(), seed=1)
    next(stream)
    with pytest.raises(BusyError, match="This thread"):
        pipe.reply(asked())
    results = []
    cancel = threading.Event()

    def other(**given):
        try:
            results.append(
                pipe.reply(asked(), cancel=cancel)
                if given.get("wait", True)
                else list(pipe.stream(asked(), wait=False))
            )
        except BusyError as error:
            results.append(error)

    refused = threading.Thread(target=other, kwargs={"wait": False})
    refused.start()
    refused.join(5)
    assert isinstance(results.pop(), BusyError)
    waiting = threading.Thread(target=other)
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive() and not results
    list(stream)
    waiting.join(5)
    assert results.pop().text == "One.Two."
    stream = pipe.stream(asked(), seed=1)
    next(stream)
    gives_up = threading.Thread(target=other)
    gives_up.start()
    cancel.set()
    gives_up.join(5)
    assert results.pop().cancelled
    stream.close()
