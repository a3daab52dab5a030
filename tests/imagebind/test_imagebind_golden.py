"""The encoder and its preprocessing against numbers from the original code."""

import fnmatch
import hashlib
import json
from pathlib import Path

import PIL.Image
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from nextgpt_chat.content import Image
from nextgpt_chat.imagebind import (
    ImageBind,
    ImageBindConfig,
    load_official,
    preprocess_frames,
    preprocess_image,
    preprocess_waveform,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
PREPROCESS = json.loads((GOLDEN / "preprocess.json").read_text())
ENCODER = json.loads((GOLDEN / "imagebind.json").read_text())
HUGE = ImageBindConfig.huge()


def assert_matches(rules, name, actual, expected):
    """The rule of the golden file's ``compare`` list that names this tensor decides."""
    rule = next(r for r in rules if any(fnmatch.fnmatch(name, p) for p in r["tensors"].split("|")))
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs()
    if rule["metric"] == "max_abs":
        assert (error <= rule["atol"] + rule["rtol"] * expected.double().abs()).all(), (name, error.max())
    else:
        assert rule["metric"] == "mean_abs"
        assert error.mean() <= rule["atol"], (name, error.mean())


def cases(kind):
    """Names of the cases whose media file is here (files of public data sets are not shipped)."""
    found = {name: case for name, case in PREPROCESS["cases"].items() if name.startswith(kind) and "file" in case}
    return [name for name, case in found.items() if (GOLDEN / case["file"]).exists()]


@pytest.fixture(scope="module")
def expected():
    return load_file(GOLDEN / "preprocess.safetensors")


@pytest.mark.parametrize("name", cases("image"))
def test_image_preprocessing_equals_the_original(name, expected):
    case = PREPROCESS["cases"][name]
    pixels = preprocess_image(Image.from_pil(PIL.Image.open(GOLDEN / case["file"])), HUGE)
    assert list(pixels[None].shape) == case["stats"]["shape"]
    assert pixels.mean().item() == pytest.approx(case["stats"]["mean"], abs=1e-3)
    assert_matches(PREPROCESS["compare"], name, pixels[:, ::2, ::2], expected[f"{name}_f16_s2"])


@pytest.mark.parametrize("name", cases("audio"))
def test_audio_preprocessing_equals_the_original(name, expected):
    case = PREPROCESS["cases"][name]
    samples, rate = soundfile.read(GOLDEN / case["file"], dtype="float32", always_2d=True)
    mel = preprocess_waveform(torch.from_numpy(samples.T.copy()), rate, HUGE)
    assert list(mel[None].shape) == case["stats"]["shape"]
    assert_matches(PREPROCESS["compare"], name, mel, expected[f"{name}_f16"])


def test_video_preprocessing_equals_the_original(expected):
    case = PREPROCESS["cases"]["video_raw"]
    views = preprocess_frames(expected["video_raw_frames_u8"], case["fps"], HUGE)
    assert list(views[None].shape) == case["stats"]["shape"]
    assert_matches(PREPROCESS["compare"], "video_raw_out_s8", views[..., ::8, ::8], expected["video_raw_out_s8"])


@pytest.fixture(scope="module")
def encoder():
    sizes = ENCODER["config"]
    config = ImageBindConfig(
        embedding_dim=sizes["out_embed_dim"],
        vision_width=sizes["vision_embed_dim"],
        vision_depth=sizes["vision_num_blocks"],
        vision_heads=sizes["vision_num_heads"],
        audio_width=sizes["audio_embed_dim"],
        audio_depth=sizes["audio_num_blocks"],
        audio_heads=sizes["audio_num_heads"],
        audio_drop_path=sizes["audio_drop_path"],
    ).without_text()
    weights = load_file(GOLDEN / ENCODER["weights"])
    return load_official({name.removeprefix("sd."): tensor for name, tensor in weights.items()}, config)


@pytest.fixture(scope="module")
def inputs():
    tensors = load_file(GOLDEN / "imagebind.safetensors")

    def enlarged(pixels, times):
        pixels = pixels.float() / 127.5 - 1
        return pixels.repeat_interleave(times, -1).repeat_interleave(times, -2)

    return {
        "image": enlarged(tensors["image_u8"], 8),
        "video": enlarged(tensors["video_u8"], 16),
        "audio": tensors["audio_mel_f16"].float(),
        "expected": tensors,
    }


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_embeddings_equal_the_original(encoder, inputs, kind):
    with torch.no_grad():
        embeddings = getattr(encoder, f"encode_{kind}")(inputs[kind])
    assert_matches(ENCODER["compare"], f"out_{kind}", embeddings, inputs["expected"][f"out_{kind}"])


@pytest.mark.parametrize(("kind", "tower"), [("image", "vision"), ("audio", "audio")])
def test_intermediate_states_equal_the_original(encoder, inputs, kind, tower):
    views = inputs["audio"][0] if kind == "audio" else inputs["image"]
    with torch.no_grad():
        tokens = encoder.modality_preprocessors[tower](views)
        states = encoder.modality_trunks[tower](tokens)
        head = encoder.modality_heads[tower](states)
    found = {f"{kind}_tokens_first8": tokens[:, :8], f"{kind}_trunk_first8": states[:, :8], f"{kind}_head": head}
    for name, actual in found.items():
        assert_matches(ENCODER["compare"], name, actual, inputs["expected"][name])


def test_huge_has_the_published_names_and_shapes():
    published = json.loads((GOLDEN / "imagebind_huge_shapes.json").read_text())["shapes"]
    wanted = {
        name: tuple(shape) for name, shape in published.items() if name.split(".")[1] in ("vision", "audio", "text")
    }
    with torch.device("meta"):
        model = ImageBind(HUGE)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == wanted


def test_golden_media_are_the_files_the_numbers_were_made_of():
    present = [case for name, case in PREPROCESS["cases"].items() if name in cases("image") + cases("audio")]
    assert len(present) >= 4
    for case in present:
        assert hashlib.sha256((GOLDEN / case["file"]).read_bytes()).hexdigest() == case["sha256"]
