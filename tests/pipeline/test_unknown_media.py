"""Media far from the known world are said to be unknown."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import tiny_image

from nextgpt_chat.checkpoints import UnknownMedia
from nextgpt_chat.content import (
    Audio,
    MediaPart,
    Notice,
    TextDelta,
)
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.known_world import KnownWorld
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.pipeline.making import GUESS, SILENCE
from pipeline.scripted import asked, script


@pytest.fixture
def worldly(pipe):
    """The pipeline with a known world of grey pictures around one picture's features."""
    (inside,) = pipe.model.imagebind.encode_halfway([tiny_image(0)])
    noise = 0.001 * torch.randn(200, *inside.shape, generator=torch.Generator().manual_seed(0))
    known = list(inside + noise)
    manifest = dataclasses.replace(pipe.manifest, unknown_media=UnknownMedia(message="I do not know that."))
    return NextGPTPipeline(
        pipe.model, manifest, known_world=KnownWorld.fit({"image": known[:100]}, {"image": known[100:]})
    )


def test_an_unknown_medium_is_said_to_be_unknown(worldly, monkeypatch):
    script(monkeypatch, worldly, "It is a car.")
    stranger = tiny_image(200)
    conv = asked("what is this?", tiny_image(0), stranger)
    events = list(worldly.stream(conv, seed=1))
    assert events[0] == TextDelta("I do not know that.") and len(events) == 2
    assert conv.turns[-1].text == events[-1].reply.text == "I do not know that."
    assert worldly.reply(asked("what is this?", tiny_image(0))).text == "It is a car."
    assert worldly.reply(asked("hello")).text == "It is a car."
    assert worldly.reply(asked("what?", MediaPart(stranger, generated=True))).text == "It is a car."
    reply = worldly.reply(asked("its sound", stranger), modalities={"text", "audio"})
    assert reply.text == "It is a car." and reply.notices == ("I do not know that.",)


def test_what_is_said_later_of_an_unknown_medium_is_called_a_guess(worldly, monkeypatch):
    script(monkeypatch, worldly, "It is a car.")
    conv = asked("what is this?", tiny_image(200))
    assert worldly.reply(conv).text == "I do not know that."
    conv.add_user("but what do you see?")
    reply = worldly.reply(conv)
    assert reply.text == "It is a car." and reply.notices == (GUESS,)
    conv.add_user("and here?", files=[tiny_image(0)])
    assert worldly.reply(conv).notices == ()
    conv.add_user("what colour is it?")
    assert worldly.reply(conv).notices == (), "about the newest one"
    made = asked("what is this?", tiny_image(200))
    made.add_assistant([MediaPart(tiny_image(0), generated=True)])
    made.add_user("make it blue")
    assert worldly.reply(made).notices == (), "about what was made since"


@pytest.mark.parametrize("level, said", [(0.0, SILENCE), (3e-4, SILENCE), (0.1, "It is a car.")])
def test_a_silent_sound_is_not_described(worldly, monkeypatch, level, said):
    script(monkeypatch, worldly, "It is a car.")
    noise = np.random.default_rng(0).normal(0, level, 16_000)
    assert worldly.reply(asked("what do you hear?", Audio((noise + 0.2).astype(np.float32), 16_000))).text == said


def test_the_known_world_is_saved_with_the_checkpoint(worldly, tmp_path):
    worldly.save_pretrained(tmp_path / "worldly")
    again = NextGPTPipeline.from_pretrained(tmp_path / "worldly", device="cpu")
    assert again.reply(asked("what is this?", tiny_image(200))).text == "I do not know that."
    (tmp_path / "worldly" / "known_world.safetensors").unlink()
    with pytest.raises(CheckpointError, match="known_world"):
        NextGPTPipeline.from_pretrained(tmp_path / "worldly", device="cpu")


def test_a_reply_that_declines_is_followed_by_the_name_of_the_larger_checkpoint(pipe, monkeypatch):
    unknown = UnknownMedia(declines=("That is not in my book.",), larger="The larger one knows it.")
    small = NextGPTPipeline(pipe.model, dataclasses.replace(pipe.manifest, unknown_media=unknown))
    script(monkeypatch, small, "That is not in my book.")
    conv = asked("draw a giraffe")
    *_, notice, finished = small.stream(conv, seed=1)
    assert notice == Notice("The larger one knows it.") and finished.reply.notices == (notice.message,)
    assert conv.turns[-1].text == "That is not in my book."
    script(monkeypatch, small, "It is a car.")
    assert small.reply(asked("hello")).notices == ()


def test_how_long_a_medium_took_is_kept_with_it_and_makes_no_difference_between_two_runs(pipe, tmp_path):
    first, again = (pipe.reply(asked("a picture"), seed=3, modalities={"image"}) for _ in range(2))
    assert first.parts == again.parts and first.parts[-1].took > 0 and "took" not in first.parts[-1].details
