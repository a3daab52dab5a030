"""The text encoder of the sounds' decoder learns what captions say, pair by pair or not."""

import numpy as np
import pytest
import torch

from nextgpt_chat.picturebook import captions, is_held_out, parse
from nextgpt_chat.training import diffusion, worlddata
from nextgpt_chat.training.caption_tokens import train_roberta_tokenizer
from nextgpt_chat.training.codes import AttributeCodes
from nextgpt_chat.training.loop import Recipe
from nextgpt_chat.training.pretraining import _clap_encode
from nextgpt_chat.training.sound_captions import draw_caption, train_sound_captions


def test_captions_are_of_training_sounds_and_say_their_pitch_in_words_numbers_or_not():
    rng, seen = np.random.default_rng(0), {"word": 0, "number": 0, "none": 0}
    for _ in range(300):
        said, sound, octaves = draw_caption(rng)
        by_number = any(sign in said for sign in "+-")
        seen["none" if octaves is None else "number" if by_number else "word"] += 1
        assert parse(said)["source"] == sound.source
        assert by_number or not is_held_out(sound)
        assert "pitch" not in said or octaves is not None
    assert min(seen.values()) > 20


@pytest.mark.slow
def test_a_pair_that_was_never_read_comes_out_as_the_sum_of_its_words(tmp_path):
    torch.manual_seed(0)
    tokenizer = train_roberta_tokenizer()
    encoder = diffusion.clap_text_encoder(tokenizer, 64)
    encode = _clap_encode(tokenizer, encoder)
    recipe = Recipe(steps=400, learning_rate=2e-3, batch=48, average=0.98, warmup=20, precision="fp32")
    train_sound_captions(encoder, encode, recipe, tmp_path / "run")
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    held, codes = worlddata.sounds(held_out=True), AttributeCodes(64, names=("source", "pitch", "speed"))
    every = [*worlddata.sounds(), *held]
    with torch.no_grad():
        read = encode([captions(sound)[0] for sound in held])
    nearest = [every[i] for i in torch.cdist(read, codes.sums(every)).argmin(1)]
    assert sum(found == sound for found, sound in zip(nearest, held, strict=True)) >= 20
