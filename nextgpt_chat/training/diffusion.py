"""Pretraining of the three small diffusion decoders, each together with its own text encoder, on cached latents.

Velocity prediction (Salimans & Ho 2022), a tenth of the captions emptied for classifier-free guidance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel, UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers import ClapTextConfig, ClapTextModelWithProjection, CLIPTextConfig, CLIPTextModel

from .autoencoder import LATENT_CHANNELS
from .caption_tokens import CONTEXT
from .loop import Recipe, fit, has_fast_bf16, step_rng, write_state

EMPTY_SHARE = 0.1


def make_scheduler() -> DDIMScheduler:
    """SD's schedule with a noisier end, so that sampling may start from pure noise; "trailing" starts there."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
    )


def clip_text_encoder(tokenizer, width: int = 128, layers: int = 2) -> CLIPTextModel:
    """States (B, 77, width) for the image and video decoders."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=CONTEXT,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def clap_text_encoder(tokenizer, width: int = 128, layers: int = 2) -> ClapTextModelWithProjection:
    """One embedding (B, width) for the audio decoder. Positions for ``width`` tokens: AudioLDM's stock pipeline pads
    the empty prompt to that many."""
    config = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=max(width, CONTEXT) + tokenizer.pad_token_id + 1,
        projection_dim=width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return ClapTextModelWithProjection(config)


def _unet(channels: tuple[int, ...], latent_channels: int, size: int, **conditioning: Any) -> UNet2DConditionModel:
    # Attention where it is cheap, at the lower of two resolutions. ``attention_head_dim`` counts heads in 2-d UNets.
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=tuple(c // 32 for c in channels),
        norm_num_groups=16,
        **conditioning,
    )


def image_unet(channels: tuple[int, ...] = (64, 128), text_width: int = 128) -> UNet2DConditionModel:
    """Latents (B, 12, 16, 16), attending to a text encoder's states."""
    return _unet(channels, LATENT_CHANNELS["picture"], 16, cross_attention_dim=text_width)


def audio_unet(channels: tuple[int, ...] = (64, 128), embedding: int = 128) -> UNet2DConditionModel:
    """Latents (B, 8, 25, 8) of 2-second mel spectrograms, conditioned by one embedding in place of class labels."""
    return _unet(
        channels,
        LATENT_CHANNELS["mel"],
        25,
        cross_attention_dim=channels,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=embedding,
        class_embeddings_concat=True,
    )


def video_unet(channels: tuple[int, ...] = (64, 128), text_width: int = 128) -> UNet3DConditionModel:
    """Latents (B, 12, 8 frames, 8, 8). (In 3-d UNets ``attention_head_dim`` is a head's width.)"""
    return UNet3DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS["picture"],
        out_channels=LATENT_CHANNELS["picture"],
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
        cross_attention_dim=text_width,
        attention_head_dim=32,
        norm_num_groups=16,
    )


@torch.no_grad()
def cached_latents(
    file: Path, vae: AutoencoderTiny, batches: Callable[[], Iterator[tuple[list[int], Tensor]]], count: int, label: str
) -> tuple[Tensor, list[int]]:
    """At least ``count`` rows and their float16 latents of unit variance; made once for each autoencoder, kept in
    ``file``.

    ``batches`` yields (rows, inputs of the autoencoder) without end; a row may have several inputs (a clip's frames).
    """
    encoder = _fingerprint(vae)
    if file.exists():
        saved = torch.load(file, weights_only=True)
        if len(saved["rows"]) >= count and saved.get("encoder") == encoder:
            return saved["latents"], saved["rows"]
    device = next(vae.parameters()).device
    latents, rows = [], []
    with tqdm(total=count, desc=f"latents of {label}", mininterval=5) as bar:
        for some, inputs in batches():
            # Half precision errs by less than the noise that the decoder was trained to ignore.
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device)):
                z = vae.encoder(inputs.to(device, memory_format=torch.channels_last))
            latents.append((z * vae.config.scaling_factor).half().cpu().contiguous())
            rows += some
            bar.update(len(some))
            if len(rows) >= count:
                break
    file.parent.mkdir(parents=True, exist_ok=True)
    result = torch.cat(latents)
    write_state(file, {"latents": result, "rows": rows, "encoder": encoder})
    return result, rows


def _fingerprint(vae: AutoencoderTiny) -> str:
    """Of what latents depend on: the encoder's weights and the scale."""
    digest = hashlib.sha256(repr(float(vae.config.scaling_factor)).encode())
    for name, weights in sorted(vae.encoder.state_dict().items()):
        digest.update(name.encode() + weights.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_diffusion(
    name: str,
    unet: nn.Module,
    text_encoder: nn.Module,
    encode: Callable[[list[str]], Tensor],
    draw_batch: Callable[[np.random.Generator, int], tuple[Tensor, list[str]]],
    recipe: Recipe,
    run: Path,
    *,
    early: float = 1.0,
    moving: float = 1.0,
    resume: bool = True,
    after: Path | None = None,
) -> dict[str, float]:
    """Fit ``unet`` and ``text_encoder`` together.

    Args:
        encode: captions → conditioning, differentiable; ``""`` is the unconditional one.
        draw_batch: (rng, size) → clean latents (size, …) of unit variance and their captions.
        early: how much of the training goes to what a sampler does first: the density of a time step t, 1 being pure
            noise, is proportional to t to the power of ``early`` − 1. 1 treats all alike.
        moving: how many times what changes from frame to frame counts in the loss, beside the frames' mean.
    """
    scheduler = make_scheduler()
    device = next(unet.parameters()).device
    as_class = isinstance(unet, UNet2DConditionModel) and unet.config.class_embed_type is not None
    plain = isinstance(unet, UNet2DConditionModel)
    if plain:
        # The fused attention kernel is slow on CPU for narrow heads, and very slow in bf16.
        processors = unet.attn_processors
        unet.set_attn_processor(AttnProcessor())
        unet.to(memory_format=torch.channels_last)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = step_rng(recipe.seed, step)
        clean, captions = draw_batch(rng, recipe.batch)
        captions = ["" if rng.random() < EMPTY_SHARE else caption for caption in captions]
        clean = clean.to(device, torch.float32)
        noise = torch.randn_like(clean)
        # One time step from each of ``batch`` equal slices: less noise in the loss than independent ones.
        slices = ((torch.arange(len(clean)) + torch.rand(len(clean))) / len(clean)) ** (1 / early)
        times = (slices[torch.randperm(len(clean))] * scheduler.config.num_train_timesteps).long().to(device)
        noisy = scheduler.add_noise(clean, noise, times)
        wanted = scheduler.get_velocity(clean, noise, times)
        with nullcontext() if device.type == "cuda" else sdpa_kernel(SDPBackend.MATH):
            condition = encode(captions)
            if as_class:
                made = unet(noisy, times, encoder_hidden_states=None, class_labels=condition).sample
            else:
                made = unet(noisy, times, encoder_hidden_states=condition).sample
        error = made.float() - wanted
        if moving != 1.0:
            mean = error.mean(2, keepdim=True)
            error = mean + moving**0.5 * (error - mean)
        return error.square().mean(), {}

    unet.train(), text_encoder.train()
    modules = {"unet": unet, "text_encoder": text_encoder}
    result = fit(name, recipe, modules, loss, run, resume=resume, after=after)
    unet.eval(), text_encoder.eval()
    if plain:
        unet.set_attn_processor(processors)
        unet.to(memory_format=torch.contiguous_format)
    return result
