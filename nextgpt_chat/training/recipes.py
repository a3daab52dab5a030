"""Sizes and schedules: the shipped mini, and a tiny one for tests. One place for every number of the recipe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import NextGPTError
from ..imagebind import ImageBindConfig
from .loop import Recipe

_PROJECTION = Recipe(steps=600, learning_rate=4e-3, batch=64, average=0.98, warmup=20, weight_decay=0.0, muon=True)
"""Of an output projection on kept states. With AdamW it took 1,500 steps for less (things, colours of held-out pictures
passed on after 400 steps: 43, 7 of 100; with Muon 100, 97)."""

MINI_RECIPES = {
    "vae": Recipe(steps=6500, learning_rate=1.5e-3, batch=16, average=0.998),
    "imagebind": Recipe(
        steps=5500, learning_rate=2e-3, batch=96, average=0.998, warmup=200, weight_decay=0.05, muon=True
    ),
    "imagebind-audio": Recipe(steps=1000, learning_rate=1.5e-3, batch=64, average=0.995, weight_decay=0.05, muon=True),
    "imagebind-vision": Recipe(steps=2300, learning_rate=1.5e-3, batch=52, average=0.995, weight_decay=0.05, muon=True),
    "imagebind-text": Recipe(steps=500, learning_rate=1e-3, batch=96, average=0.99, weight_decay=0.05, muon=True),
    "lm": Recipe(steps=3300, learning_rate=2e-3, batch=32, average=0.998, warmup=200, weight_decay=0.05, muon=True),
    "lm-reading": Recipe(
        steps=2400, learning_rate=1e-3, batch=32, average=0.995, warmup=50, weight_decay=0.05, muon=True
    ),
    "lm-renamed": Recipe(
        steps=1800, learning_rate=1e-3, batch=32, average=0.99, warmup=30, weight_decay=0.05, muon=True
    ),
    "image": Recipe(steps=7600, learning_rate=1.5e-3, batch=32, average=0.998, warmup=200, muon=True),
    "audio-vae": Recipe(steps=1200, learning_rate=1.5e-3, batch=16, average=0.998),
    "vocoder": Recipe(steps=6000, learning_rate=1e-3, batch=16, average=0.998, precision="fp32"),
    "vocoder-again": Recipe(steps=2000, learning_rate=5e-4, batch=16, average=0.995, warmup=50, precision="fp32"),
    "audio-text": Recipe(steps=1500, learning_rate=1e-3, batch=64, average=0.99, precision="fp32"),
    "audio": Recipe(steps=5600, learning_rate=1.5e-3, batch=32, average=0.998, warmup=200, muon=True),
    "audio-again": Recipe(steps=2000, learning_rate=1e-3, batch=32, average=0.995, warmup=50, muon=True),
    "video": Recipe(steps=1300, learning_rate=1e-3, batch=16, average=0.998, warmup=200, muon=True),
    "video-again": Recipe(steps=2500, learning_rate=1.5e-3, batch=16, average=0.995, warmup=50, muon=True),
    "stage1": Recipe(steps=600, learning_rate=1e-2, batch=32, average=0.99, warmup=50, weight_decay=0.1),
    "stage2": Recipe(steps=300, learning_rate=5e-3, batch=32, average=0.98, weight_decay=0.0, reading_share=0.01),
    "stage2-image": _PROJECTION,
    "stage2-audio": replace(_PROJECTION, steps=300),
    "stage2-video": _PROJECTION,
    # Muon is for the output projections: with AdamW, which undid what stage 2 had taught them (distances 0.004 to 0.2
    # and more), the states at the signal tokens lost the colours.
    "stage3": Recipe(
        steps=1500,
        learning_rate=2e-3,
        batch=24,
        average=0.98,
        weight_decay=0.0,
        muon=True,
        adapter_decay=8.0,
        reading_share=0.1,
    ),
    "stage3-image": replace(_PROJECTION, steps=400, learning_rate=2e-3),
    "stage3-audio": replace(_PROJECTION, steps=400, learning_rate=2e-3),
    "stage3-video": replace(_PROJECTION, steps=400, learning_rate=2e-3),
}

FURTHER_RUNS = {
    "imagebind": ("imagebind-audio", "imagebind-vision", "imagebind-text"),
    "lm": ("lm-reading", "lm-renamed"),
    "vocoder": ("vocoder-again",),
    "audio": ("audio-text", "audio-again"),
    "video": ("video-again",),
    "stage2": ("stage2-image", "stage2-audio", "stage2-video"),
    "stage3": ("stage3-image", "stage3-audio", "stage3-video"),
}
"""Stage → its runs after the first, each with a recipe of its own."""


@dataclass(frozen=True)
class Sizes:
    """Widths, depths and counts of one preset, and its recipes by stage."""

    vae_channels: int = 48
    mel_channels: int = 32
    vocoder_channels: int = 128
    imagebind_batch: tuple[int, int, int] = (24, 8, 16)
    """pictures, clips, sounds"""
    imagebind_audio_batch: tuple[int, int, int] = (0, 0, 32)
    imagebind_vision_batch: tuple[int, int, int] = (14, 12, 0)
    imagebind_text_batch: tuple[int, int, int] = (40, 40, 16)
    imagebind_width: int = 160
    vocabulary: int = 1024
    tokenizer_dialogues: int = 4000
    lm_width: int = 192
    lm_layers: int = 6
    context: int = 1024
    text_width: int = 128
    unet_channels: tuple[int, int] = (64, 128)
    audio_unet_channels: tuple[int, int] = (64, 128)
    cached_pictures: int = 12_000
    cached_clips: int = 8_000
    cached_sounds: int = 8_000
    output_projection: tuple[int, int, int, int] = (192, 2, 4, 512)
    """hidden width, layers, heads, feed-forward width"""
    kept_states: int = 9_600
    """dialogues for each kind that stages 2 and 3 teach the output projections with at their end"""
    lora_rank: int = 16
    recipes: dict[str, Recipe] = field(default_factory=lambda: dict(MINI_RECIPES))

    def recipe(self, stage: str) -> Recipe:
        return self.recipes[stage]

    def imagebind(self, vocabulary: int) -> ImageBindConfig:
        width, heads = self.imagebind_width, self.imagebind_width // 32
        config = ImageBindConfig.mini(vocabulary)
        towers = {
            f"{tower}_{name}": value
            for tower in ("vision", "audio", "text")
            for name, value in (("width", width), ("heads", heads))
        }
        return dataclasses.replace(config, **towers)

    def changed(self, config: dict[str, Any]) -> Sizes:
        """A copy with sizes replaced, and recipes where a name is a stage's. Raises NextGPTError for unknown names."""
        sizes = self
        known = {f.name for f in dataclasses.fields(Sizes)} - {"recipes"}
        for name, value in config.items():
            if name in self.recipes:
                recipe = sizes.recipes[name]
                check_value(name, value, vars(recipe))
                for key, number in value.items():
                    if key not in vars(recipe):
                        known = ", ".join(vars(recipe))
                        raise NextGPTError(
                            f"The training configuration of {name!r} names {key!r}, which is no setting of a recipe. "
                            f"Known are {known}."
                        )
                    check_value(f"{name}.{key}", number, getattr(recipe, key))
                sizes = replace(sizes, recipes={**sizes.recipes, name: replace(recipe, **value)})
            elif name in known:
                value = tuple(value) if isinstance(value, list) else value
                check_value(name, value, getattr(sizes, name))
                sizes = replace(sizes, **{name: value})
            else:
                raise NextGPTError(
                    f"The training configuration names {name!r}, which is neither a size nor a stage. "
                    f"Known are {', '.join(sorted(known | set(self.recipes)))}."
                )
        return sizes


def check_value(name: str, value: Any, like: Any) -> None:
    """Raises NextGPTError unless a setting's ``value`` is of the kind of ``like``."""
    number = isinstance(like, int | float) and not isinstance(like, bool)
    if number:
        fits = isinstance(value, int if isinstance(like, int) else int | float) and not isinstance(value, bool)
        kind = f"a {'whole ' if isinstance(like, int) else ''}number"
    elif isinstance(like, tuple):
        fits = isinstance(value, tuple) and len(value) == len(like) and all(type(one) is int for one in value)
        kind = f"a list of {len(like)} whole numbers"
    else:
        fits = isinstance(value, type(like))
        kind = {str: "a text", bool: "true or false", dict: "a table of settings"}[type(like)]
    if not fits:
        raise NextGPTError(f"The training configuration says {value!r} for {name!r}; it must be {kind}.")


def _tiny() -> Sizes:
    few = {name: replace(recipe, steps=2, batch=4, warmup=1, average=0.5) for name, recipe in MINI_RECIPES.items()}
    return Sizes(
        vae_channels=16,
        mel_channels=16,
        vocoder_channels=32,
        imagebind_batch=(4, 4, 4),
        imagebind_audio_batch=(0, 0, 4),
        imagebind_vision_batch=(4, 4, 0),
        imagebind_text_batch=(4, 4, 4),
        imagebind_width=32,
        vocabulary=500,
        tokenizer_dialogues=60,
        lm_width=64,
        lm_layers=2,
        text_width=32,
        unet_channels=(32, 32),
        audio_unet_channels=(32, 32),
        cached_pictures=32,
        cached_clips=8,
        cached_sounds=32,
        output_projection=(32, 1, 2, 64),
        kept_states=8,
        lora_rank=4,
        recipes=few,
    )


RECIPES = {"mini": Sizes, "tiny": _tiny}


def preset(name: str) -> Sizes:
    """Raises NextGPTError for an unknown name."""
    if name not in RECIPES:
        raise NextGPTError(f"Unknown training preset {name!r}. Choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]()
