"""Pretraining of the frozen parts, in place of the public ones: one function a stage.

Each reads the parts it builds on from the workshop and leaves its own there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from transformers import CLIPTokenizer, RobertaTokenizer, SpeechT5HifiGan

from ..content import array_of
from ..decoders import DECODERS, fast_temporal_convolutions, mel
from ..imagebind import ImageBind, save_imagebind
from ..picturebook import CLIP_FRAMES, animate, captions, draw, play
from ..picturebook.drawing import thing_geometry
from . import (
    autoencoder,
    between,
    contrastive,
    diffusion,
    language,
    lm_dialogues,
    sound_captions,
    video_init,
    vocoder,
    word_vectors,
    worlddata,
)
from .caption_tokens import train_clip_tokenizer, train_roberta_tokenizer
from .workshop import Workshop

# --- autoencoders and vocoder ----------------------------------------------------------------------------------


def picture_crops(rng: np.random.Generator, size: int) -> Tensor:
    """(size, 3, 64, 64): frames of clips, and pieces of pictures, most of them with part of the thing in them."""
    crops: list[np.ndarray] = []
    while len(crops) < size:
        seed = worlddata.new_seed(rng)
        if rng.random() < 0.4:
            frames = animate(worlddata.pick(worlddata.clips(), rng), seed)
            crops.append(frames[int(rng.integers(len(frames)))])
        else:
            scene = worlddata.pick(worlddata.scenes(), rng)
            pixels = np.asarray(draw(scene, seed))
            room = pixels.shape[0] - 64
            where = thing_geometry(scene, seed)
            centre = np.array([where.y, where.x]) * pixels.shape[0] - 32 + rng.uniform(-20, 20, 2)
            y, x = np.clip(centre, 0, room).astype(int) if rng.random() < 0.75 else rng.integers(0, room + 1, 2)
            crops.append(pixels[y : y + 64, x : x + 64])
    return worlddata.to_tensor(np.stack(crops))


def train_vae(w: Workshop) -> dict[str, Any]:
    vae = autoencoder.picture_autoencoder(w.sizes.vae_channels).to(w.device)
    result = autoencoder.train_autoencoder("vae", vae, picture_crops, w.recipe("vae"), w.state("vae"), resume=w.resume)
    vae.to(memory_format=torch.contiguous_format).save_pretrained(w.part("vae"))
    return result


def mel_crops(rng: np.random.Generator, size: int) -> Tensor:
    """(size, 1, 64 frames, 64 bins)."""
    waves = [play(worlddata.pick(worlddata.sounds(), rng), worlddata.new_seed(rng)) for _ in range(size // 2)]
    spectra = mel.log_mel(torch.from_numpy(np.stack(waves)))
    starts = rng.integers(0, spectra.shape[1] - 63, size)
    return torch.stack([spectra[i // 2, a : a + 64] for i, a in enumerate(starts)])[:, None]


def train_audio_vae(w: Workshop) -> dict[str, Any]:
    vae = autoencoder.mel_autoencoder(w.sizes.mel_channels).to(w.device)
    result = autoencoder.train_autoencoder(
        "audio-vae", vae, mel_crops, w.recipe("audio-vae"), w.state("audio-vae"), resume=w.resume
    )
    vae.to(memory_format=torch.contiguous_format).save_pretrained(w.part("audio-vae"))
    return result


def train_vocoder(w: Workshop) -> dict[str, Any]:
    """Twice: on the world's sounds, then with half of them between the words (see ``vocoder.train_vocoder``)."""
    network, minutes, result = vocoder.build_vocoder(w.sizes.vocoder_channels).to(w.device), 0.0, {}
    after = None
    for name, run, share in (
        ("vocoder", w.state("vocoder"), 0.0),
        ("vocoder-again", w.state("vocoder") / "again", 0.5),
    ):
        result = vocoder.train_vocoder(
            name, network, w.recipe(name), run, between_share=share, resume=w.resume, after=after
        )
        after = run
        minutes += result["minutes"]
    network.save_pretrained(w.part("vocoder"))
    return {**result, "minutes": minutes}


# --- ImageBind and language model ------------------------------------------------------------------------------


def train_imagebind(w: Workshop) -> dict[str, Any]:
    tokenizer = train_clip_tokenizer()
    imagebind = ImageBind(w.sizes.imagebind(len(tokenizer))).to(w.device)
    pictures, clips, sounds = w.sizes.imagebind_batch
    result = contrastive.train_imagebind(
        imagebind,
        tokenizer,
        w.recipe("imagebind"),
        w.state("imagebind"),
        pictures=pictures,
        clips=clips,
        sounds=sounds,
        alone={
            "audio": (w.recipe("imagebind-audio"), w.sizes.imagebind_audio_batch),
            "vision": (w.recipe("imagebind-vision"), w.sizes.imagebind_vision_batch),
            "text": (w.recipe("imagebind-text"), w.sizes.imagebind_text_batch),
        },
        resume=w.resume,
    )
    w.part("imagebind").mkdir(parents=True, exist_ok=True)
    save_imagebind(imagebind, w.part("imagebind"), torch.float32)
    tokenizer.save_pretrained(w.part("imagebind") / "tokenizer")
    return result


def train_lm(w: Workshop) -> dict[str, Any]:
    """Three times: on text; on text in which most media are vectors of words; and with blurred vectors and words that
    are other ones all through a dialogue."""
    rng = random.Random(5)
    some: Iterator = (lm_dialogues.spoken(rng) for _ in range(w.sizes.tokenizer_dialogues))
    tokenizer = language.train_tokenizer(some, w.state("lm") / "tokenizer.model", w.sizes.vocabulary)
    lm = language.build_language_model(tokenizer, w.sizes.lm_width, w.sizes.lm_layers, w.sizes.context).to(w.device)
    others = word_vectors.other_words(lm)
    minutes, result, after = 0.0, {}, None
    for name, folder, speak, blurred in (
        ("lm", w.state("lm"), lm_dialogues.said, False),
        ("lm-reading", w.state("lm") / "reading", partial(lm_dialogues.read, others=others), False),
        ("lm-renamed", w.state("lm") / "renamed", partial(lm_dialogues.read_renamed, others=others), True),
    ):
        held_out, recipe = partial(speak, held_out=True), w.recipe(name)
        result = language.train_language_model(
            name, lm, speak, recipe, folder, held_out=held_out, blurred=blurred, resume=w.resume, after=after
        )
        after = folder
        minutes += result["minutes"]
    lm.save(w.part("language_model"))
    return {**result, "minutes": minutes}


# --- diffusion decoders ----------------------------------------------------------------------------------------


def load_vae(w: Workshop, name: str) -> AutoencoderTiny:
    vae = AutoencoderTiny.from_pretrained(w.need(name, name)).to(w.device).eval()
    return vae.requires_grad_(False).to(memory_format=torch.channels_last)


BETWEEN_SHARE = 0.25
"""Of a decoder's batch: renderings between the words."""
TENTHS_SHARE, TENTHS_SHARE_AGAIN = 0.5, 0.9
"""Of the sounds' decoder's batch: sounds with a number for their pitch; and where sounds are trained again. The former
of the others' captions, too."""


def _training_batches(
    w: Workshop,
    name: str,
    vae: AutoencoderTiny,
    pool: tuple,
    render: Callable[[Any, int], np.ndarray],
    to_input: Callable[[np.ndarray], Tensor],
    count: int,
    arrange: Callable[[Tensor, int], Tensor] = lambda latents, count: latents,
    share: float = BETWEEN_SHARE,
    tenths: bool = False,
) -> Callable[[np.random.Generator, int], tuple[Tensor, list[str]]]:
    """(rng, size) → latents and captions, of about ``count`` renderings and a third as many between the words.

    ``arrange``: (latents of all inputs, number of renderings) → one row a rendering. ``share``: of those between.
    ``tenths``: sounds between the words have a number for their pitch, and some of the others too.
    """

    def rows_of(
        label: str, pool: tuple, renderer: Callable[[Any, int], np.ndarray], number: int
    ) -> tuple[Tensor, list]:
        def batches() -> Iterator[tuple[list[int], Tensor]]:
            """The pool in random order, again and again."""
            rng = np.random.default_rng(29)
            size = min(32, len(pool))
            while True:
                order = rng.permutation(len(pool)).tolist()
                for start in range(0, len(order) - size + 1, size):
                    rows = order[start : start + size]
                    yield rows, to_input(np.stack([renderer(pool[row], worlddata.new_seed(rng)) for row in rows]))

        latents, rows = diffusion.cached_latents(w.cache(label), vae, batches, number, label)
        return arrange(latents, len(rows)), [pool[row] for row in rows]

    named, values = rows_of(name, pool, render, count)
    if tenths:
        more, others = rows_of(f"{name}-tenths", between.tenths_sounds(), between.play_tenths, count // 2)
    else:
        more, others = rows_of(f"{name}-between", pool, _render_between, count // 3)

    def say(value: Any, rng: np.random.Generator) -> str:
        return between.tenths_caption(value) if tenths and rng.random() < TENTHS_SHARE else _caption(value, rng)

    def batch(rng: np.random.Generator, size: int) -> tuple[Tensor, list[str]]:
        between_words = round(share * size)
        rows = rng.integers(0, len(values), size - between_words)
        other = rng.integers(0, len(others), between_words)
        caption_between = between.tenths_caption if tenths else between.unnamed_caption
        said = [say(values[row], rng) for row in rows] + [caption_between(others[row]) for row in other]
        # Halves do not concatenate under autocast on CPUs.
        return torch.cat([named[torch.from_numpy(rows)].float(), more[torch.from_numpy(other)].float()]), said

    return batch


def _render_between(value: Any, seed: int) -> np.ndarray:
    return array_of(between.rendered_between(value, seed))


def _caption(value: Any, rng: np.random.Generator) -> str:
    """Mostly the canonical caption, on which the chat conditions; sometimes another, so that words may vary."""
    every = captions(value)
    return every[0] if rng.random() < 0.7 else every[int(rng.integers(len(every)))]


def _clip_encode(tokenizer: CLIPTokenizer, text_encoder: torch.nn.Module):
    def encode(texts: list[str]) -> Tensor:
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return text_encoder(tokens.input_ids.to(text_encoder.device))[0]

    return encode


def _clap_encode(tokenizer: RobertaTokenizer, text_encoder: torch.nn.Module):
    def encode(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, padding=True, return_tensors="pt").to(text_encoder.device)
        embedding = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
        return torch.nn.functional.normalize(embedding.float(), dim=-1)

    return encode


def _render_picture(value: Any, seed: int) -> np.ndarray:
    return np.asarray(draw(value, seed))


def train_image(w: Workshop) -> dict[str, Any]:
    """Once: 1,500 steps more, half of them between the words, did harm (of held-out captions things 90 -> 89 %,
    colours 97 -> 92)."""
    vae = load_vae(w, "vae")
    tokenizer = train_clip_tokenizer()
    text_encoder = diffusion.clip_text_encoder(tokenizer, w.sizes.text_width).to(w.device)
    unet = diffusion.image_unet(w.sizes.unet_channels, w.sizes.text_width).to(w.device)
    pool, count = worlddata.scenes(), w.sizes.cached_pictures
    batches = _training_batches(w, "pictures", vae, pool, _render_picture, worlddata.to_tensor, count)
    result = diffusion.train_diffusion(
        "image", unet, text_encoder, _clip_encode(tokenizer, text_encoder), batches, w.recipe("image"),
        w.state("image"), resume=w.resume,
    )  # fmt: skip
    save_decoder(w, "image", unet=unet, vae=vae, tokenizer=tokenizer, text_encoder=text_encoder)
    return result


def train_video(w: Workshop) -> dict[str, Any]:
    """Twice. Which way a thing moves is settled in the first steps of sampling, and is a small part of what a clip
    shows: to both the second run gives more weight. In it the UNet's entrance stays as it is: without the way back
    through ``transformer_in``, the widest layer, a step takes 3.6 s instead of 4.7. A third, 1,700 steps with all time
    steps alike, as sounds have it, gained nothing (of held-out clips things 84.0 -> 85.0 %, colours 90.0 -> 88.0,
    motions 95.0 -> 95.5)."""
    vae = load_vae(w, "vae")

    def to_input(clips: np.ndarray) -> Tensor:
        return worlddata.to_tensor(clips.reshape(-1, *clips.shape[2:]))

    def arrange(latents: Tensor, count: int) -> Tensor:
        """(n · frames, c, h, w) → (n, c, frames, h, w)."""
        return latents.unflatten(0, (count, CLIP_FRAMES)).transpose(1, 2)

    batches = _training_batches(w, "clips", vae, worlddata.clips(), animate, to_input, w.sizes.cached_clips, arrange)
    image = DECODERS["image"].from_folder(w.need("image_decoder", "image"))
    tokenizer, text_encoder = image.tokenizer, image.text_encoder.requires_grad_(True).to(w.device)
    unet = diffusion.video_unet(w.sizes.unet_channels, w.sizes.text_width)
    taken = video_init.inflate(image.unet, unet)
    video_init.show_frames(unet)
    video_init.without_dropout(unet)
    fast_temporal_convolutions(unet.to(w.device))
    encode, minutes, result, after = _clip_encode(tokenizer, text_encoder), 0.0, {}, None
    runs = (
        ("video", w.state("video"), {}),
        ("video-again", w.state("video") / "again", {"early": 3.0, "moving": 5.0}),
    )
    for name, run, emphasis in runs:
        result = diffusion.train_diffusion(
            name, unet, text_encoder, encode, batches, w.recipe(name), run, resume=w.resume, after=after, **emphasis
        )
        after = run
        minutes += result["minutes"]
        unet.conv_in.requires_grad_(False), unet.transformer_in.requires_grad_(False)
    save_decoder(w, "video", unet=unet, vae=vae, tokenizer=tokenizer, text_encoder=text_encoder)
    return {**result, "minutes": minutes, "tensors from the image UNet": taken}


def train_audio(w: Workshop) -> dict[str, Any]:
    """The text encoder first (``sound_captions``), then the UNet for it as it is. What sounds, and how high, is settled
    early in sampling, and of pairs seen seldom it was that which came out wrong (a low frog was a boat).

    Twice. What was still wrong then was fine: the rattle of a low frog was blurred, at trained pitches too, and without
    it that is a boat. So the second run treats all time steps alike; and nearly all its pitches are numbers, so that
    those with a word, at which some sources are never heard, are nothing special (of held-out sounds' sources 86 ->
    96 %; after 1,200 steps with ``early`` 2 88 %).
    """
    vae = load_vae(w, "audio-vae")

    def to_input(waves: np.ndarray) -> Tensor:
        return mel.log_mel(torch.from_numpy(waves))[:, None]

    tokenizer = train_roberta_tokenizer()
    text_encoder = diffusion.clap_text_encoder(tokenizer, w.sizes.text_width).to(w.device)
    encode, run = _clap_encode(tokenizer, text_encoder), w.state("audio")
    read = sound_captions.train_sound_captions(
        text_encoder, encode, w.recipe("audio-text"), run / "text", resume=w.resume
    )
    pool, count = worlddata.sounds(), w.sizes.cached_sounds
    unet = diffusion.audio_unet(w.sizes.audio_unet_channels, w.sizes.text_width).to(w.device)
    minutes, result, after = read["minutes"], {}, run / "text"
    runs = (("audio", run, TENTHS_SHARE, 2.0), ("audio-again", run / "again", TENTHS_SHARE_AGAIN, 1.0))
    for name, folder, share, early in runs:
        batches = _training_batches(w, "sounds", vae, pool, play, to_input, count, share=share, tenths=True)
        result = diffusion.train_diffusion(
            name, unet, text_encoder, encode, batches, w.recipe(name), folder, early=early, resume=w.resume, after=after
        )
        after = folder
        minutes += result["minutes"]
    speaker = SpeechT5HifiGan.from_pretrained(w.need("vocoder", "vocoder"))
    save_decoder(w, "audio", unet=unet, vae=vae, tokenizer=tokenizer, text_encoder=text_encoder, vocoder=speaker)
    return {**result, "minutes": minutes}


def save_decoder(w: Workshop, kind: str, **parts: Any) -> None:
    """Leave ``<kind>_decoder``, a diffusers folder in full precision."""
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.to("cpu", memory_format=torch.contiguous_format)
    decoder = DECODERS[kind](scheduler=diffusion.make_scheduler(), **parts)
    decoder.save_folder(w.part(f"{kind}_decoder"))
