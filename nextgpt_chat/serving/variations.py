"""How a medium is made again: the settings it was made with, and what is changed in them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ..config import GenerationSettings
from ..content import Audio, Image, MediaPart, Turn, Video
from ..conversation import find_generated
from ..errors import NextGPTError

WAYS = ("seed", "steps", "conditioning", "settings")
MOST_STEPS = 100


def find_part(turns: Sequence[Turn], part_id: str) -> MediaPart:
    """The model's medium of this id, itself made again or not. Raises NextGPTError where the talk has none."""
    index, _ = find_generated(turns, part_id)
    return next(part for part in turns[index].media if part.id == part_id)


def made_with(part: MediaPart) -> GenerationSettings:
    """The settings that ``part`` was made with, as far as it says."""
    settings = GenerationSettings()
    for name in ("steps", "guidance_scale", "scheduler"):
        if part.details.get(name) is not None:
            settings = settings.with_value(f"{part.kind}.{name}", part.details[name])
    media = part.media
    sizes: dict[str, float] = {}
    if isinstance(media, Audio):
        sizes = {"seconds": media.seconds}
    elif isinstance(media, Image):
        sizes = {"height": media.pixels.shape[0], "width": media.pixels.shape[1]}
    elif isinstance(media, Video):
        frames = media.frames
        sizes = {"frames": len(frames), "fps": media.fps, "height": frames.shape[1], "width": frames.shape[2]}
    for name, value in sizes.items():
        settings = settings.with_value(f"{part.kind}.{name}", value)
    conditioning = part.details.get("conditioning")
    return settings.with_value("conditioning", conditioning) if conditioning else settings


def variation(part: MediaPart, how: str, chosen: GenerationSettings) -> tuple[GenerationSettings, int]:
    """Settings and seed of another one like ``part``.

    ``how``: "seed" (a new one), "steps" (twice as many, at most 100), "conditioning" (the caption in place of the
    signal tokens, or the other way round), "settings" (those that the user has ``chosen`` now). All but the first keep
    the seed, so that what differs is what was changed. Raises NextGPTError for another word.
    """
    if how not in WAYS:
        raise NextGPTError(f"There is no way {how[:40]!r} to make a medium again; there are {', '.join(WAYS)}.")
    seed = part.details.get("seed")
    if how == "seed" or not isinstance(seed, int):
        seed = secrets.randbelow(2**31)
    settings = made_with(part)
    if how == "steps":
        steps = getattr(settings, part.kind).steps or MOST_STEPS // 2
        settings = settings.with_value(f"{part.kind}.steps", min(MOST_STEPS, 2 * steps))
    elif how == "conditioning":
        other = "signal" if settings.conditioning == "caption" else "caption"
        settings = settings.with_value("conditioning", other)
    elif how == "settings":
        settings = chosen
    return settings, seed
