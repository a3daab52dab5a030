"""The shipped checkpoint does what it is for: a few held-out cases of every direction, judged by the programs that
also measure it in full (``python -m nextgpt_chat evaluate picturebook``)."""

import random

import numpy as np
import pytest

from nextgpt_chat import Conversation, GenerationSettings, NextGPTPipeline
from nextgpt_chat.content import Audio, Image, MediaPart, Video
from nextgpt_chat.evaluation import requests
from nextgpt_chat.evaluation.cases import attributes, choose, judged
from nextgpt_chat.evaluation.picturebook import medium_of, produced, seen_in
from nextgpt_chat.picturebook import Scene, Sound, parse
from tests.shipped import NEXTGPT_MINI, needs_nextgpt_mini

pytestmark = needs_nextgpt_mini
CASES = {"image": 5, "audio": 5, "video": 3}


@pytest.fixture(scope="module")
def mini():
    return NextGPTPipeline.from_pretrained(NEXTGPT_MINI, device="cpu")


def ask(mini, text, *files, conv=None, seed=1, **given):
    conv = Conversation() if conv is None else conv
    conv.add_user(text, files=files)
    return mini.reply(conv, seed=seed, **given)


@pytest.mark.parametrize(("kind", "named"), [("image", "thing"), ("audio", "source"), ("video", "thing")])
def test_what_is_asked_for_is_said_and_made(mini, kind, named):
    right = said = 0
    for case, value in enumerate(choose(kind, CASES[kind], seed=3)):
        wanted = judged(kind, value)[named]
        reply = ask(mini, requests.make(kind, value, random.Random(case)), seed=case)
        assert produced(reply) == [kind] and reply.text
        said += parse(reply.text).get(named) == wanted
        right += seen_in(reply, kind)[named] == wanted
    assert min(said, right) >= CASES[kind] - 1


@pytest.mark.parametrize(("kind", "named"), [("image", "thing"), ("audio", "source"), ("video", "thing")])
def test_what_is_shown_is_named(mini, kind, named):
    right = 0
    for case, value in enumerate(choose(kind, 6, seed=4)):
        reply = ask(mini, requests.describe(kind, random.Random(case)), medium_of(value, case))
        assert produced(reply) == []
        right += parse(reply.text).get(named) == attributes(value)[named]
    assert right >= 5


@pytest.mark.parametrize("kinds", [kinds for kinds in requests.SEVERAL if kinds], ids="-".join)
def test_several_media_are_made_at_once(mini, kinds):
    settings = GenerationSettings().with_value("video.frames", 2)
    for kind in kinds:
        settings = settings.with_value(f"{kind}.steps", 1)  # their kinds are counted, not what they show
    looks = (("car", "red"), ("dog", "brown"), ("phone", "black"))
    scenes = [Scene(*look, "medium", "middle", "plain") for look in looks]
    asked = [requests.several(kinds, scene, random.Random(case)) for case, scene in enumerate(scenes)]
    made = [produced(ask(mini, text, settings=settings)) for text in asked]
    assert made.count(sorted(kinds)) >= 2, list(zip(asked, made, strict=True))


def test_what_was_made_can_be_changed_and_asked_about(mini):
    conv = Conversation()
    first = seen_in(ask(mini, "draw a red car", conv=conv), "image")
    changed = ask(mini, "make it blue", conv=conv)
    assert produced(changed) == ["image"]
    assert (first["colour"], seen_in(changed, "image")["colour"]) == ("red", "blue")
    assert seen_in(changed, "image")["thing"] == first["thing"] == "car"
    assert "blue" in ask(mini, "what colour is it?", conv=conv).text


def test_a_sound_is_drawn_and_a_picture_is_heard(mini):
    bell = medium_of(Sound("bell", "low", "slow"), 2)
    drawn = ask(mini, "draw what makes this sound", bell)
    assert seen_in(drawn, "image")["thing"] == "bell"
    (picture,) = drawn.images
    assert seen_in(ask(mini, "what does this sound like?", picture), "audio")["source"] == "bell"


def test_the_same_seed_gives_the_same_reply_and_another_seed_another_picture(mini):
    first, again, other = (ask(mini, "draw a green tree", seed=seed) for seed in (5, 5, 6))
    assert first.text == again.text and first.images == again.images
    assert first.images != other.images


def test_modalities_can_be_demanded(mini):
    reply = ask(mini, "a dog", modalities={"text", "image", "audio"})
    assert produced(reply) == ["audio", "image"]
    assert seen_in(reply, "image")["thing"] == seen_in(reply, "audio")["source"] == "dog"


def test_a_picture_demanded_without_words_looks_like_what_is_given(mini):
    right = 0
    for case, colour in enumerate(("yellow", "purple", "red")):
        shown = Scene("dog", colour, "medium", "middle", "grass"), Sound("dog", "normal", "normal")
        reply = ask(mini, "", *(medium_of(value, case) for value in shown), modalities={"text", "image"})
        seen = seen_in(reply, "image")
        right += (seen["thing"], seen["colour"]) == ("dog", colour)
    assert right >= 2


def test_what_the_world_does_not_hold_is_said_to_be_unknown(mini):
    rng = np.random.default_rng(0)
    stripes = np.indices((200, 240)).sum(0) % 23 * 11
    crowd = np.clip(stripes[..., None] + rng.normal(0, 40, (200, 240, 3)), 0, 255).astype(np.uint8)
    strangers = [
        Image(crowd),
        Audio(rng.uniform(-0.5, 0.5, 64_000).astype(np.float32), 16_000),
        Video(np.stack([np.roll(crowd, 9 * shift, 1) for shift in range(16)]), 8.0),
    ]
    for stranger in strangers:
        reply = ask(mini, "what is this?", stranger)
        assert reply.text == mini.manifest.unknown_media.message, stranger.kind
    # Its own pictures are of its world, also where they come back as files.
    for seed in range(3):
        made = ask(mini, "draw a yellow star", seed=seed)
        assert parse(ask(mini, "what is this?", made.images[0]).text)["thing"] == "star"


def test_small_talk_makes_no_media_and_a_number_of_steps_is_heeded(mini):
    assert produced(ask(mini, "hello, who are you?")) == []
    reply = ask(mini, "draw a red ball", settings=GenerationSettings.from_dict({"image": {"steps": 4}}))
    (part,) = (part for part in reply.parts if isinstance(part, MediaPart))
    assert part.details["steps"] == 4
