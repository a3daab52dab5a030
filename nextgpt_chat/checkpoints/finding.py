"""From a name to a folder: a path, a shipped checkpoint, or a hub repository."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from ..errors import CheckpointError
from .integrity import HASHED_AT_LOAD, check_hashes
from .manifest import MANIFEST_FILE, Component

SHIPPED = "checkpoints"
_ROOTS = tuple(Path(__file__).resolve().parents[level] / SHIPPED for level in (2, 1))
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Nothing that could run code when it is read.
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.md")


def shipped_checkpoints() -> dict[str, Path]:
    """The checkpoints that came with the program, by name."""
    folders = [path for root in _ROOTS if root.is_dir() for path in sorted(root.iterdir())]
    return {path.name: path for path in reversed(folders) if (path / MANIFEST_FILE).is_file()}


def locate(checkpoint: str | Path) -> Path | None:
    """The folder of ``checkpoint`` on this machine, or None for what can only be a hub repository.

    Touches neither weights nor network. Raises CheckpointError for a name that cannot be any checkpoint.
    """
    text = str(checkpoint)
    for folder in _candidates(text):
        if _exists(folder / MANIFEST_FILE):
            return folder
    if any(_exists(folder) for folder in _candidates(text)[1:]):
        raise CheckpointError(
            f"The shipped checkpoint {text} is unfinished: it has parts but no {MANIFEST_FILE}. "
            f"`make mini` trains what is missing (hours on a CPU). {_known()}"
        )
    if _exists(_expanded(text)):
        raise CheckpointError(
            f"{text} is not a checkpoint: it has no {MANIFEST_FILE}. Give the folder that holds that file. {_known()}"
        )
    if not isinstance(checkpoint, Path) and _HUB_NAME.fullmatch(text) and not text.startswith(SHIPPED + "/"):
        return None
    raise CheckpointError(
        f"There is no checkpoint {text!r}. {_known()} Give one of these, a folder with a {MANIFEST_FILE}, "
        "or a hub repository as owner/name."
    )


def find_checkpoint(checkpoint: str | Path, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder of ``checkpoint``: a folder's path, a shipped name, or a hub repository (downloaded where it must be;
    ``revision``: its branch, tag or commit). Raises CheckpointError that lists the shipped ones."""
    folder = locate(checkpoint)
    if folder is not None:
        return folder
    folder = _download(str(checkpoint), revision, local_files_only, None)
    if not (folder / MANIFEST_FILE).is_file():
        raise CheckpointError(
            f"The hub repository {checkpoint} has no {MANIFEST_FILE}, so it is no checkpoint of this program. "
            f"{_known()} Import its weights first, or give another."
        )
    return folder


def component_folder(folder: Path, component: Component, local_files_only: bool = False) -> Path:
    """Where a component's files are; one in a hub repository is downloaded. Hashes are checked (of
    huge files, sizes are the hub client's business and hashes doctor's)."""
    found = folder
    if component.repo is not None:
        path = PurePosixPath(component.path) if component.path else None
        found = _download(component.repo, component.revision, local_files_only, path, component.files)
    found = found / component.path if component.path else found
    check_hashes(found, component.sha256, limit=HASHED_AT_LOAD)
    return found


def _candidates(text: str) -> list[Path]:
    given = _expanded(text)
    name = text.removeprefix("./").removeprefix(SHIPPED + "/").rstrip("/")
    # ``checkpoints/nextgpt-mini`` means the shipped one from any working folder.
    shipped = [root / name for root in _ROOTS] if name and Path(name).name == name and name != ".." else []
    return [given, *shipped]


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ and a name that no user has
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def _known() -> str:
    names = ", ".join(shipped_checkpoints())
    return f"Shipped checkpoints: {names}." if names else "No checkpoint is shipped with this copy of the program."


def _download(
    repo: str,
    revision: str | None,
    local_files_only: bool,
    path: PurePosixPath | None,
    files: tuple[str, ...] = (),
) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [one for one in files if any(fnmatch(one, safe) for safe in _WANTED)] or _WANTED
    patterns = [f"{path}/{one}" if path else one for one in wanted]
    try:
        return Path(
            snapshot_download(repo, revision=revision, local_files_only=local_files_only, allow_patterns=patterns)
        )
    except Exception as error:  # the hub client raises OSErrors, ValueErrors and its HTTP library's own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        at = f" at revision {revision}" if revision else ""
        raise CheckpointError(
            f"The hub repository {repo}{at} could not be fetched ({reason}). {_known()} Check the name, the revision "
            "and the network; without one, download it first and give its folder."
        ) from error
