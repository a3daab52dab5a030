"""Media far from the known world are said to be unknown."""

import dataclasses

import pytest
import torch
from tiny import tiny_image

from nextgpt_chat.checkpoints import UnknownMedia
from nextgpt_chat.content import (
    MediaPart,
    Notice,
    TextDelta,
)
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.known_world import KnownWorld
from nextgpt_chat.pipeline import NextGPTPipeline
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
