"""Several files in one turn: each its own position, or, where asked for, the sum that the original's code makes."""

import dataclasses
import json

import pytest
import torch
from test_prompting import assistant, user
from tiny import tiny_audio, tiny_image, tiny_model, tiny_video
from tiny_checkpoint import MANIFEST, build_model

from nextgpt_chat.checkpoints import Manifest
from nextgpt_chat.config import GenerationSettings, TextSettings
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.model import Example
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.prompting import MediaSegment, Prompt, make_template, position_keys

V0 = ("v0", "v0-as-trained")
FILES = (tiny_image(1), tiny_image(2), tiny_audio(), tiny_image(3))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("several"))


def template_of(model, name, several="sum"):
    return make_template(name, model.language_model.text, model.language_model.signals, several_files=several)


def media_of(segments):
    return [segment.every for segment in segments if isinstance(segment, MediaSegment)]


@pytest.mark.parametrize("name", ["clean", *V0, "v1.5"])
def test_every_file_has_its_own_position_unless_asked_otherwise(model, name):
    segments = template_of(model, name, "separate").prompt([user("which?", *FILES)])
    assert media_of(segments) == [(file,) for file in FILES]


@pytest.mark.parametrize("name", V0)
def test_the_sum_joins_neighbours_of_one_kind_in_their_order(model, name):
    segments = template_of(model, name).prompt([user("which?", *FILES)])
    assert media_of(segments) == [FILES[:2], FILES[2:3], FILES[3:]]


@pytest.mark.parametrize("name", V0)
def test_files_of_different_turns_are_never_added(model, name):
    talk = [user("one", tiny_image(1)), assistant("yes", tiny_image(4)), user("two", tiny_image(2))]
    assert all(len(media) == 1 for media in media_of(template_of(model, name).prompt(talk)))


@pytest.mark.parametrize("name", V0)
def test_one_file_a_turn_reads_the_same_either_way(model, name):
    talk = [user("one", tiny_image(1), tiny_audio()), assistant("yes"), user("two", tiny_video())]
    both = [template_of(model, name, several).prompt(talk) for several in ("separate", "sum")]
    assert both[0] == both[1]


def test_the_position_holds_the_sum_of_the_projected_embeddings(model):
    prompt = Prompt(template_of(model, "v0").prompt([user("which?", *FILES)]))
    at = prompt.keys.index(tuple(file.sha256 for file in FILES[:2]))
    embeds = model.embed_segments(prompt.segments)
    assert embeds.shape[1] == prompt.positions
    projected = model.embed_media(FILES)
    torch.testing.assert_close(embeds[0, at], projected[0] + projected[1])
    torch.testing.assert_close(embeds[0, prompt.keys.index(FILES[2].sha256)], projected[2])
    assert prompt.media == FILES


def test_another_pair_is_another_key(model):
    template = template_of(model, "v0")
    keys = [position_keys(template.prompt([user("?", *pair)])) for pair in (FILES[:2], (FILES[0], FILES[3]))]
    assert keys[0] != keys[1]  # or a remembered prefix would be taken for it


def test_training_batches_take_sums(model):
    template = template_of(model, "v0-as-trained")
    examples = [
        Example(template.example([user("which?", *FILES), assistant("the second")])),
        Example(template.example([user("and?", tiny_image(3)), assistant("no")])),
    ]
    embeds, mask, targets = model.batch(examples)
    for row, example in enumerate(examples):
        alone = model.embed_segments(example.segments)[0]
        torch.testing.assert_close(embeds[row, : len(alone)], alone)
        assert int(mask[row].sum()) == len(alone)
    model.zero_grad()
    model.captioning_loss(examples).total.backward()
    gradient = model.input_projection.bias.grad.clone()
    model.zero_grad()
    assert targets.shape == mask.shape and gradient.abs().sum() > 0


def test_use_and_training_begin_alike_with_sums(model):
    template = template_of(model, "v0-as-trained")
    prompt = position_keys(template.prompt([user("which?", *FILES)]))
    assert position_keys(template.example([user("which?", *FILES), assistant("none")]))[: len(prompt)] == prompt
    at = prompt.index(tuple(file.sha256 for file in FILES[:2]))
    assert template.prefix_length([user("which?", *FILES)]) == at + 1


@pytest.mark.parametrize("name", ["clean", "v1.5"])
def test_layouts_without_the_sum_refuse_it(model, name):
    with pytest.raises(CheckpointError, match="v0, v0-as-trained"):
        template_of(model, name)
    with pytest.raises(CheckpointError, match="product"):
        template_of(model, "v0", "product")


def test_a_manifest_asks_for_the_sum_and_the_pipeline_answers_with_it(monkeypatch):
    manifest = dataclasses.replace(MANIFEST, template="v0", extra={"several_files": "sum"})
    manifest = Manifest.from_dict(json.loads(json.dumps(manifest.to_dict())))
    assert (manifest.several_files, MANIFEST.several_files) == ("sum", "separate")
    pipe = NextGPTPipeline(build_model(), manifest)
    prompts, reply_steps = [], pipe.model.reply_steps
    monkeypatch.setattr(pipe.model, "reply_steps", lambda p, *a, **k: prompts.append(p) or reply_steps(p, *a, **k))
    conv = Conversation()
    conv.add_user("which?", [tiny_image(1), tiny_image(2), tiny_audio()])
    settings = GenerationSettings(TextSettings(max_new_tokens=4))
    reply = pipe.reply(conv, settings, seed=3, modalities={"text"})
    assert [len(media) for media in media_of(prompts[0].segments)] == [2, 1]
    assert not reply.cancelled


def test_a_manifest_with_another_wish_is_refused():
    data = MANIFEST.to_dict() | {"extra": {"several_files": "mean"}}
    with pytest.raises(CheckpointError, match="several_files"):
        Manifest.from_dict(data)
