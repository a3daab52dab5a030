"""Decoder folders: written, read, refused with a message that names the fault; safety checker; video speed-up."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import load_file, save_file

from nextgpt_chat.decoders import DECODERS, FlaggedImage, ImageDecoder, fast_temporal_convolutions
from nextgpt_chat.errors import CheckpointError

from .conftest import golden_folder, make_decoder, make_parts, small

WEIGHTS = "diffusion_pytorch_model.safetensors"


def decode(decoder, seed=1):
    return decoder.decode(decoder.encode_text(["rain"]), steps=2, guidance_scale=2.0, seed=seed, **small(decoder.kind))


def content(media) -> np.ndarray:
    name = {"image": "pixels", "audio": "samples", "video": "frames"}[media.kind]
    return getattr(media, name).astype(np.float64)


def assert_close(ours, theirs) -> None:
    assert np.abs(content(ours) - content(theirs)).max() <= (1e-4 if ours.kind == "audio" else 1)


@pytest.fixture
def folder(kind, saved_folders, tmp_path):
    return shutil.copytree(saved_folders[kind], tmp_path / kind)


def test_a_saved_folder_makes_the_same(kind, decoder, folder, tmp_path):
    loaded = DECODERS[kind].from_folder(folder)
    assert_close(decode(loaded), decode(decoder))
    assert not any(weight.requires_grad for model in loaded.modules() for weight in model.parameters())
    loaded.save_folder(tmp_path / "again")
    assert_close(decode(DECODERS[kind].from_folder(tmp_path / "again")), decode(decoder))


def test_half_precision_on_disk_leaves_memory_alone(kind, decoder, tmp_path):
    decoder.save_folder(tmp_path, dtype=torch.float16)
    assert decoder.dtype == torch.float32
    weights = load_file(tmp_path / "unet" / WEIGHTS)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    loaded = DECODERS[kind].from_folder(tmp_path)
    assert {model.dtype for model in loaded.modules()} == {torch.float32}
    for name, weight in decoder.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], weight.half().float())


def test_a_vocoder_has_the_finer_of_two_halves(saved_folders):
    loaded = DECODERS["audio"].from_folder(saved_folders["audio"], dtype=torch.bfloat16)
    assert (loaded.dtype, loaded.vae.dtype, loaded.vocoder.dtype) == (torch.bfloat16, torch.bfloat16, torch.float16)
    assert np.isfinite(content(decode(loaded))).all()


def test_sharded_weights_are_read(decoders, tmp_path):
    decoders["image"].save_folder(tmp_path, max_shard_size="100KB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    assert_close(decode(ImageDecoder.from_folder(tmp_path)), decode(decoders["image"]))


def test_fp16_variant_files_are_found(decoders, tmp_path):
    decoders["image"].save_folder(tmp_path, dtype=torch.float16)
    for name, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (tmp_path / name / f"{stem}.safetensors").rename(tmp_path / name / f"{stem}.fp16.safetensors")
    assert decode(ImageDecoder.from_folder(tmp_path)).pixels.shape == (16, 16, 3)


def test_bin_files_are_read_as_plain_tensors(decoders, saved_folders, tmp_path):
    folder = shutil.copytree(saved_folders["image"], tmp_path / "image")
    weights = load_file(folder / "unet" / WEIGHTS)
    (folder / "unet" / WEIGHTS).unlink()
    torch.save(weights, folder / "unet" / "diffusion_pytorch_model.bin")
    assert_close(decode(ImageDecoder.from_folder(folder)), decode(decoders["image"]))


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_bin_file_is_not_run(saved_folders, tmp_path):
    folder = shutil.copytree(saved_folders["image"], tmp_path / "image")
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(CheckpointError, match="unet"):
        ImageDecoder.from_folder(folder)
    assert not (tmp_path / "sprung").exists()


def test_missing_things_are_named(kind, folder):
    cls = DECODERS[kind]
    with pytest.raises(CheckpointError, match=r"nowhere.*model_index\.json is missing"):
        cls.from_folder(folder / "nowhere")
    (folder / "vae" / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="vae does not load as AutoencoderTiny"):
        cls.from_folder(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(CheckpointError, match="vae is missing"):
        cls.from_folder(folder)
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="names no vae"):
        cls.from_folder(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        cls.from_folder(folder)


def test_a_truncated_weight_file_is_refused(kind, folder):
    path = folder / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="unet does not load"):
        DECODERS[kind].from_folder(folder)


@pytest.mark.parametrize("name", ["unet", "text_encoder"])
def test_a_missing_weight_is_refused(kind, folder, name):
    path = next((folder / name).glob("*.safetensors"))
    weights = load_file(path)
    lost = next(key for key in weights if key.endswith("weight"))
    del weights[lost]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{name} lacks 1 weights"):
        DECODERS[kind].from_folder(folder)


@pytest.mark.parametrize(
    ("component", "class_name"), [("unet", "Transformer2DModel"), ("scheduler", "AutoencoderKL"), ("vae", "os")]
)
def test_unknown_classes_are_refused(kind, folder, component, class_name):
    index = json.loads((folder / "model_index.json").read_text())
    index[component] = ["diffusers", class_name]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"{component} is '{class_name}'"):
        DECODERS[kind].from_folder(folder)


def test_parts_that_do_not_fit_are_refused(saved_folders, tmp_path):
    from diffusers import AutoencoderTiny

    folder = shutil.copytree(saved_folders["image"], tmp_path / "image")
    blocks = {"encoder_block_out_channels": (8,), "decoder_block_out_channels": (8,)}
    counts = {"num_encoder_blocks": (1,), "num_decoder_blocks": (1,)}
    AutoencoderTiny(**blocks, **counts, latent_channels=6).save_pretrained(folder / "vae")
    with pytest.raises(CheckpointError, match="4 latent channels, its vae makes 6"):
        ImageDecoder.from_folder(folder)


def test_moving_forgets_what_was_cached(kind):
    decoder = make_decoder(kind)
    before = decoder.empty_conditioning()
    assert decoder.to(dtype=torch.float64).dtype == torch.float64
    assert decoder.empty_conditioning().dtype == torch.float64
    torch.testing.assert_close(decoder.empty_conditioning().float(), before)


def checked_decoder(threshold: float) -> ImageDecoder:
    """With a safety checker that flags cosines above ``threshold``."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = tiny | {"image_size": 32, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        checker = StableDiffusionSafetyChecker(
            CLIPConfig(text_config=tiny | {"vocab_size": 16}, vision_config=vision, projection_dim=8)
        ).eval()
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(threshold)
        checker.special_care_embeds_weights.fill_(2)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return ImageDecoder(**make_parts("image"), safety_checker=checker, feature_extractor=processor)


def test_the_safety_checker_blackens_what_it_flags(tmp_path):
    checked_decoder(-2.0).save_folder(tmp_path)
    picture = decode(ImageDecoder.from_folder(tmp_path))
    assert isinstance(picture, FlaggedImage) and not picture.pixels.any()
    assert "safety checker" in picture.notice


def test_the_safety_checker_lets_other_pictures_be(decoders):
    picture = decode(checked_decoder(2.0))
    assert not isinstance(picture, FlaggedImage)
    assert picture == decode(decoders["image"])


def test_a_checker_named_in_the_folder_may_not_be_lost(tmp_path):
    checked_decoder(2.0).save_folder(tmp_path)
    shutil.rmtree(tmp_path / "safety_checker")
    with pytest.raises(CheckpointError, match="safety_checker is missing"):
        ImageDecoder.from_folder(tmp_path)


def test_fast_temporal_convolutions_change_nothing_but_time(tmp_path):
    plain = make_parts("video")["unet"].requires_grad_(True)
    fast = copy.deepcopy(plain)
    weights = list(fast.parameters())
    count = sum(isinstance(module, torch.nn.Conv3d) for module in plain.modules())
    assert fast_temporal_convolutions(fast) == count > 0
    assert fast_temporal_convolutions(fast) == 0
    assert all(ours is theirs for ours, theirs in zip(fast.parameters(), weights, strict=True))

    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 5, 8, 6, generator=generator)
    states = torch.randn(2, 77, 24, generator=generator)
    outputs = [unet(latents, torch.tensor(300), states).sample for unet in (plain, fast)]
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    gradients = {name: weight.grad for name, weight in plain.named_parameters()}
    for name, weight in fast.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], atol=1e-5, rtol=1e-4)
    assert gradients["transformer_in.proj_in.weight"].abs().max() > 0

    fast.save_pretrained(tmp_path)
    reopened = UNet3DConditionModel.from_pretrained(tmp_path)
    assert {name: weight.shape for name, weight in reopened.state_dict().items()} == {
        name: weight.shape for name, weight in plain.state_dict().items()
    }
    assert type(next(m for m in reopened.modules() if isinstance(m, torch.nn.Conv3d))) is torch.nn.Conv3d


def test_published_folders_open(kind):
    """Folders written by the diffusers of 2023, with its config files."""
    decoder = DECODERS[kind].from_folder(golden_folder(kind))
    assert type(decoder.vae).__name__ == "AutoencoderKL"
    preview = decoder.preview(torch.zeros(1, 4, *((2,) if kind == "video" else ()), 8, 8))
    assert preview is None if kind == "audio" else preview.size == (8, 8)
