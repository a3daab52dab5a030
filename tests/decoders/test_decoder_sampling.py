"""Seeds, batches, progress, cancelling, guidance and previews of all three decoders."""

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.decoders import Cancelled, sampling
from nextgpt_chat.decoders.pixels import fit_rgb_projection, project_to_rgb
from nextgpt_chat.errors import LimitError

from .conftest import WIDTH, make_decoder, small


def decode(decoder, words=("rain",), **options):
    options = {"steps": 3, "guidance_scale": 2.0, "seed": 1} | small(decoder.kind) | options
    return decoder.decode(decoder.encode_text(list(words)), **options)


def content(media) -> np.ndarray:
    name = {"image": "pixels", "audio": "samples", "video": "frames"}[media.kind]
    return getattr(media, name).astype(np.float64)


def test_makes_media_of_the_size_asked_for(decoders):
    image = decode(decoders["image"], width=24, height=16)
    assert isinstance(image, Image) and image.pixels.shape == (16, 24, 3)
    audio = decode(decoders["audio"], seconds=0.33)
    assert isinstance(audio, Audio) and (len(audio.samples), audio.rate) == (5280, 16000)
    video = decode(decoders["video"], width=24, height=16, frames=5, fps=4)
    assert isinstance(video, Video) and video.frames.shape == (5, 16, 24, 3) and video.fps == 4


def test_the_checkpoint_own_size_is_the_default(decoders):
    assert decode(decoders["image"], width=None, height=None, steps=1).pixels.shape == (16, 16, 3)
    assert decode(decoders["audio"], seconds=None, steps=1).seconds == pytest.approx(0.16)


def test_a_seed_repeats_and_another_seed_does_not(decoder):
    assert decode(decoder) == decode(decoder)
    assert decode(decoder) != decode(decoder, seed=2)
    generator = torch.Generator("cpu").manual_seed(1)
    assert decode(decoder, seed=None, generator=generator) == decode(decoder)


def test_the_words_matter(decoder):
    assert decode(decoder, ["rain"]) != decode(decoder, ["a small dog"])


def test_a_batch_equals_its_singles(decoder):
    together = decode(decoder, ["rain", "a small dog"], seed=[3, 4])
    singles = [decode(decoder, ["rain"], seed=3), decode(decoder, ["a small dog"], seed=[4])]
    assert isinstance(together, list) and not isinstance(singles[0], list)
    for ours, theirs in zip(together, singles, strict=True):
        assert np.abs(content(ours) - content(theirs)).max() <= (1e-4 if decoder.kind == "audio" else 1)


def test_noise_may_be_given(decoder):
    seen = []
    decode(decoder, steps=1, on_step=lambda *event: seen.append(event[2].shape))
    noise = sampling.get_noise(tuple(seen[0]), torch.Generator("cpu").manual_seed(1))
    assert decode(decoder, seed=None, latents=noise) == decode(decoder)
    with pytest.raises(ValueError, match="latents must be"):
        decode(decoder, seed=None, latents=noise[..., :1])


@pytest.mark.parametrize("scheduler", ["dpm++", "checkpoint"])
def test_every_step_is_reported_once(decoder, scheduler):
    events = []
    decode(decoder, steps=4, scheduler=scheduler, on_step=lambda *event: events.append(event))
    assert [event[:2] for event in events] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.PNDMScheduler(skip_prk_steps=True),
        diffusers.HeunDiscreteScheduler(),
        diffusers.EulerAncestralDiscreteScheduler(),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_other_schedulers_report_their_steps_too(decoder, scheduler, monkeypatch):
    monkeypatch.setattr(decoder, "scheduler", scheduler)
    events = []
    decode(decoder, steps=4, scheduler="checkpoint", on_step=lambda *event: events.append(event[:2]))
    assert events == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert decode(decoder, scheduler="checkpoint") == decode(decoder, scheduler="checkpoint")


def test_reported_latents_approach_the_result(decoders):
    """The last report is the finished latents: decoding them gives the picture."""
    seen = []
    picture = decode(decoders["image"], steps=6, on_step=lambda *event: seen.append(event[2]))
    assert decoders["image"].decode_latents(seen[-1])[0] == picture


@pytest.mark.parametrize("after", [0, 1, 2])
def test_cancel_stops_before_the_next_step(decoder, after):
    steps = []
    with pytest.raises(Cancelled):
        decode(decoder, on_step=lambda *event: steps.append(event[0]), should_stop=lambda: len(steps) >= after)
    assert steps == list(range(1, after + 1))


def test_cancel_after_the_last_step_skips_the_autoencoder(decoder, monkeypatch):
    steps, decoded = [], []
    monkeypatch.setattr(decoder.vae, "decode", lambda *a, **k: decoded.append(a))
    with pytest.raises(Cancelled):
        decode(decoder, on_step=lambda *event: steps.append(event[0]), should_stop=lambda: len(steps) >= 3)
    assert steps == [1, 2, 3] and not decoded


def test_cancel_before_the_vocoder(decoders, monkeypatch):
    decoder, decoded = decoders["audio"], []
    decode_with_vae = decoder._decode_with_vae
    monkeypatch.setattr(decoder, "_decode_with_vae", lambda *a, **k: decoded.append(True) or decode_with_vae(*a, **k))
    monkeypatch.setattr(decoder, "vocode", lambda *a, **k: pytest.fail("the vocoder ran"))
    # Asked before 3 steps, before the autoencoder, before the vocoder.
    answers = iter([False] * 4 + [True])
    with pytest.raises(Cancelled):
        decode(decoder, should_stop=lambda: next(answers))
    assert decoded


def count_samples(decoder, monkeypatch, **options) -> list[int]:
    sizes = []
    forward = decoder.unet.forward
    monkeypatch.setattr(decoder.unet, "forward", lambda x, *a, **k: sizes.append(len(x)) or forward(x, *a, **k))
    decode(decoder, **options)
    return sizes


def test_guidance_up_to_one_runs_the_model_once_a_step(decoder, monkeypatch):
    assert count_samples(decoder, monkeypatch, guidance_scale=1.0) == [1, 1, 1]


def test_guidance_runs_both_sides_in_one_batch(decoder, monkeypatch):
    assert count_samples(decoder, monkeypatch, guidance_scale=2.0) == [2, 2, 2]


def test_the_empty_prompt_is_encoded_once(kind, monkeypatch):
    decoder = make_decoder(kind)
    calls = []
    forward = decoder.text_encoder.forward
    monkeypatch.setattr(decoder.text_encoder, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    conditioning = torch.zeros(1, *decoder.conditioning_shape)
    for seed in (1, 2):
        decoder.decode(conditioning, steps=1, guidance_scale=2.0, seed=seed, **small(kind))
    assert len(calls) == 1


def test_conditioning_has_the_stated_shape(decoder):
    assert decoder.conditioning_shape == ((WIDTH,) if decoder.kind == "audio" else (77, WIDTH))
    states = decoder.encode_text(["rain", "a small dog", "x" * 2000])
    assert states.shape == (3, *decoder.conditioning_shape)
    assert decoder.empty_conditioning().shape == (1, *decoder.conditioning_shape)
    if decoder.kind == "audio":
        torch.testing.assert_close(states.norm(dim=-1), torch.ones(3))
    single = decoder.decode(states[0], steps=1, guidance_scale=1.0, seed=1, **small(decoder.kind))
    assert not isinstance(single, list)


def test_programmers_mistakes_are_named(decoder):
    with pytest.raises(ValueError, match="conditioning must be"):
        decoder.decode(torch.zeros(1, 5), steps=1, guidance_scale=1.0, seed=1)
    with pytest.raises(ValueError, match="give a seed"):
        decode(decoder, seed=None)
    with pytest.raises(ValueError, match="not both"):
        decode(decoder, generator=torch.Generator())
    with pytest.raises(ValueError, match="batch of 1"):
        decode(decoder, seed=[1, 2])
    with pytest.raises(ValueError, match="'ddim'"):
        decode(decoder, scheduler="ddim")
    with pytest.raises(ValueError, match="steps"):
        decode(decoder, steps=0)


def test_sizes_that_do_not_fit_are_refused(decoders):
    with pytest.raises(LimitError, match="width is 17 pixels"):
        decode(decoders["image"], width=17)
    with pytest.raises(LimitError, match="height is 1 pixels"):
        decode(decoders["video"], height=1)
    with pytest.raises(LimitError, match="frames is 0"):
        decode(decoders["video"], frames=0)
    with pytest.raises(LimitError, match=r"shortest sound is 0\.02 seconds"):
        decode(decoders["audio"], seconds=0.01)


def test_previews_are_small_pictures(decoder):
    seen = []
    decode(decoder, steps=2, on_step=lambda *event: seen.append(decoder.preview(event[2])))
    assert len(seen) == 2
    # Sound: 0.25 s are 26 mel frames of 8 bins, time to the right.
    size = (26, 8) if decoder.kind == "audio" else (16, 16)
    assert all(isinstance(one, PIL.Image.Image) and one.size == size and one.mode == "RGB" for one in seen)
    if decoder.kind == "image":
        assert np.array_equal(np.asarray(seen[-1]), decode(decoder, steps=2).pixels)


class LinearAutoencoder:
    """Pixels are a linear code of the latents, as the preview supposes."""

    device, dtype = torch.device("cpu"), torch.float32
    config = type("Config", (), {"latent_channels": 4, "scaling_factor": 0.5})
    code = torch.tensor([[0.3, 0.1, 0.0], [0.0, 0.2, 0.1], [-0.1, 0.0, 0.3], [0.1, -0.2, 0.0]])

    def decode(self, latents):
        pixels = torch.einsum("bchw,cr->brhw", latents, self.code) + 0.25
        return type("Output", (), {"sample": pixels.repeat_interleave(8, 2).repeat_interleave(8, 3)})


def test_the_colour_map_of_previews_is_found():
    projection = fit_rgb_projection(LinearAutoencoder(), 8)
    torch.testing.assert_close(projection[:-1], LinearAutoencoder.code / 0.5, atol=1e-5, rtol=0)
    torch.testing.assert_close(projection[-1], torch.full((3,), 0.25), atol=1e-5, rtol=0)
    latents = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = LinearAutoencoder().decode(latents / 0.5).sample[:, :, ::8, ::8]
    torch.testing.assert_close(project_to_rgb(latents, projection), expected, atol=1e-5, rtol=0)
