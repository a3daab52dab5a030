"""``sources.lock.json``: revisions and SHA-256 of everything that was fetched, recorded at the first download.

No revision or hash is invented: before the first download a source is unverified, afterwards it must stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .placing import LOCK_FILE

_NOTE = (
    "Recorded by this copy of the program at its first download, not published by the authors: it proves that later "
    "downloads are the same, not that the first one was right. Delete an entry to accept another file."
)


@dataclass
class SourcesLock:
    """``entries``: role → origin, revision (None = unknown) and files: name → bytes, sha256."""

    path: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> SourcesLock:
        """Of a checkpoint's folder; empty where nothing was recorded. Raises CheckpointError for an unreadable one."""
        path = folder / LOCK_FILE
        if not path.is_file():
            return cls(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))["sources"]
            for entry in data.values():
                entry["revision"], [(one["bytes"], one["sha256"]) for one in entry["files"].values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is not readable ({error!r}). Delete it to record the next download anew."
            ) from error
        return cls(path, data)

    def revision(self, role: str) -> str | None:
        return self.entries.get(role, {}).get("revision")

    def digest(self, role: str, name: str) -> str | None:
        """The recorded SHA-256 of a file, or None."""
        return self.entries.get(role, {}).get("files", {}).get(name, {}).get("sha256")

    def check(self, role: str, files: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether files (name → bytes, sha256) were recorded before. Raises CheckpointError if they were, otherwise."""
        known = False
        for name, facts in files.items():
            digest = self.digest(role, name)
            if digest is None:
                continue
            known = True
            if digest != facts["sha256"]:
                raise CheckpointError(
                    f"{name} of {role} is not the file that was recorded at the first download: its SHA-256 is "
                    f"{facts['sha256']}, not {digest}. It was changed or damaged on its way; download it again. If its "
                    f"authors replaced it and you want the new one, delete the entry {role} in {self.path}."
                )
        return known

    def record(self, role: str, origin: str, revision: str | None, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds what is not recorded yet."""
        entry = self.entries.setdefault(role, {"origin": origin, "revision": revision, "files": {}})
        entry["revision"] = entry["revision"] or revision
        for name, facts in files.items():
            entry["files"].setdefault(name, dict(facts))

    def text(self) -> str:
        data = {"format_version": 1, "note": _NOTE, "sources": self.entries}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
