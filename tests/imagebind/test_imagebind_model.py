"""The encoder's behaviour on a tiny random model: towers, views, storage."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.imagebind import (
    ImageBind,
    ImageBindConfig,
    load_imagebind,
    load_official,
    preprocess_audio,
    preprocess_image,
    preprocess_video,
    save_imagebind,
)

TINY = dataclasses.replace(
    ImageBindConfig.mini(text_vocab_size=40),
    embedding_dim=12,
    image_size=28,
    vision_width=16,
    vision_depth=2,
    vision_heads=2,
    audio_width=16,
    audio_depth=2,
    audio_heads=2,
    audio_drop_path=0.5,
    text_width=16,
    text_depth=2,
    text_heads=2,
    text_context=9,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ImageBind(TINY).eval()


@pytest.fixture(scope="module")
def media():
    rng = np.random.default_rng(0)
    picture = Image(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    square = Video(rng.integers(0, 256, (8, 20, 20, 3), dtype=np.uint8), 4.0)
    wide = Video(rng.integers(0, 256, (8, 20, 50, 3), dtype=np.uint8), 4.0)
    short = Audio(rng.normal(0, 0.1, 9000).astype(np.float32), 16000)
    long = Audio(rng.normal(0, 0.1, 70000).astype(np.float32), 16000)
    return [short, picture, square, long, wide, picture]


def test_media_are_encoded_in_their_order_as_one_by_one(model, media):
    together = model.encode_media(media, batch_size=2)
    with torch.no_grad():
        for medium, embedding in zip(media, together, strict=True):
            if medium.kind == "image":
                alone = model.encode_image(preprocess_image(medium, TINY)[None])
            elif medium.kind == "audio":
                alone = model.encode_audio(preprocess_audio(medium, TINY)[None])
            else:
                alone = model.encode_video(preprocess_video(medium, TINY)[None])
            assert torch.allclose(embedding, alone[0], atol=1e-6)
    assert model.encode_media([]).shape == (0, 12)


def test_views_that_are_equal_are_encoded_once(model, media):
    encoded = {"vision": 0, "audio": 0}
    hooks = [
        model.modality_preprocessors[tower].register_forward_pre_hook(
            lambda _, inputs, tower=tower: encoded.__setitem__(tower, encoded[tower] + len(inputs[0]))
        )
        for tower in encoded
    ]
    model.encode_media(media)
    for hook in hooks:
        hook.remove()
    # One picture given twice, 4 windows of a square clip, 4 windows of 3 crops; one short sound, 3 windows of a long.
    assert encoded == {"vision": 1 + 4 + 12, "audio": 1 + 3}


def test_encoding_media_ignores_train_mode_and_leaves_it_as_it_was(model, media):
    expected = model.encode_media(media)
    model.train()
    try:
        assert torch.equal(model.encode_media(media), expected)
        assert model.training
        assert not expected.requires_grad
    finally:
        model.eval()


def test_drop_path_acts_in_training_only(model):
    mel = torch.randn(4, 1, 1, 128, 204)
    with torch.no_grad():
        assert torch.equal(model.encode_audio(mel), model.encode_audio(mel))
        model.train()
        torch.manual_seed(0)
        first, second = model.encode_audio(mel), model.encode_audio(mel)
        model.eval()
    assert not torch.equal(first, second)


def test_a_picture_is_a_clip_of_equal_frames(model):
    pixels = torch.randn(2, 3, 28, 28)
    clip = pixels[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    with torch.no_grad():
        assert torch.allclose(model.encode_image(pixels), model.encode_video(clip), atol=1e-6)


def test_patches_are_those_of_the_convolutions(model):
    clips, mel = torch.randn(2, 3, 2, 28, 28), torch.randn(2, 1, 128, 204)
    vision, audio = model.modality_preprocessors["vision"], model.modality_preprocessors["audio"]
    with torch.no_grad():
        patches = vision.rgbt_stem.proj(clips).flatten(2).transpose(1, 2)
        assert torch.allclose(vision(clips), vision._with_class_token(patches), atol=1e-5)
        patches = audio.rgbt_stem.norm_layer(audio.rgbt_stem.proj(mel).flatten(2).transpose(1, 2))
        assert torch.allclose(audio(mel), audio._with_class_token(patches), atol=1e-5)


def test_the_towers_compute_what_torchs_own_attention_does(model):
    for tower in ("vision", "audio", "text"):
        ours = model.modality_trunks[tower].blocks[0].attn
        theirs = torch.nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=tower == "audio").eval()
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(3, 7, 16)
        mask = torch.nn.Transformer.generate_square_subsequent_mask(7) if tower == "text" else None
        with torch.no_grad():
            expected = theirs(x, x, x, attn_mask=mask, need_weights=False)[0]
            assert torch.allclose(ours(x, causal=tower == "text"), expected, atol=1e-6)


def test_sparing_the_last_blocks_other_tokens_changes_nothing(model):
    trunk, x = model.modality_trunks["audio"], torch.randn(2, 6, 16)
    with torch.no_grad():
        assert torch.allclose(trunk(x, first_only=True), trunk(x)[:, :1], atol=1e-6)


def test_single_views_have_unit_length_and_several_are_averaged(model):
    mel = torch.randn(2, 3, 1, 128, 204)
    with torch.no_grad():
        views = model.encode_audio(mel.flatten(0, 1)[:, None])
        assert torch.allclose(views.norm(dim=-1), torch.ones(6))
        assert torch.allclose(model.encode_audio(mel), views.view(2, 3, -1).mean(1), atol=1e-6)


def test_halfway_features_are_the_mean_patch_after_half_of_the_blocks(model):
    trunk = model.modality_trunks["audio"]
    sound = Audio(np.sin(np.arange(48_000) ** 1.3).astype(np.float32), 16_000)
    picture = Image(np.full((40, 40, 3), 90, np.uint8))
    of_picture, of_sound = model.encode_halfway([picture, sound])
    windows = preprocess_audio(sound, model.config)
    assert of_picture.shape == (1, 16) and of_sound.shape == (len(windows), 16)
    with torch.no_grad():
        states = model.modality_preprocessors["audio"](windows)
        for block in trunk.blocks[: len(trunk.blocks) // 2]:
            states = block(states)
    assert torch.allclose(of_sound, states[:, 1:].mean(1), atol=1e-6)


def test_text_is_read_up_to_its_end_token(model):
    end = 39
    ids = torch.tensor([[1, 5, 7, end, 0, 0], [1, 8, end, 0, 0, 0]])
    changed = torch.tensor([[1, 5, 7, end, 3, 9], [1, 8, end, 2, 4, 6]])
    with torch.no_grad():
        embeddings = model.encode_text(ids)
        assert torch.allclose(embeddings, model.encode_text(changed), atol=1e-6)
        assert torch.allclose(embeddings[1:], model.encode_text(ids[1:, :3]), atol=1e-6)
        assert torch.allclose(embeddings.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(embeddings[0], embeddings[1])


def test_every_parameter_learns_from_a_contrastive_step():
    torch.manual_seed(0)
    model = ImageBind(TINY)
    ids = torch.randint(0, 39, (3, 6))
    ids[:, -1] = 39
    texts = model.encode_text(ids)
    seen = model.encode_video(torch.randn(3, 2, 3, 2, 28, 28))
    heard = model.encode_audio(torch.randn(3, 2, 1, 128, 204))
    for media in (seen, heard):
        logits = model.text_logit_scale() * texts @ media.T
        torch.nn.functional.cross_entropy(logits, torch.arange(3)).backward(retain_graph=True)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert 1 < model.text_logit_scale() <= 100


@pytest.mark.parametrize(
    ("method", "shape", "named"),
    [
        ("encode_image", (1, 3, 27, 28), "27"),
        ("encode_image", (3, 28, 28), "3, 28, 28"),
        ("encode_video", (1, 3, 2, 28, 28), "S, 3"),
        ("encode_audio", (1, 1, 128, 204), "S, 1"),
        ("encode_audio", (1, 1, 1, 128, 203), "203"),
    ],
)
def test_wrong_shapes_are_named(model, method, shape, named):
    with pytest.raises(ValueError, match=named):
        getattr(model, method)(torch.zeros(shape))


def test_too_long_texts_and_a_missing_text_tower_are_named(model):
    with pytest.raises(ValueError, match="at most 9"):
        model.encode_text(torch.zeros(1, 10, dtype=torch.long))
    with pytest.raises(ValueError, match="text tower"):
        ImageBind(TINY.without_text()).encode_text(torch.zeros(1, 3, dtype=torch.long))


def test_saving_and_loading_give_the_same_embeddings(model, media, tmp_path):
    save_imagebind(model, tmp_path / "imagebind", dtype=torch.float32)
    loaded = load_imagebind(tmp_path / "imagebind")
    assert loaded.config == TINY and not loaded.training
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert torch.allclose(loaded.encode_media(media), model.encode_media(media), atol=1e-6)
    assert not load_imagebind(tmp_path / "imagebind", text=False).has_text


def test_half_precision_on_disk_stays_close(model, media, tmp_path):
    save_imagebind(model, tmp_path)
    loaded = load_imagebind(tmp_path)
    assert loaded.dtype == torch.float32
    assert torch.allclose(loaded.encode_media(media), model.encode_media(media), atol=5e-3)


def test_sharded_folders_are_read_and_stray_paths_refused(model, tmp_path):
    save_imagebind(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    names = sorted(state)
    files = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors").unlink()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    assert torch.equal(load_imagebind(tmp_path).state_dict()[names[0]], state[names[0]].float())
    index.write_text(json.dumps({"weight_map": {names[0]: "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside its folder"):
        load_imagebind(tmp_path)


def test_damaged_or_absent_files_are_checkpoint_errors(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_imagebind(tmp_path)
    save_imagebind(model, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_imagebind(tmp_path)
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        load_official(tmp_path / "bad.pth", TINY)


def test_the_official_file_is_read_without_its_other_modalities(model, media, tmp_path):
    state = dict(model.state_dict())
    state["modality_trunks.depth.blocks.0.norm_1.weight"] = torch.zeros(3)
    state["modality_postprocessors.imu.1.log_logit_scale"] = torch.zeros(())
    for zipped in (True, False):
        torch.save(state, tmp_path / "imagebind.pth", _use_new_zipfile_serialization=zipped)
        loaded = load_official(tmp_path / "imagebind.pth", TINY)
        assert torch.allclose(loaded.encode_media(media), model.encode_media(media), atol=1e-6)
    assert not load_official(state, TINY.without_text()).has_text


def test_an_official_file_that_does_not_fit_is_refused_by_name(model):
    name = "modality_heads.audio.2.weight"
    whole = dict(model.state_dict())
    lacking = {key: value for key, value in whole.items() if key != name}
    with pytest.raises(CheckpointError, match=rf"lacks: {name}"):
        load_official(lacking, TINY)
    with pytest.raises(CheckpointError, match=r"unknown entries: stray\.weight"):
        load_official({**whole, "stray.weight": torch.zeros(1)}, TINY)
    with pytest.raises(CheckpointError, match=r"\(2, 2\) instead of \(12, 16\)"):
        load_official({**whole, name: torch.zeros(2, 2)}, TINY)


def test_the_config_round_trips_and_refuses_what_it_does_not_know(tmp_path):
    TINY.save(tmp_path)
    assert ImageBindConfig.load(tmp_path) == TINY
    data = TINY.to_dict()
    with pytest.raises(CheckpointError, match="audio_strid"):
        ImageBindConfig.from_dict({**data, "audio_strid": 3})
    del data["audio_stride"]
    with pytest.raises(CheckpointError, match="audio_stride"):
        ImageBindConfig.from_dict(data)
    with pytest.raises(CheckpointError, match="vision_heads"):
        ImageBindConfig.from_dict({**TINY.to_dict(), "vision_heads": 3})
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="JSON object"):
        ImageBindConfig.load(tmp_path)


def test_published_and_mini_grids():
    assert ImageBindConfig.huge().vision_patches == 256
    assert ImageBindConfig.huge().audio_grid == (12, 19)
    assert ImageBindConfig.mini().vision_patches == 64
    assert ImageBindConfig.mini().audio_grid == (8, 12)
