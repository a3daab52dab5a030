import numpy as np
import pytest
import torch
from torch import nn

from nextgpt_chat.content import Audio, Image, Video
from nextgpt_chat.decoders.mel import log_mel
from nextgpt_chat.evaluation import gates
from nextgpt_chat.evaluation.cases import choose, pool, render
from nextgpt_chat.picturebook import CLIP_FPS, SAMPLE_RATE, Clip, Scene, Sound, is_held_out, parse
from tests.evaluation import degrading


class Identity(nn.Module):
    """An autoencoder that keeps everything; ``tint`` turns red to green, say."""

    def __init__(self, tint: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.tint = tint

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1) if self.tint else x

    def decoder(self, x: torch.Tensor) -> torch.Tensor:
        return x


class ReadingDecoder:
    """A decoder whose conditioning is the caption itself, and whose media are true renderings of it; every fourth of
    them, by its seed, of another thing."""

    def __init__(self, kind: str, faulty: bool = False) -> None:
        self.kind, self.faulty, self.vae, self.settings = kind, faulty, Identity(), []

    def encode_text(self, captions: list[str]) -> list[str]:
        return captions

    def decode(self, captions, *, steps, guidance_scale, seed, **settings):
        self.settings.append((steps, guidance_scale, seed))
        made = [self._one(parse(caption), one) for caption, one in zip(captions, seed, strict=True)]
        return made[0] if len(made) == 1 else made

    def vocode(self, mel: torch.Tensor) -> list[Audio]:
        return [Audio(wave.numpy(), SAMPLE_RATE) for wave in degrading.griffin_lim(mel)]

    def _one(self, words: dict[str, str], seed: int):
        if self.faulty and seed % 4 == 3:
            key = "source" if self.kind == "audio" else "thing"
            words = words | {key: "car" if words[key] != "car" else "bell"}
        if self.kind == "audio":
            return Audio(render(Sound(words["source"], words["pitch"], words["speed"]), seed), SAMPLE_RATE)
        scene = Scene(*(words[key] for key in ("thing", "colour", "size", "position", "place")))
        if self.kind == "image":
            return Image(render(scene, seed))
        return Video(render(Clip(scene, words["motion"]), seed), CLIP_FPS)


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_chosen_values_are_held_out_and_come_once_before_twice(kind):
    some = choose(kind, 20, seed=3)
    assert all(is_held_out(value) for value in some)
    assert len(set(some)) == 20
    assert choose(kind, 20, seed=3) == some != choose(kind, 20, seed=4)
    assert len(set(choose("audio", 100))) == len(pool("audio"))


def test_an_autoencoder_that_keeps_everything_passes():
    rows = gates.autoencoder_gate(Identity(), n=10)
    assert gates.passes(rows, 0.99)
    assert rows["autoencoder/picture/thing"]["n"] == rows["autoencoder/picture/thing"]["distinct"] == 10


def test_an_autoencoder_that_swaps_colours_fails():
    rows = gates.autoencoder_gate(Identity(tint=True), n=20)
    assert rows["autoencoder/picture/colour"]["rate"] < 0.7
    assert not gates.passes(rows, 0.99, "thing", "colour")


def test_clips_go_through_the_autoencoder_frame_by_frame():
    assert gates.passes(gates.autoencoder_gate(Identity(), n=6, kind="video"), 1.0)


def test_a_spectrogram_and_a_vocoder_of_guessed_phases_pass():
    def to_mel(samples: np.ndarray) -> torch.Tensor:
        return log_mel(torch.as_tensor(samples))

    assert gates.passes(gates.vocoder_gate(to_mel, degrading.griffin_lim, n=12), 0.95)
    decoder = ReadingDecoder("audio")
    assert gates.passes(gates.mel_gate(decoder.vae, to_mel, decoder.vocode, n=12), 0.95)
    assert not gates.passes(gates.vocoder_gate(to_mel, lambda mel: torch.rand(len(mel), 32_000), n=8), 0.5, "source")


def test_ceilings_count_what_the_decoder_makes_of_true_captions():
    decoder = ReadingDecoder("image", faulty=True)
    rows = gates.ceiling_gate(decoder, "image", n=20, steps=7, guidance_scale=2.0)
    assert rows["picture/thing"]["correct"] == 15
    assert rows["picture/colour"]["correct"] == 20
    assert decoder.settings[0] == (7, 2.0, list(range(16)))


def test_no_rows_do_not_pass():
    assert not gates.passes({}, 0.5)


def test_probe_reads_what_is_linear_and_not_what_is_absent():
    rng = np.random.default_rng(0)
    allowed = {"colour": ["red", "green", "blue"], "size": ["big", "small"]}
    words = {key: rng.choice(some, 400).tolist() for key, some in allowed.items()}
    codes = {word: rng.standard_normal(16) for word in ("red", "green", "blue")}
    x = np.stack([codes[word] for word in words["colour"]]) + 0.2 * rng.standard_normal((400, 16))
    parts = [{key: value[part] for key, value in words.items()} for part in (slice(300), slice(300, None))]
    rows = gates.probe_gate(x[:300], parts[0], x[300:], parts[1])
    assert rows["probe/colour"]["rate"] > 0.99
    assert rows["probe/size"]["rate"] < 0.7
    assert rows["probe/size"]["n"] == 100
