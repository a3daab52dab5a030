"""What a checkpoint is downloaded from: ``extra.sources`` of its manifest, as checked values."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from ..checkpoints import Manifest
from ..errors import CheckpointError

ROLES = ("nextgpt", "llm", "llm_delta", "imagebind", "image_decoder", "audio_decoder", "video_decoder")


@dataclass(frozen=True)
class Source:
    """One thing to fetch: a hub repository, a file at a URL, or what users must get themselves (``obtain``).

    ``files``, ``optional``: patterns of what is needed and what is taken along (empty: the program knows which files
    of such a folder it reads). ``about_bytes``: for saying sizes where the hub cannot be asked. ``folder``: its name
    in a mirror where it has no repository.
    """

    role: str
    repo: str | None = None
    url: str | None = None
    obtain: str = ""
    folder: str = ""
    revision: str | None = None
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    about_bytes: int = 0
    licence: str = ""

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return self.repo or (self.url or "").rpartition("/")[2] or self.folder

    def wants(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in (*self.files, *self.optional))


def read_sources(manifest: Manifest) -> dict[str, Source]:
    """The sources by role. Raises CheckpointError for a manifest without them, or with unusable ones."""
    listed = manifest.extra.get("sources")
    if listed is None:
        raise CheckpointError(
            f"{manifest.name} has nothing to download: its manifest names no sources. What comes with the program is "
            "complete as it is."
        )
    found = {}
    for role in ROLES:
        facts = listed.get(role) if isinstance(listed, dict) else None
        if not isinstance(facts, dict):
            raise CheckpointError(f"The manifest of {manifest.name} has no usable extra.sources.{role}.")
        found[role] = _source(role, facts, manifest.name)
    return found


def _source(role: str, facts: dict[str, Any], name: str) -> Source:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items() if key != "note"}
    try:
        source = Source(role, **values)
    except TypeError as error:
        raise CheckpointError(f"The manifest of {name} has an unusable extra.sources.{role}: {error}.") from error
    if not (source.repo or source.url or source.obtain):
        raise CheckpointError(f"The manifest of {name} names neither repo, url nor obtain in extra.sources.{role}.")
    if source.url and not source.url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise CheckpointError(f"The manifest of {name} wants {source.url}; only https addresses are fetched.")
    return source
