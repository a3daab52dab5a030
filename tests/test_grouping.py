"""The grouping input projection: several positions a medium, made of the encoder's patches."""

import dataclasses
import json

import pytest
import torch
from tiny import tiny_audio, tiny_image, tiny_language_model, tiny_video
from tiny_checkpoint import IMAGEBIND, MANIFEST, build_model

from nextgpt_chat.checkpoints import Manifest, load_model, save_model
from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.imagebind import ImageBind
from nextgpt_chat.model import Example, NextGPTModel, _EmbeddingCache, _Encoded
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.projections import (
    GroupingProjection,
    InputProjection,
    InputProjectionConfig,
    build_input_projection,
)
from nextgpt_chat.prompting import TEMPLATES, MediaSegment, Prompt, make_template, position_keys
from nextgpt_chat.training import alignment, joining
from nextgpt_chat.training.loop import Recipe

SIZES = InputProjectionConfig(IMAGEBIND.embedding_dim, 64, "grouping", 16, 2, (6, 3), (1, 1, 1))
MEDIA = [tiny_image(40), tiny_audio(330.0), tiny_video(90), tiny_image(200)]


def grouping(seed=0):
    torch.manual_seed(seed)
    return GroupingProjection(SIZES).eval()


@pytest.fixture(scope="module")
def imagebind():
    torch.manual_seed(1)
    return ImageBind(IMAGEBIND).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory, imagebind):
    language_model = tiny_language_model(tmp_path_factory.mktemp("lm"))
    return NextGPTModel(imagebind, grouping(), language_model, {}).eval()


# --- the projection --------------------------------------------------------------------------------------------


def test_any_number_of_patches_becomes_the_same_number_of_positions():
    projection = grouping()
    assert projection.positions == 3 and projection.reads_patches
    for patches in (1, 4, 50):
        assert projection(torch.randn(2, patches, 12)).shape == (2, 3, 64)


def test_the_order_of_patches_does_not_matter():
    projection, patches = grouping(), torch.randn(2, 20, 12)
    shuffled = patches[:, torch.randperm(20)]
    torch.testing.assert_close(projection(shuffled), projection(patches), atol=1e-5, rtol=1e-4)
    other = patches.clone()
    other[:, 0] += 1
    assert not torch.allclose(projection(other), projection(patches), atol=1e-3)


def test_every_patch_is_given_to_one_concept():
    stage = grouping().stages[0]
    for training in (False, True):
        assigned = stage.train(training)._assign(torch.randn(2, 6, 20))
        torch.testing.assert_close(assigned.sum(1), torch.ones(2, 20))
        torch.testing.assert_close(assigned, assigned.round())


def test_concepts_of_one_stage_stay_apart():
    made = grouping()(torch.randn(4, 20, 12))
    assert (made[:, 0] - made[:, 1]).norm(dim=-1).min() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_the_concept_tokens_of_every_stage(training):
    projection = grouping().train(training)
    projection(torch.randn(3, 20, 12)).square().sum().backward()
    for name, parameter in projection.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    for stage in projection.stages:
        assert stage.concepts.grad.abs().sum(-1).min() > 0
        assert stage.query.weight.grad.abs().sum() > 0  # the hard assignment has the soft one's gradient


def test_eval_mode_is_deterministic_and_training_draws():
    projection, patches = grouping(), torch.randn(2, 40, 12)
    assert torch.equal(projection(patches), projection(patches))
    projection.train()
    assert not torch.equal(projection(patches), projection(patches))


def test_sizes_follow_the_encoder_and_impossible_ones_are_named():
    huge = InputProjectionConfig.grouping(1024, 4096)
    assert (huge.hidden, huge.heads, huge.groups, huge.layers) == (512, 8, (64, 8), (6, 3, 3))
    small = InputProjectionConfig.grouping(12, 64)
    assert isinstance(build_input_projection(small), GroupingProjection)
    assert isinstance(build_input_projection(InputProjectionConfig(12, 64)), InputProjection)
    for wrong in ({"mode": "mlp"}, {"heads": 3}, {"groups": ()}, {"groups": (4, 0)}, {"layers": (1, 1)}):
        with pytest.raises(ValueError, match=r"mode|hidden|groups|layers"):
            dataclasses.replace(SIZES, **wrong)


# --- the encoder's patches -------------------------------------------------------------------------------------


def test_patches_come_with_the_same_embeddings(imagebind):
    embeddings, patches = imagebind.encode_with_patches(MEDIA)
    torch.testing.assert_close(embeddings, imagebind.encode_media(MEDIA), atol=1e-5, rtol=1e-5)
    rows, columns = IMAGEBIND.audio_grid
    assert len(patches[0]) == IMAGEBIND.vision_patches and len(patches[1]) == rows * columns
    # A still clip is one view; a sound shorter than a window too.
    assert len(patches[2]) == IMAGEBIND.vision_patches
    for one in patches:
        assert one.shape[1] == IMAGEBIND.embedding_dim
        torch.testing.assert_close(one.norm(dim=-1), torch.ones(len(one)))
    together = imagebind.encode_with_patches([MEDIA[3]])[1][0]
    torch.testing.assert_close(patches[3], together, atol=1e-5, rtol=1e-5)
    assert imagebind.encode_with_patches([])[1] == []


def test_patches_of_all_different_views_are_there(imagebind):
    import numpy as np

    from nextgpt_chat.content import Video

    frames = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 3), np.uint8)
    patches = imagebind.encode_with_patches([Video(frames, 8.0)])[1][0]
    assert len(patches) == IMAGEBIND.video_clips * IMAGEBIND.vision_patches  # three equal crops count once


# --- in the model ----------------------------------------------------------------------------------------------


def test_prompts_leave_room_for_every_position_of_a_medium(model):
    lm = model.language_model
    turn = Turn("user", (MediaPart(MEDIA[0]), TextPart("and"), MediaPart(MEDIA[1]), TextPart("what is it?")))
    for name in TEMPLATES:
        one = make_template(name, lm.text, lm.signals).prompt([turn])
        template = make_template(name, lm.text, lm.signals, media_positions=3)
        prompt = Prompt(template.prompt([turn]))
        assert prompt.positions == len(position_keys(one)) + 2 * 2
        embeds = model.embed_segments(prompt.segments)
        assert embeds.shape == (1, prompt.positions, 64) and len(set(prompt.keys)) >= 6
        at = prompt.keys.index(MEDIA[1].sha256)
        torch.testing.assert_close(embeds[0, at : at + 3], model.embed_media([MEDIA[1]]), atol=1e-5, rtol=1e-5)
        assert template.fit([turn], prompt.positions).positions == prompt.positions
        with pytest.raises(ValueError, match="media_positions"):
            model.embed_segments(one)


def test_media_with_different_numbers_of_patches_keep_their_order(model):
    together = model.embed_media(MEDIA)
    assert together.shape == (12, 64)
    for number, medium in enumerate(MEDIA):
        alone = model.embed_media([medium])
        torch.testing.assert_close(together[3 * number : 3 * number + 3], alone, atol=1e-5, rtol=1e-5)
    known = {MEDIA[0].sha256: torch.zeros(7, 12)}
    torch.testing.assert_close(model.embed_media(MEDIA[:1], known), model.input_projection(torch.zeros(1, 7, 12))[0])


def test_each_content_is_encoded_once_with_its_patches(model, monkeypatch):
    calls, encode = [], model.imagebind.encode_with_patches
    monkeypatch.setattr(model.imagebind, "encode_with_patches", lambda media: calls.append(len(media)) or encode(media))
    fresh = [tiny_image(11), tiny_image(12), tiny_image(11)]
    model.encode_media(fresh)
    model.embed_media(fresh)
    assert calls == [2]


def test_the_cache_of_encodings_is_bounded_in_values():
    cache = _EmbeddingCache(10, values=100)
    for name in "abc":
        cache.put(name, _Encoded(torch.zeros(4), torch.zeros(10, 4)))
    assert cache.get("a") is None and cache.get("b") is not None and cache.get("c") is not None


def test_targets_stand_where_the_positions_are(model):
    lm = model.language_model
    template = make_template("clean", lm.text, lm.signals, media_positions=3)
    turns = [Turn("user", (MediaPart(MEDIA[0]), TextPart("what?"))), Turn("assistant", (TextPart("a red car."),))]
    embeds, mask, targets = model.batch([Example(template.example(turns))])
    assert embeds.shape[:2] == mask.shape == targets.shape
    ids = [i for segment in template.example(turns) if not isinstance(segment, MediaSegment) for i in segment.ids]
    wanted = [i for i in targets[0].tolist() if i >= 0]
    assert ids[-len(wanted) :] == wanted and targets[0, -len(wanted) :].tolist() == wanted


def test_stages_1_and_3_train_it(tmp_path):
    for stage in (1, 3):
        model = build_model()
        model.input_projection = grouping(4)
        before = {name: value.clone() for name, value in model.input_projection.state_dict().items()}
        embeddings = alignment.Embeddings(model.imagebind, 4000, patches=True)
        examples = alignment.Examples(model, embeddings, alignment.CaptionStates(model.decoders))
        recipe = Recipe(steps=2, learning_rate=0.01, batch=3, warmup=1, precision="fp32")
        draw = joining.stage_dialogue(stage)
        alignment.train_stage(stage, model, examples, draw, recipe, tmp_path / str(stage), rank=2)
        after = model.input_projection.state_dict()
        still = [name for name in before if torch.equal(before[name], after[name])]
        assert not still
        assert {len(patches) for patches in embeddings.known.values()} > {IMAGEBIND.vision_patches}


# --- as a checkpoint -------------------------------------------------------------------------------------------


def test_a_checkpoint_with_it_is_saved_opened_and_replies(tmp_path):
    model = build_model()
    model.input_projection = grouping(2)
    save_model(model, MANIFEST, tmp_path / "grouped", dtype=None)
    manifest = Manifest.load(tmp_path / "grouped")
    assert manifest.projections["input"] == "grouping"
    assert manifest.input_config == {"hidden": 16, "heads": 2, "groups": [6, 3], "layers": [1, 1, 1]}
    again, _ = load_model(tmp_path / "grouped", "cpu")
    assert again.input_projection.config == SIZES
    torch.testing.assert_close(again.embed_media(MEDIA), model.embed_media(MEDIA))
    pipeline = NextGPTPipeline.from_pretrained(tmp_path / "grouped", device="cpu")
    conv = Conversation()
    conv.add_user("what is this?", files=[tiny_image(60).to_pil()])
    first = pipeline.reply(conv, seed=1, modalities={"text", "audio"})
    assert len(first.audios) == 1
    conv.add_user("and now?")
    pipeline.reply(conv, seed=2, modalities={"text"})
    path = tmp_path / "grouped" / "nextgpt.json"
    data = json.loads(path.read_text())
    for wrong in ({"groups": [6]}, {"heads": 3}, {"groups": 6}, {"hidden": 1.5}, {"colour": 1}):
        path.write_text(json.dumps(data | {"input_config": data["input_config"] | wrong}))
        with pytest.raises(CheckpointError, match=r"input_config|projections\.safetensors"):
            load_model(tmp_path / "grouped", "cpu")
