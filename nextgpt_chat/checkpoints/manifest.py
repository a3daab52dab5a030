"""``nextgpt.json``: what a checkpoint is made of and how it is used, as a checked value.

Knows neither tensors nor the network. Every key but ``name`` may be left out and then has the value in `Manifest`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..config import GenerationSettings
from ..content import MEDIA_KINDS, MODALITIES
from ..errors import CheckpointError
from ..prompting import SEVERAL_FILES, TEMPLATES
from ..tokens import SignalTokens

MANIFEST_FILE = "nextgpt.json"
FORMAT_VERSION = 1
INPUT_MODES = ("linear", "grouping")
OUTPUT_MODES = ("transformer", "qformer", "linear")
PARTS = ("language_model", "adapter", "imagebind", *(f"{kind}_decoder" for kind in MEDIA_KINDS))
_BESIDE = (MANIFEST_FILE, "README.md", "checksums.json", "sources.lock.json", "quantization.json", "answers")
"""What a checkpoint's folder may hold besides."""
NOUNS = {"text": "words", "image": "pictures", "audio": "sounds", "video": "clips"}

# For settings that neither user nor checkpoint fixes: the original demo's, with steps for DPM-Solver++.
BASE_DEFAULTS: dict[str, dict[str, Any]] = {
    "text": {"temperature": 0.4, "top_p": 0.9, "max_new_tokens": 256, "repetition_penalty": 1.0},
    "image": {"steps": 25, "guidance_scale": 7.5, "scheduler": "dpm++"},
    "audio": {"steps": 25, "guidance_scale": 2.5, "scheduler": "dpm++", "seconds": 5.0},
    "video": {"steps": 25, "guidance_scale": 7.5, "scheduler": "dpm++", "frames": 16, "fps": 8.0},
}


@dataclass(frozen=True)
class Component:
    """Where a part's files are: ``path`` below the checkpoint's folder, or below a hub repository ``repo`` at
    ``revision``. ``sha256``: file below ``path`` → hex digest, checked after the download. ``files``: the repository's
    files to fetch (patterns below ``path``); none = everything that can be needed."""

    path: str = ""
    repo: str | None = None
    revision: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnknownMedia:
    """What a model of a small world says of what it does not know.

    ``reference``: the file of a fitted ``KnownWorld``; ``message``: what is said about a medium outside of it;
    ``declines``: what the model itself says when words ask for something outside, and ``larger``: the notice that then
    follows.
    """

    reference: str = "known_world.safetensors"
    message: str = (
        "I only know picture-book things, and this does not look or sound like one. "
        "The larger checkpoint nextgpt-7b-tiva-v0 knows the real world."
    )
    declines: tuple[str, ...] = ()
    larger: str = "The larger checkpoint nextgpt-7b-tiva-v0 knows more than this one: see the README."


@dataclass(frozen=True)
class Manifest:
    """The facts of a checkpoint that its weights do not show.

    ``input_config``: sizes of a grouping input projection (``InputProjectionConfig.sizes``).
    ``output_tokens``: conditioning tokens of each decoder. ``output_config``: kind → ``heads`` and, where it is not
    ``projections["output"]``, ``mode`` of its output projection. ``components`` names the parts that are not in the
    folder of their own name. ``defaults``: settings, nested as in ``GenerationSettings``. ``context``: positions of a
    prompt and its reply, None = all that the language model has. ``summary``: one sentence for the user.
    """

    name: str
    template: str = "clean"
    modalities: tuple[str, ...] = MODALITIES
    signal_tokens: Mapping[str, int] = field(default_factory=lambda: {"image": 4, "audio": 8, "video": 24})
    output_tokens: Mapping[str, int] = field(default_factory=lambda: {"image": 77, "audio": 1, "video": 77})
    projections: Mapping[str, str] = field(default_factory=lambda: {"input": "linear", "output": "transformer"})
    input_config: Mapping[str, Any] = field(default_factory=dict)
    output_config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    components: Mapping[str, Component] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context: int | None = None
    summary: str = ""
    licence: str = ""
    unknown_media: UnknownMedia | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def component(self, part: str) -> Component:
        """Where ``part`` is: as ``components`` says, else the folder of its own name."""
        return self.components.get(part, Component(part))

    def output_mode(self, kind: str) -> str:
        return self.output_config.get(kind, {}).get("mode", self.projections["output"])

    def output_heads(self, kind: str) -> int:
        return self.output_config.get(kind, {}).get("heads", 4)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The media it makes."""
        return tuple(kind for kind in MEDIA_KINDS if kind in self.modalities)

    @property
    def signals(self) -> SignalTokens:
        return SignalTokens(**{kind: self.signal_tokens.get(kind, 0) for kind in MEDIA_KINDS})

    @property
    def several_files(self) -> str:
        """``extra.several_files``: "separate" (usual) or "sum", as the original adds up a turn's files of one kind."""
        return self.extra.get("several_files", SEVERAL_FILES[0])

    def settings_defaults(self) -> dict[str, dict[str, Any]]:
        """Every setting's value where the user gives none, nested as in ``GenerationSettings``."""
        return {group: values | dict(self.defaults.get(group, {})) for group, values in BASE_DEFAULTS.items()}

    def sentence(self) -> str:
        """What this checkpoint is and can do, in one sentence."""
        if self.summary:
            return self.summary
        outputs = [NOUNS[kind] for kind in self.modalities]
        listed = f"{', '.join(outputs[:-1])} and {outputs[-1]}" if len(outputs) > 1 else outputs[0]
        return f"{self.name} takes words, pictures, sounds and clips, and answers with {listed}."

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without what is empty."""
        data: dict[str, Any] = {"format_version": self.format_version}
        for one in fields(self):
            value = getattr(self, one.name)
            if value in (None, "", {}, ()) or one.name == "format_version":
                continue
            data[one.name] = list(value) if isinstance(value, tuple) else value
        if self.components:
            data["components"] = {part: _filled(item) for part, item in self.components.items()}
        if self.unknown_media:
            data["unknown_media"] = _filled(self.unknown_media)
        return json.loads(json.dumps(data, default=dict))

    @classmethod
    def from_dict(cls, data: Any, where: str = MANIFEST_FILE) -> Manifest:
        """Raises CheckpointError that names ``where``, the key at fault and what it may be."""
        reader = _Reader(where)
        reader.check(isinstance(data, dict), "must hold a JSON object")
        version = data.get("format_version")
        reader.check(isinstance(version, int) and version >= 1, "lacks a format_version; this program writes 1")
        reader.check(
            version <= FORMAT_VERSION,
            f"has format_version {version}; this program reads up to {FORMAT_VERSION}. Update the program",
        )
        known = {one.name for one in fields(cls)}
        if unknown := sorted(data.keys() - known):
            reader.refuse(f"has unknown keys: {', '.join(unknown)}. Facts of your own belong under 'extra'")
        reader.check(isinstance(data.get("name"), str) and data["name"].strip() != "", "lacks a name")
        manifest = cls(**{key: value for key, value in data.items() if key not in ("components", "unknown_media")})
        manifest = replace(
            manifest,
            modalities=reader.modalities(manifest.modalities),
            components=reader.components(data.get("components", {})),
            unknown_media=reader.unknown_media(data.get("unknown_media")),
        )
        reader.values(manifest)
        return manifest

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Reads ``nextgpt.json`` of a checkpoint's folder. Raises CheckpointError."""
        path = Path(folder, MANIFEST_FILE)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder} is not a checkpoint: it has no {MANIFEST_FILE}. Give the folder that holds that file."
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not readable JSON ({error}). Fetch the checkpoint again.") from error
        return cls.from_dict(data, str(path))

    def save(self, folder: str | Path) -> None:
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        Path(folder, MANIFEST_FILE).write_text(text, encoding="utf-8")


def _filled(value: Component | UnknownMedia) -> dict[str, Any]:
    pairs = ((one.name, getattr(value, one.name)) for one in fields(value))
    return {name: item for name, item in pairs if item not in (None, "", {}, ())}


class _Reader:
    """Checks of a manifest's values; each refusal is one sentence that names the file."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, complaint: str) -> None:
        raise CheckpointError(f"{self.where} {complaint}.")

    def check(self, condition: bool, complaint: str) -> None:
        if not condition:
            self.refuse(complaint)

    def choice(self, key: str, value: Any, choices: tuple[str, ...]) -> None:
        self.check(value in choices, f"has {key} {value!r}; it must be one of {', '.join(choices)}")

    def mapping(self, key: str, value: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
        self.check(isinstance(value, dict), f"has {key} {value!r}; it must be an object")
        if unknown := sorted(value.keys() - set(names)):
            self.refuse(f"has {', '.join(unknown)} in {key}; known are {', '.join(names)}")
        return value

    def modalities(self, value: Any) -> tuple[str, ...]:
        self.check(isinstance(value, (list, tuple)) and len(value) > 0, f"has modalities {value!r}; it must be a list")
        for one in value:
            self.choice("modality", one, MODALITIES)
        self.check("text" in value, "has modalities without text; the language model always writes it")
        return tuple(one for one in MODALITIES if one in value)

    def components(self, value: Any) -> dict[str, Component]:
        found = {}
        for part, item in self.mapping("components", value, PARTS).items():
            key = f"components.{part}"
            facts = self.mapping(key, item, ("path", "repo", "revision", "sha256", "files"))
            self.check(bool(facts.get("path") or facts.get("repo")), f"names neither path nor repo in {key}")
            for name in ("path", "repo", "revision"):
                self.check(isinstance(facts.get(name, ""), str), f"has a {name} in {key} that is not a string")
            self.inside(f"{key}.path", facts.get("path", ""))
            hashes = facts.get("sha256", {})
            self.check(
                isinstance(hashes, dict) and all(isinstance(one, str) and len(one) == 64 for one in hashes.values()),
                f"has {key}.sha256 that is no object of 64-digit hashes",
            )
            for file in hashes:
                self.inside(f"{key}.sha256", file)
            files = facts.get("files", ())
            good = isinstance(files, (list, tuple)) and all(isinstance(one, str) for one in files)
            self.check(good, f"has {key}.files that is no list of names")
            for file in files:
                self.inside(f"{key}.files", file)
            found[part] = Component(**{**facts, "files": tuple(files)})
        return found

    def unknown_media(self, value: Any) -> UnknownMedia | None:
        if value is None:
            return None
        facts = dict(self.mapping("unknown_media", value, tuple(one.name for one in fields(UnknownMedia))))
        declines = facts.pop("declines", ())
        self.check(
            isinstance(declines, (list, tuple)) and all(isinstance(one, str) and one.strip() for one in declines),
            "has unknown_media.declines that are no list of sentences",
        )
        for name, one in facts.items():
            self.check(isinstance(one, str) and one != "", f"has an unknown_media.{name} that is no string")
        found = UnknownMedia(**facts, declines=tuple(declines))
        self.inside("unknown_media.reference", found.reference)
        return found

    def inside(self, key: str, path: str) -> None:
        parts = PurePosixPath(path).parts
        outside = path.startswith(("/", "\\")) or ":" in path or ".." in parts or "\\" in path
        self.check(not outside, f"has {key} {path!r}, which leads out of the checkpoint's folder")

    def values(self, m: Manifest) -> None:
        self.choice("template", m.template, TEMPLATES)
        for key in ("summary", "licence"):
            self.check(isinstance(getattr(m, key), str), f"has a {key} that is not a string")
        for key in ("signal_tokens", "output_tokens"):
            counts = self.mapping(key, getattr(m, key), MEDIA_KINDS)
            for kind in m.kinds:
                count = counts.get(kind)
                good = isinstance(count, int) and not isinstance(count, bool) and count >= 1
                self.check(good, f"has {key}.{kind} {count!r}; it must be a whole number from 1")
        names = self.mapping("projections", m.projections, ("input", "output"))
        self.choice("projections.input", names.get("input"), INPUT_MODES)
        self.choice("projections.output", names.get("output"), OUTPUT_MODES)
        for key, value in self.mapping("input_config", m.input_config, ("hidden", "heads", "groups", "layers")).items():
            numbers = value if isinstance(value, (list, tuple)) else [value]
            good = isinstance(value, (list, tuple)) == (key in ("groups", "layers")) and len(numbers) > 0
            good = good and all(isinstance(one, int) and one >= 0 for one in numbers)
            self.check(good, f"has input_config.{key} {value!r}")
        for kind, facts in self.mapping("output_config", m.output_config, MEDIA_KINDS).items():
            self.mapping(f"output_config.{kind}", facts, ("mode", "heads"))
            self.choice(f"output_config.{kind}.mode", m.output_mode(kind), OUTPUT_MODES)
            heads = m.output_heads(kind)
            self.check(isinstance(heads, int) and heads >= 1, f"has output_config.{kind}.heads {heads!r}")
        good = m.context is None or (isinstance(m.context, int) and m.context >= 64)
        self.check(good, f"has context {m.context!r}; it must be a whole number from 64")
        self.check(isinstance(m.extra, dict), "has an extra that is not an object")
        self.choice("extra.several_files", m.several_files, SEVERAL_FILES)
        for group, values in self.mapping("defaults", m.defaults, MODALITIES).items():
            try:
                GenerationSettings.from_dict({group: dict(values)})
            except Exception as error:  # a wrong name, type or range: each message says which
                raise CheckpointError(f"{self.where} has unusable defaults.{group}: {error}") from error


def check_replaceable(folder: Path, instead: str = "Choose a new or empty folder.") -> None:
    """Raises CheckpointError, which ends with ``instead``, where a checkpoint written to ``folder`` would be the end of
    something else: a file, a folder without a checkpoint, a checkpoint with more in it than checkpoints have."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST_FILE).is_file():
        raise CheckpointError(f"{folder} exists and is no checkpoint; it is left alone. {instead}")
    for name in sorted(path.name for path in folder.iterdir()):
        if name not in (*PARTS, *_BESIDE) and not name.startswith((".", "projections", "known_")):
            raise CheckpointError(
                f"{folder} holds {name}, which is no part of a checkpoint and would be lost. Move it elsewhere, or: "
                f"{instead[0].lower()}{instead[1:]}"
            )
