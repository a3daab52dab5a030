"""The same weights, words, seed, scheduler and steps give what diffusers' own pipelines give."""

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nextgpt_chat.decoders import DECODERS, sampling

from .conftest import GOLDEN, PIPELINES, golden_folder, small


def array_of(media) -> np.ndarray:
    name = {"image": "pixels", "audio": "samples", "video": "frames"}[media.kind]
    return getattr(media, name).astype(np.float64)


def test_keep_end_cuts_long_captions_like_the_original():
    decoder, long = DECODERS["image"].from_folder(golden_folder("image")), " ".join(["word"] * 60)
    states = decoder.encode_text([long], keep_end=True)
    expected = load_file(GOLDEN / "diffusion.safetensors")["sd.return_prompts_only_long"]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(states, decoder.encode_text([long]), atol=1e-2)


def run_pipeline(pipeline, kind: str, words: list[str] | None, seed: int, **options) -> np.ndarray:
    """Float arrays (B, …): pixels in [0, 1] or samples."""
    sizes = small(kind)
    renamed = {"seconds": "audio_length_in_s", "frames": "num_frames"}
    options |= {renamed.get(name, name): value for name, value in sizes.items()}
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(words, generator=torch.Generator("cpu").manual_seed(seed), output_type="np", **options)
    return np.stack(list(output["audios" if kind == "audio" else "frames" if kind == "video" else "images"]))


@pytest.mark.parametrize("source", ["golden", "tiny"])
@pytest.mark.parametrize("scheduler", ["checkpoint", "dpm++"])
def test_equals_diffusers_own_pipeline(kind, source, scheduler, saved_folders, monkeypatch):
    folder = golden_folder(kind) if source == "golden" else saved_folders[kind]
    decoder = DECODERS[kind].from_folder(folder)
    pipeline = getattr(diffusers, PIPELINES[kind]).from_pretrained(folder, torch_dtype=torch.float32)
    if scheduler == "dpm++":
        pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    words = ["a small dog", "rain"]
    expected = run_pipeline(pipeline, kind, words, seed=5, num_inference_steps=4, guidance_scale=3.0)

    # Compared before rounding to 8 bits.
    decoded = []
    decode_with_vae = decoder._decode_with_vae
    monkeypatch.setattr(
        decoder, "_decode_with_vae", lambda *a, **k: decoded.append(decode_with_vae(*a, **k)) or decoded[-1]
    )
    made = decoder.decode(
        decoder.encode_text(words), seed=5, steps=4, guidance_scale=3.0, scheduler=scheduler, **small(kind)
    )
    if kind == "audio":
        ours = np.stack([one.samples for one in made])
    else:
        ours = (decoded[0] / 2 + 0.5).clamp(0, 1).movedim(1, -1).numpy().reshape(expected.shape)
        levels = np.stack([array_of(one) for one in made])
        assert np.abs(levels - expected * 255).max() <= 1
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    if source == "tiny":  # the comparison means something: other words give another result
        other = run_pipeline(pipeline, kind, ["tree"] * 2, seed=5, num_inference_steps=4, guidance_scale=3.0)
        assert np.abs(other - expected).max() > 1e-3


def test_without_guidance_equals_diffusers_own_pipeline(kind, decoder, saved_folders):
    pipeline = getattr(diffusers, PIPELINES[kind]).from_pretrained(saved_folders[kind])
    expected = run_pipeline(pipeline, kind, ["rain"], seed=7, num_inference_steps=3, guidance_scale=1.0)[0]
    made = decoder.decode(
        decoder.encode_text(["rain"]), seed=7, steps=3, guidance_scale=1.0, scheduler="checkpoint", **small(kind)
    )
    if kind == "audio":
        np.testing.assert_allclose(array_of(made), expected, atol=1e-4)
    else:
        assert np.abs(array_of(made) - expected * 255).max() <= 1


# The folders' own schedulers: SD 1.5 ships PNDM, AudioLDM DDIM, SD 2 (the code of 2024) Euler.
SCHEDULERS = ("DPMSolverMultistepScheduler", "PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler")


def latents_and_media(pipeline, kind: str, conditioning: torch.Tensor, noise: torch.Tensor, **options):
    """What diffusers' own loop ends with before it decodes, and the float arrays (B, …) that it decodes."""
    seen = []
    if kind == "image":
        options["callback_on_step_end"] = lambda _, __, ___, values: seen.append(values["latents"].clone()) or values
    else:
        options |= {"callback": lambda _, __, values: seen.append(values.clone()), "callback_steps": 1}
    media = run_pipeline(pipeline, kind, None, 0, prompt_embeds=conditioning, latents=noise.clone(), **options)
    return seen[-1], media


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_conditioning_and_noise_give_the_same_latents(kind, scheduler, saved_folders, monkeypatch):
    """As the output projections use a decoder: conditioning that no text encoder made."""
    decoder = DECODERS[kind].from_folder(saved_folders[kind])
    pipeline = getattr(diffusers, PIPELINES[kind]).from_pretrained(saved_folders[kind], torch_dtype=torch.float32)
    decoder.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(11)
    conditioning = torch.randn(2, *decoder.conditioning_shape, generator=generator)
    shapes, get_noise = [], sampling.get_noise
    monkeypatch.setattr(sampling, "get_noise", lambda shape, g: shapes.append(shape) or get_noise(shape, g))
    decoder.decode(conditioning, seed=0, steps=1, guidance_scale=1.0, **small(kind))
    noise = torch.randn(shapes[0], generator=generator)

    found, decode_latents = [], decoder.decode_latents
    monkeypatch.setattr(decoder, "decode_latents", lambda x, **k: found.append(x.clone()) or decode_latents(x, **k))
    made = decoder.decode(
        conditioning, latents=noise, steps=5, guidance_scale=3.0, scheduler="checkpoint", **small(kind)
    )
    latents, media = latents_and_media(pipeline, kind, conditioning, noise, num_inference_steps=5, guidance_scale=3.0)
    torch.testing.assert_close(found[0], latents.reshape(found[0].shape), atol=1e-4, rtol=0)
    ours = np.stack([array_of(one) for one in made])
    if kind == "audio":
        np.testing.assert_allclose(ours, media, atol=1e-4)
    else:
        assert np.abs(ours - media.reshape(ours.shape) * 255).max() <= 1
    if scheduler == "DPMSolverMultistepScheduler":  # what "dpm++" means, over a folder with any scheduler of its own
        decoder.scheduler = diffusers.PNDMScheduler.from_config(decoder.scheduler.config)
        again = decoder.decode(
            conditioning, latents=noise, steps=5, guidance_scale=3.0, scheduler="dpm++", **small(kind)
        )
        assert [array_of(one).tolist() for one in again] == [array_of(one).tolist() for one in made]
