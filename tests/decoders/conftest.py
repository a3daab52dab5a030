"""Tiny decoders: the golden folders, and randomly initialised ones around an AutoencoderTiny."""

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
KINDS = ("image", "audio", "video")
GOLDEN_FOLDERS = {"image": "sd", "audio": "ad", "video": "vd"}
PIPELINES = {"image": "StableDiffusionPipeline", "audio": "AudioLDMPipeline", "video": "TextToVideoSDPipeline"}
WIDTH = 24  # of the conditioning


def golden_folder(kind: str) -> Path:
    return GOLDEN / "diffusion" / GOLDEN_FOLDERS[kind]


def _vae(channels: int):
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        in_channels=channels,
        out_channels=channels,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    )


def _text_parts(kind: str):
    import transformers

    folder = golden_folder(kind) / "tokenizer"
    if kind == "audio":
        tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
        config = transformers.ClapTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=WIDTH,
            max_position_embeddings=514,
        )
        return tokenizer, transformers.ClapTextModelWithProjection(config)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
    )
    return tokenizer, transformers.CLIPTextModel(config)


def _unet(kind: str):
    import diffusers

    common = {"in_channels": 4, "out_channels": 4, "layers_per_block": 1, "sample_size": 8, "norm_num_groups": 8}
    if kind == "video":
        unet = diffusers.UNet3DConditionModel(
            **common,
            block_out_channels=(32, 32),
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
        )
        for name, weight in unet.named_parameters():
            if "conv4" in name:  # zero at first, which would hide the temporal convolutions from every test
                torch.nn.init.normal_(weight, std=0.1)
        return unet
    common |= {
        "block_out_channels": (16, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 4,
    }
    if kind == "image":
        return diffusers.UNet2DConditionModel(**common, cross_attention_dim=WIDTH)
    unet = diffusers.UNet2DConditionModel(
        **common,
        cross_attention_dim=(16, 16),
        class_embed_type="simple_projection",
        class_embeddings_concat=True,
        projection_class_embeddings_input_dim=WIDTH,
    )
    with torch.no_grad():
        unet.class_embedding.weight.mul_(30)  # as first drawn, an untrained network hardly hears its conditioning
    return unet


def make_parts(kind: str) -> dict:
    """Randomly initialised parts of a decoder of this kind, the same at every call."""
    import transformers
    from diffusers import DDIMScheduler

    with torch.random.fork_rng():
        torch.manual_seed(KINDS.index(kind))
        tokenizer, text_encoder = _text_parts(kind)
        parts = {"tokenizer": tokenizer, "text_encoder": text_encoder}
        parts |= {"unet": _unet(kind), "vae": _vae(1 if kind == "audio" else 3)}
        if kind == "audio":
            config = transformers.SpeechT5HifiGanConfig(
                model_in_dim=8,
                sampling_rate=16000,
                upsample_initial_channel=8,
                upsample_rates=[5, 4, 8],
                upsample_kernel_sizes=[15, 8, 16],
                resblock_kernel_sizes=[3],
                resblock_dilation_sizes=[[1, 3]],
                normalize_before=False,
                initializer_range=0.2,
            )
            parts["vocoder"] = transformers.SpeechT5HifiGan(config)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
    parts["scheduler"] = DDIMScheduler(
        prediction_type="v_prediction",
        beta_schedule="scaled_linear",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    return parts


def make_decoder(kind: str):
    from nextgpt_chat.decoders import DECODERS

    return DECODERS[kind](**make_parts(kind))


def small(kind: str) -> dict:
    """Size arguments of ``decode`` for a result that is made in no time."""
    return {
        "image": {"width": 16, "height": 16},
        "audio": {"seconds": 0.25},
        "video": {"width": 16, "height": 16, "frames": 3},
    }[kind]


@pytest.fixture(scope="session", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def decoders() -> dict:
    return {kind: make_decoder(kind) for kind in KINDS}


@pytest.fixture
def decoder(kind, decoders):
    return decoders[kind]


@pytest.fixture(scope="session")
def saved_folders(decoders, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("decoders")
    for kind, decoder in decoders.items():
        decoder.save_folder(root / kind)
    return {kind: root / kind for kind in KINDS}
