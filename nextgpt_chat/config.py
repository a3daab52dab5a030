"""Settings of a reply: frozen values with their allowed ranges, and their JSON form.

``None`` means "the checkpoint's own default" (its manifest's ``defaults``); ``resolved`` fills those in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any

from .errors import LimitError

SCHEDULERS = ("dpm++", "checkpoint")
CONDITIONINGS = ("signal", "caption")


def _ranged(low: float, high: float, default: Any = None, unit: str = "") -> Any:
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


def _number(name: str, value: Any, annotation: str) -> int | float:
    """Pages and programs send 8 as 8.0, numpy's numbers are numbers too."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if not annotation.startswith("int"):
        return value if isinstance(value, int) else float(value)
    if not isinstance(value, int) and not float(value).is_integer():
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


@dataclass(frozen=True)
class _Checked:
    """Numbers are checked against the range in their field's metadata when the value is made."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low = getattr(self, f.name), f.metadata.get("low")
            if value is None or low is None:
                continue
            high, unit = f.metadata["high"], f.metadata["unit"]
            value = _number(f.name, value, str(f.type))
            object.__setattr__(self, f.name, value)
            if not low <= value <= high:
                raise LimitError(f"{f.name} is {value}{unit}; choose a value from {low} to {high}{unit}.")


@dataclass(frozen=True)
class TextSettings(_Checked):
    """Sampling of the language model. Temperature 0 means greedy."""

    temperature: float | None = _ranged(0.0, 2.0)
    top_p: float | None = _ranged(0.0, 1.0)
    max_new_tokens: int | None = _ranged(1, 4096)
    repetition_penalty: float | None = _ranged(0.5, 2.0)


@dataclass(frozen=True)
class _Diffusion(_Checked):
    steps: int | None = _ranged(1, 200)
    guidance_scale: float | None = _ranged(1.0, 30.0)
    scheduler: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scheduler is not None and self.scheduler not in SCHEDULERS:
            raise ValueError(f"scheduler is {self.scheduler!r}; it must be one of {', '.join(SCHEDULERS)}")


@dataclass(frozen=True)
class ImageSettings(_Diffusion):
    """``width`` and ``height`` in pixels."""

    width: int | None = _ranged(32, 1024, unit=" pixels")
    height: int | None = _ranged(32, 1024, unit=" pixels")


@dataclass(frozen=True)
class AudioSettings(_Diffusion):
    """``seconds`` of sound."""

    seconds: float | None = _ranged(0.5, 30.0, unit=" seconds")


@dataclass(frozen=True)
class VideoSettings(_Diffusion):
    """``frames`` at ``fps`` frames a second, ``width`` × ``height`` pixels."""

    frames: int | None = _ranged(2, 64)
    fps: float | None = _ranged(1, 60)
    width: int | None = _ranged(32, 1024, unit=" pixels")
    height: int | None = _ranged(32, 1024, unit=" pixels")


@dataclass(frozen=True)
class GenerationSettings:
    """Everything a reply depends on besides the conversation.

    ``seed`` None means a random one, reported in the reply. ``conditioning`` is ``"signal"`` (the states of the
    signal tokens through the output projection, the paper's way) or ``"caption"`` (the caption through the
    decoder's own text encoder: the cascade baseline).
    """

    text: TextSettings = TextSettings()
    image: ImageSettings = ImageSettings()
    audio: AudioSettings = AudioSettings()
    video: VideoSettings = VideoSettings()
    seed: int | None = None
    conditioning: str = "signal"

    def __post_init__(self) -> None:
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning is {self.conditioning!r}; it must be one of {', '.join(CONDITIONINGS)}")
        if self.seed is not None:
            object.__setattr__(self, "seed", _number("seed", self.seed, "int"))
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise LimitError(f"seed is {self.seed}; choose a whole number from 0 to 2^63 - 1.")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GenerationSettings:
        """Raises ValueError for a name that no setting has."""
        settings = cls()
        for name, value in data.items():
            for path, leaf in value.items() if isinstance(value, dict) else [(None, value)]:
                settings = settings.with_value(f"{name}.{path}" if path else name, leaf)
        return settings

    def with_value(self, path: str, value: Any) -> GenerationSettings:
        """A copy with one setting changed; ``path`` like ``image.steps`` or ``seed``; text values are converted."""
        group_name, _, name = path.rpartition(".")
        group = getattr(self, group_name, None) if group_name else self
        known = {f.name: f for f in fields(group)} if dataclasses.is_dataclass(group) else {}
        if name not in known or dataclasses.is_dataclass(getattr(group, name)):
            raise ValueError(f"unknown setting {path!r}; known are {', '.join(setting_names())}")
        changed = replace(group, **{name: _converted(path, value, str(known[name].type))})
        return replace(self, **{group_name: changed}) if group_name else changed

    def resolved(self, defaults: dict[str, Any]) -> GenerationSettings:
        """This value with every None that ``defaults`` names (same nesting) filled in."""
        settings = self
        for group_name, values in defaults.items():
            for name, value in values.items():
                if getattr(getattr(settings, group_name), name) is None:
                    settings = settings.with_value(f"{group_name}.{name}", value)
        return settings


def _converted(path: str, value: Any, annotation: str) -> Any:
    if not isinstance(value, str) or annotation.startswith("str"):
        return value
    if value.lower() in ("none", "null", "auto", "random", ""):
        return None
    try:
        return int(value) if annotation.startswith("int") else float(value)
    except ValueError:
        raise ValueError(f"{path} must be a number, not {value!r}") from None


def setting_names() -> list[str]:
    """Every path that ``with_value`` takes."""
    names = []
    for f in fields(GenerationSettings):
        inner = getattr(GenerationSettings(), f.name)
        names += [f"{f.name}.{g.name}" for g in fields(inner)] if dataclasses.is_dataclass(inner) else [f.name]
    return names
