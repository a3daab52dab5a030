"""Latents that are kept between runs: made once for each autoencoder."""

import torch

from nextgpt_chat.training.autoencoder import mel_autoencoder
from nextgpt_chat.training.diffusion import cached_latents


def test_latents_are_kept_for_the_autoencoder_that_made_them_and_made_anew_for_another(tmp_path):
    made = []

    def batches():
        while True:
            made.append(len(made))
            yield [0, 1], torch.ones(2, 1, 64, 64)

    def latents(vae, count=4):
        return cached_latents(tmp_path / "sounds.pt", vae, batches, count, "sounds")[0]

    torch.manual_seed(0)
    first, second = mel_autoencoder(16), mel_autoencoder(16)
    kept = latents(first)
    assert torch.equal(latents(first), kept) and len(made) == 2
    assert not torch.equal(latents(second), kept) and len(made) == 4
    scaled = mel_autoencoder(16)
    scaled.load_state_dict(second.state_dict())
    scaled.register_to_config(scaling_factor=2.0)
    assert torch.allclose(latents(scaled), 2 * latents(second), atol=1e-2)
    before = len(made)
    latents(second, count=6)
    assert len(made) == before + 3  # too few were kept
