"""bench/full_size.py: refuses without a GPU, and its turn runs at a tiny size on the CPU."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import torch

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.checkpoints.planning import PLANS
from nextgpt_chat.config import GenerationSettings

BENCH = Path(__file__).parents[1] / "bench"
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
}
UNET = {
    "block_out_channels": [16, 16],
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "sample_size": 8,
}
FLAT = {
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
DEEP = {
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
}
TEXT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 12,
}
DECODERS = {
    "image": {
        "unet": {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 16, **UNET, **FLAT},
        "vae": VAE,
        "text_encoder": {"_class_name": "CLIPTextModel", **TEXT},
    },
    "audio": {
        "unet": {
            "_class_name": "UNet2DConditionModel",
            "cross_attention_dim": [16, 16],
            "class_embed_type": "simple_projection",
            "class_embeddings_concat": True,
            "projection_class_embeddings_input_dim": 12,
            **UNET,
            **FLAT,
        },
        "vae": VAE | {"in_channels": 1, "out_channels": 1},
        "text_encoder": {"_class_name": "ClapTextModelWithProjection", **TEXT},
        "vocoder": {
            "_class_name": "SpeechT5HifiGan",
            "model_in_dim": 8,
            "sampling_rate": 16000,
            "upsample_initial_channel": 8,
            "upsample_rates": [5, 4, 8],
            "upsample_kernel_sizes": [15, 8, 16],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
            "normalize_before": False,
        },
    },
    "video": {
        "unet": {"_class_name": "UNet3DConditionModel", "cross_attention_dim": 16, **UNET, **DEEP},
        "vae": VAE,
        "text_encoder": {"_class_name": "CLIPTextModel", **TEXT},
    },
}
SIZES = {
    "language_model": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 600,
        "max_position_embeddings": 512,
    },
    "adapter": {"rank": 2, "alpha": 2, "targets": ["q_proj"]},
    "imagebind": {
        "text_depth": 0,
        "embedding_dim": 12,
        "image_size": 28,
        "vision_width": 16,
        "vision_depth": 1,
        "vision_heads": 2,
        "audio_width": 16,
        "audio_depth": 1,
        "audio_heads": 2,
    },
    "conditioning": {"image": 16, "audio": 12, "video": 16},
    "decoders": DECODERS,
}
SMALL = {
    "text": {"temperature": 1.0},
    "image": {"steps": 1, "guidance_scale": 2.0, "width": 32, "height": 32},
    "audio": {"steps": 1, "guidance_scale": 2.0, "seconds": 0.5},
    "video": {"steps": 1, "guidance_scale": 2.0, "frames": 2, "width": 32, "height": 32},
}


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("full_size")


@pytest.fixture
def folder(tmp_path):
    data = json.loads((shipped_checkpoints()["nextgpt-7b-tiva-v0"] / "nextgpt.json").read_text())
    data |= {"name": "small", "defaults": SMALL, "extra": {"sizes": SIZES}}
    Manifest.from_dict(data).save(tmp_path)
    return tmp_path


def test_a_turn_without_a_gpu_is_refused_in_one_line(bench, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for given in (["--gpu"], ["--device", "cuda:0"]):
        assert bench.main(given) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "--meta" in said.err


def test_without_a_gpu_it_counts(bench, folder, capsys):
    assert bench.main(["--meta", "--checkpoint", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "| video_decoder |" in out and "| 8 | bf16 |" in out


@pytest.mark.parametrize("plan", ["fp32", "bf16-offload"])
def test_a_whole_turn_with_random_weights(bench, folder, plan, monkeypatch):
    monkeypatch.setattr(bench, "NEW_TOKENS", 8)
    pipeline = bench.random_pipeline(folder, torch.device("cpu"), torch.float32, PLANS[plan])
    costs = bench.whole_turn(pipeline, 1, GenerationSettings())
    assert set(costs) == set(bench.STAGES)
    parts = sum(costs[stage].seconds for stage in bench.STAGES[:-1])
    assert 0 < parts <= costs["total"].seconds and costs["total"].peak == 0


def test_a_language_model_that_is_to_stay_on_the_cpu_is_made_there(bench, folder):
    plan = dataclasses.replace(PLANS["bf16-lm-cpu"], offload=False)  # what has no data cannot wait elsewhere
    pipeline = bench.random_pipeline(folder, torch.device("meta"), torch.float32, plan)
    model = pipeline.model
    assert {one.device.type for one in model.language_model.parameters()} == {"cpu"}
    assert {one.device.type for one in model.input_projection.parameters()} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.slow
def test_the_full_size_model_makes_a_whole_turn(bench, capsys):
    assert bench.main(["--gpu", "--repeats", "1"]) == 0
    assert "| total |" in capsys.readouterr().out
