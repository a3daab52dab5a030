"""Pretraining of the small ImageBind: pictures, clips, sounds against their captions (Girdhar et al. 2023, section 3).

Every batch holds families of values that differ in a single attribute, so that the contrastive loss cannot be solved
without reading size, position, motion, pitch and speed as well as the obvious things.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..content import Audio, Image, Video
from ..imagebind import ImageBind, ImageBindConfig, log_mel, preprocess_frames, preprocess_image
from ..imagebind.preprocess import frames_of_clips
from ..picturebook import CLIP_FPS, SAMPLE_RATE, animate, caption, draw, play, values
from ..picturebook.drawing import thing_geometry
from ..picturebook.values import Clip, Scene, Sound
from . import between, worlddata
from .codes import AttributeCodes
from .encoder_init import initialise
from .loop import Recipe, fit, step_rng


def render(value: Scene | Clip | Sound, seed: int) -> Image | Video | Audio:
    """The medium that shows or voices a value."""
    if isinstance(value, Scene):
        return Image.from_pil(draw(value, seed))
    if isinstance(value, Clip):
        return Video(animate(value, seed), CLIP_FPS)
    return Audio(play(value, seed), SAMPLE_RATE)


Renderer = Callable[[Any, int], Image | Video | Audio]


def batch_views(media: list[Image] | list[Video] | list[Audio], config: ImageBindConfig) -> Tensor:
    """``preprocess`` for many media of one kind and size at once, without the views that repeat others.

    Pictures (B, 3, H, W); square clips (B, windows, 3, frames, H, W), one crop each; sounds no longer than a window
    (B, 1, 1, bins, frames). One medium at a time would spend most of a training step in small operations.
    """
    first = media[0]
    if isinstance(first, Audio):
        waves = torch.from_numpy(np.stack([sound.samples for sound in media]))
        return log_mel(waves - waves.mean(1, keepdim=True), config)[:, None]
    if isinstance(first, Video):
        every = torch.from_numpy(np.concatenate([clip.frames for clip in media]))
        one_frame = dataclasses.replace(config, video_crops=1, video_clips=1, frames_per_clip=len(every))
        scaled = preprocess_frames(every, 1.0, dataclasses.replace(one_frame, video_clip_seconds=len(every)))[0]
        scaled = scaled.permute(1, 0, 2, 3).unflatten(0, (len(media), -1))
        chosen = frames_of_clips(len(first.frames), first.fps, config)
        return scaled[:, torch.tensor(chosen)].transpose(2, 3)
    return torch.stack([preprocess_image(picture, config) for picture in media])


PATCHES, OCTAVES = "patches", "octaves"
OCTAVES_WEIGHT = 4.0  # squared octaves are small beside cross entropies
OCTAVE = 12.0
"""Length that an octave has in an embedding of length sqrt(E), along a direction that is fixed: so long that whoever
separates low from high finds nothing wider. A learned direction may be short, and pitches then differ more along others
that are learned source by source (measured on held-out pairs: octaves to 0.3, but a linear reader only 53 % right)."""
PATCHES_WEIGHT = 0.2
"""Of the labels a patch beside the attribute codes: nats beside squared distances of at most 4."""
CAPTIONS_WEIGHT = 0.25
"""Of the contrast with captions, which learns combinations of words by heart; the readers, which are linear, do not."""
HIDDEN_SHARE = 0.5
"""Of an embedding, at random, is hidden from the readers: so that every part of it tells every attribute, and whoever
reads it after them, having seen the named values only, finds the same."""


def patch_labels(scenes: list[Scene], seeds: list[int], side: int) -> Tensor:
    """(B, side²): for each patch the number of the thing that covers its centre, or of none (the last number)."""
    centres = (np.arange(side) + 0.5) / side
    labels = np.full((len(scenes), side, side), len(values.THINGS))
    for label, scene, seed in zip(labels, scenes, seeds, strict=True):
        where = thing_geometry(scene, seed)
        inside = (centres[:, None] - where.y) ** 2 + (centres[None] - where.x) ** 2 < where.radius**2
        label[inside] = values.THINGS.index(scene.thing)
    return torch.from_numpy(labels.reshape(len(scenes), side * side))


class AttributeReaders(nn.ModuleDict):
    """One linear classifier an attribute, on embeddings; helpers of the training that are thrown away after it.

    Captions alone leave shapes, positions, motions and pitches at chance for more than a thousand steps, because the
    text tower has to learn first what to ask for; a linear reader asks from the first step.
    """

    def __init__(self, width: int) -> None:
        # Three words for a pitch are learned by heart, source by source; octaves are not.
        words = {name: known for name, known in worlddata.ATTRIBUTES.items() if name != "pitch"}
        super().__init__({name: nn.Linear(width, len(known)) for name, known in words.items()})
        self[PATCHES] = nn.Linear(width, len(values.THINGS) + 1)
        signs = torch.randint(0, 2, (width,), generator=torch.Generator().manual_seed(7)) * 2.0 - 1
        self.register_buffer(OCTAVES, signs / (OCTAVE * width**0.5), persistent=False)

    def patch_loss(self, encoded: Tensor, scenes: list[Scene], seeds: list[int]) -> Tensor:
        """Cross entropy of the thing, or none, that each patch (B, P, E) is read as being a part of.

        One label a picture says little of where and what the shape is; a label a patch says both.
        """
        target = patch_labels(scenes, seeds, int(encoded.shape[1] ** 0.5)).to(encoded.device)
        weight = torch.ones(len(values.THINGS) + 1, device=encoded.device)
        weight[-1] = 0.1  # most patches are background
        logits = self[PATCHES](encoded * encoded.shape[-1] ** 0.5).float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)

    def pitch_loss(self, encoded: Tensor, octaves: list[float]) -> Tensor:
        """Squared error of the pitch, in octaves above a source's normal one, as it is read from sounds (B, E)."""
        read = _partly(encoded).float() @ self.get_buffer(OCTAVES)
        return F.mse_loss(read, torch.tensor(octaves, device=read.device, dtype=read.dtype))

    def loss(self, encoded: Tensor, shown: list, without: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """Attribute → cross entropy of what its reader makes of embeddings (B, E) of values of one kind, ``shown``."""
        scaled = _partly(encoded)
        losses = {}
        for name in worlddata.attributes(shown[0]):
            if name not in self or name in without:
                continue
            known = worlddata.ATTRIBUTES[name]
            target = torch.tensor([known.index(worlddata.attributes(value)[name]) for value in shown])
            losses[name] = F.cross_entropy(self[name](scaled).float(), target.to(encoded.device))
        return losses


def _partly(encoded: Tensor) -> Tensor:
    """Embeddings (B, E) at the scale of 1 an entry, a share of the entries hidden."""
    return F.dropout(encoded * encoded.shape[-1] ** 0.5, HIDDEN_SHARE)


def batch_loss(
    imagebind: ImageBind, readers: AttributeReaders, tokenizer, groups: list[list], rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """For each group of values (pictures, clips or sounds): symmetric InfoNCE against captions, and the readers' loss,
    of as many renderings between the words too.

    Equal values in one group are not each other's negatives.
    """
    words = random.Random(int(rng.integers(2**31)))
    every = [value for group in groups for value in group]
    tokens = tokenizer([caption(value, words) for value in every], padding=True, return_tensors="pt")
    texts = imagebind.encode_text(tokens.input_ids.to(imagebind.device)).float()
    scale = imagebind.text_logit_scale()
    losses, numbers, start = [], {}, 0
    for group in groups:
        count = len(group)
        kind, shown, seeds, octaves, views = _shown(imagebind, group, rng)
        every, patches = _encode_views(imagebind, kind, views)
        if patches is not None:
            losses.append(readers.patch_loss(patches, shown, seeds))
            numbers["patches"] = float(losses[-1].detach())
        encoded = every[:count]
        logits = scale * encoded @ texts[start : start + count].T
        start += count
        same = torch.tensor([[a == b for b in group] for a in group], device=logits.device)
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
        target = torch.arange(count, device=logits.device)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        losses.append(CAPTIONS_WEIGHT * contrast)
        numbers[f"{kind} right"] = float((logits.argmax(1) == target).float().mean())
        read = readers.loss(encoded, group)
        unnamed = readers.loss(every[count:], shown[count:], without=("colour",))
        read |= {f"{name} between": value for name, value in unnamed.items()}
        if kind == "audio":
            read["octaves"] = OCTAVES_WEIGHT * readers.pitch_loss(every, octaves)
        losses.append(torch.stack([*read.values()]).sum())
        numbers |= {f"{kind} {name}": float(value.detach()) for name, value in read.items()}
    return torch.stack(losses).sum(), numbers


def _shown(
    imagebind: ImageBind, group: list, rng: np.random.Generator
) -> tuple[str, list, list[int], list[float], Tensor]:
    """The kind of what a group's values show, the values and as many others to be shown between the words, a seed and
    the octaves above the normal pitch of each (0 for what is seen), and the views of all."""
    pools = {Scene: worlddata.scenes, Clip: worlddata.clips, Sound: worlddata.sounds}
    shown = [*group, *(worlddata.pick(pools[type(group[0])](), rng) for _ in group)]
    seeds = [worlddata.new_seed(rng) for _ in shown]
    media = [render(value, seed) for value, seed in zip(group, seeds, strict=False)]
    octaves = [between.word_octaves(value) if isinstance(value, Sound) else 0.0 for value in group]
    for value, seed in zip(shown[len(group) :], seeds[len(group) :], strict=True):
        medium, above = between.render_between(value, seed, rng)
        media.append(medium)
        octaves.append(above)
    return media[0].kind, shown, seeds, octaves, batch_views(media, imagebind.config).to(imagebind.device)


def _encode_views(imagebind: ImageBind, kind: str, views: Tensor) -> tuple[Tensor, Tensor | None]:
    """Embeddings (B, E) in full precision, and of pictures the patches (B, P, E) too."""
    if kind == "image":
        tokens = imagebind.encode_tokens("vision", views)
        return tokens[:, 0].float(), tokens[:, 1:]
    return encode_views(imagebind, kind, views).float(), None


def train_imagebind(
    imagebind: ImageBind,
    tokenizer,
    recipe: Recipe,
    run: Path,
    *,
    pictures: int = 48,
    clips: int = 24,
    sounds: int = 24,
    alone: Mapping[str, tuple[Recipe, tuple[int, int, int]]] | None = None,
    resume: bool = True,
) -> dict[str, float]:
    """Fit all three towers to captions and attributes, then (``alone``) each by itself to the attribute codes.

    A step of the first sees ``pictures`` + ``clips`` + ``sounds`` media, each with a caption, and as many without.
    ``alone``: tower → its recipe and its three numbers.
    """
    initialise(imagebind)
    readers = AttributeReaders(imagebind.config.embedding_dim).to(imagebind.device)
    result = fit_together(imagebind, readers, tokenizer, recipe, run, (pictures, clips, sounds), resume=resume)
    minutes = result["minutes"]
    for tower, (own, numbers) in (alone or {}).items():
        result |= fit_alone(tower, imagebind, readers, tokenizer, own, run / tower, numbers, resume=resume, after=run)
        minutes += result["minutes"]
    return {**result, "minutes": minutes}


def _groups(rng: np.random.Generator, numbers: tuple[int, int, int]) -> list[list]:
    """Families of pictures, clips and sounds, without the kinds of which there are none."""
    pools = (worlddata.scenes(), worlddata.clips(), worlddata.sounds())
    return [worlddata.families(pool, rng, number) for pool, number in zip(pools, numbers, strict=True) if number]


def fit_together(
    imagebind: ImageBind,
    readers: AttributeReaders,
    tokenizer,
    recipe: Recipe,
    run: Path,
    numbers: tuple[int, int, int],
    *,
    resume: bool = True,
) -> dict[str, float]:
    """The first phase: captions and linear readers teach every tower what there is."""

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = step_rng(recipe.seed, step)
        # Plain matrix products: the fused CPU kernel is slower for heads this narrow, and much slower in bf16.
        with sdpa_kernel(SDPBackend.MATH):
            return batch_loss(imagebind, readers, tokenizer, _groups(rng, numbers), rng)

    imagebind.requires_grad_(True).train()
    modules = {"imagebind": imagebind, "readers": readers}
    result = fit("imagebind", recipe, modules, loss, run, resume=resume)
    imagebind.eval()
    return result


TOWERS = {"vision": ".vision.", "audio": ".audio.", "text": ".text."}
"""Tower → part of the names of its parameters."""


def fit_alone(
    tower: str,
    imagebind: ImageBind,
    readers: AttributeReaders,
    tokenizer,
    recipe: Recipe,
    run: Path,
    numbers: tuple[int, int, int],
    *,
    resume: bool = True,
    after: Path | None = None,
) -> dict[str, float]:
    """The second phase: one tower learns that an embedding is the sum of its attributes' codes, and nothing else.

    ``text``: of captions of values; ``vision`` and ``audio``: of media, half of them between the words.
    """
    codes = AttributeCodes(imagebind.config.embedding_dim)

    def of_captions(group: list, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        words = random.Random(int(rng.integers(2**31)))
        tokens = tokenizer([caption(value, words) for value in group], padding=True, return_tensors="pt")
        texts = imagebind.encode_text(tokens.input_ids.to(imagebind.device)).float()
        return codes.loss(texts, codes.sums(group)), {}

    def of_media(group: list, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        kind, shown, seeds, octaves, views = _shown(imagebind, group, rng)
        every, patches = _encode_views(imagebind, kind, views)
        off = codes.loss(every, codes.sums(shown, octaves), unnamed=0 if kind == "audio" else len(group))
        values = {f"{kind} off": float(off.detach())}
        if patches is None:
            return off, values
        by_patch = readers.patch_loss(patches, shown, seeds)
        return off + PATCHES_WEIGHT * by_patch, values | {PATCHES: float(by_patch.detach())}

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = step_rng(recipe.seed, step)
        of = of_captions if tower == "text" else of_media
        with sdpa_kernel(SDPBackend.MATH):
            parts = [of(group, rng) for group in _groups(rng, numbers)]
        return torch.stack([value for value, _ in parts]).sum(), {k: v for _, more in parts for k, v in more.items()}

    for name, parameter in imagebind.named_parameters():
        parameter.requires_grad_(TOWERS[tower] in f".{name}")
    imagebind.train()
    modules = {"imagebind": imagebind, "readers": readers}
    result = fit(f"imagebind {tower}", recipe, modules, loss, run, resume=resume, after=after)
    imagebind.eval()
    return result


def encode_views(imagebind: ImageBind, kind: str, views: Tensor) -> Tensor:
    """(B, E) of what ``batch_views`` gave for media of one kind."""
    encode = {"image": imagebind.encode_image, "video": imagebind.encode_video, "audio": imagebind.encode_audio}
    return encode[kind](views)


@torch.no_grad()
def embed_values(
    imagebind: ImageBind, values: list, seeds: list[int], batch: int = 64, rendered: Renderer = render
) -> Tensor:
    """(n, E): embeddings of one rendering of each value, equal to ``encode_media``'s but many at a time."""
    result = torch.empty(len(values), imagebind.config.embedding_dim)
    for shape in (Scene, Clip, Sound):
        rows = [number for number, value in enumerate(values) if isinstance(value, shape)]
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            media = [rendered(values[number], seeds[number]) for number in some]
            views = batch_views(media, imagebind.config).to(imagebind.device, imagebind.dtype)
            result[some] = encode_views(imagebind, media[0].kind, views).float().cpu()
    return result


def patches_of_values(
    imagebind: ImageBind, values: list, seeds: list[int], rendered: Renderer = render
) -> list[Tensor]:
    """The patches (P, E) of one rendering of each value, as ``encode_with_patches`` gives them; P differs by kind."""
    media = [rendered(value, seed) for value, seed in zip(values, seeds, strict=True)]
    with torch.autocast(imagebind.device.type, enabled=False):  # a training step's precision is not the encoder's
        return [patches.float().cpu() for patches in imagebind.encode_with_patches(media)[1]]


def features_of_values(imagebind: ImageBind, values: list, seeds: list[int]) -> list[Tensor]:
    """The features (V, D) of one rendering of each value, as ``encode_halfway`` gives them."""
    made: list[Tensor] = []
    for start in range(0, len(values), 64):
        some = slice(start, start + 64)
        media = [render(value, seed) for value, seed in zip(values[some], seeds[some], strict=True)]
        made += [views.float().cpu() for views in imagebind.encode_halfway(media)]
    return made
