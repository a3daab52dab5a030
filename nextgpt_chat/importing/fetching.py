"""Getting one source: from a mirror's folder, the hub, or a URL (resumable). Knows nothing of what is in the files.

`locate` asks for names and sizes only; ``Located.fetch`` moves the bytes.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.integrity import sha256_of
from ..errors import CheckpointError
from .placing import in_words
from .recipe import Source

Chooser = Callable[[list[str], str], list[str]]
"""(names there, where) → the needed ones; raises CheckpointError."""

Progress = Callable[[str, int, int], None]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOCK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Located:
    """Files of a source and where they come from. ``sizes``: name → bytes (None = unknown). ``folder``: where they
    are already, else None. ``published``: hashes that the hub itself states. ``there``: bytes that an earlier run has
    fetched."""

    source: Source
    origin: str
    sizes: Mapping[str, int | None]
    revision: str | None = None
    folder: Path | None = None
    published: Mapping[str, str] | None = None
    there: int = 0

    @property
    def to_download(self) -> int:
        """Bytes over the network."""
        if self.folder is not None:
            return 0
        return max(0, (sum(size or 0 for size in self.sizes.values()) or self.source.about_bytes) - self.there)

    def place(self, cache: Path) -> Path:
        """Where they go: the hub's own cache, or ``cache``."""
        from huggingface_hub import constants

        return cache if self.source.url else Path(constants.HF_HUB_CACHE)

    def sentence(self) -> str:
        """One line for the user, before anything is fetched."""
        at = f" at {self.revision[:12]}" if self.revision else ""
        known = sum(size or 0 for size in self.sizes.values())
        size = in_words(known) if known else f"about {in_words(self.source.about_bytes)}"
        where = f"in {self.folder}" if self.folder else f"from {self.origin}{at}"
        return f"{self.source.title}: {size}, {where}. {self.source.licence}".strip()

    def fetch(self, cache: Path, progress: Progress) -> Fetched:
        """Moves the bytes (nothing for local files) and hashes them. Raises CheckpointError."""
        folder = self.folder
        if folder is None and self.source.url:
            folder = _fetch_url(self.source.url, cache, progress)
        elif folder is None:
            folder = _fetch_hub(self, progress)
        files = {}
        for number, name in enumerate(sorted(self.sizes)):
            progress(f"hashes of {self.source.title}", number, len(self.sizes))
            path = folder / name
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
            stated = (self.published or {}).get(name)
            if stated is not None and stated != files[name]["sha256"]:
                raise CheckpointError(
                    f"{path} is damaged: its SHA-256 is {files[name]['sha256']}, the hub says {stated}. Delete it and "
                    "download again."
                )
        progress(f"hashes of {self.source.title}", len(self.sizes), len(self.sizes))
        return Fetched(self, folder, files)


@dataclass(frozen=True)
class Fetched:
    """Files on this machine. ``files``: name → bytes, sha256."""

    located: Located
    folder: Path
    files: Mapping[str, Mapping[str, Any]]

    def path(self, pattern: str) -> Path:
        """The file of that name."""
        return self.folder / pattern


def offline() -> bool:
    """Whether the user forbade the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def default_cache() -> Path:
    """Where files that are in no hub repository are kept: beside the hub's own cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME, "nextgpt_chat")


def locate(
    source: Source, choose: Chooser | None, mirror: Path | None, cache: Path, revision: str | None = None
) -> Located:
    """Where the files of ``source`` are. With a ``mirror`` the network is never asked. Raises CheckpointError."""
    choose = choose or (lambda names, where: _by_patterns(source, names, where))
    if mirror is not None:
        return _in_mirror(source, choose, mirror)
    if source.url:
        return _at_url(source, cache)
    if source.repo is None:
        raise CheckpointError(f"{source.obtain}")
    return _on_hub(source, choose, revision or source.revision)


def local(source: Source, choose: Chooser | None, folder: Path) -> Located:
    """A folder that the user gave."""
    choose = choose or (lambda names, where: _by_patterns(source, names, where))
    if not folder.is_dir():
        raise CheckpointError(f"{folder} does not exist. {source.obtain}".strip())
    names = choose([p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()], str(folder))
    return Located(source, "a local folder", {name: (folder / name).stat().st_size for name in names}, folder=folder)


def is_hub_name(text: str) -> bool:
    """Whether a text can be a repository: owner/name, and no folder here."""
    return not Path(text).exists() and _HUB_NAME.fullmatch(text) is not None


def _by_patterns(source: Source, names: list[str], where: str) -> list[str]:
    import fnmatch

    for pattern in source.files:
        if not fnmatch.filter(names, pattern):
            raise CheckpointError(f"{where} has no {pattern}, which {source.title} must have. Download all of it.")
    return sorted(name for name in names if source.wants(name))


# --- mirror ----------------------------------------------------------------------------------------------------


def _in_mirror(source: Source, choose: Chooser, mirror: Path) -> Located:
    if not mirror.is_dir():
        raise CheckpointError(f"The mirror {mirror} does not exist. Give a folder with --mirror.")
    if source.url:
        host, _, path = source.url.split("://", 1)[1].partition("/")
        name = path.rpartition("/")[2]
        places = [mirror / host / path, mirror / path, mirror / name]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise CheckpointError(f"The mirror {mirror} has no {name}. Put it at {places[1]}.")
        return Located(source, "the mirror", {name: file.stat().st_size}, folder=file.parent)
    name = source.repo or source.folder
    places = [mirror / name, mirror / name.rpartition("/")[2]]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise CheckpointError(
            f"The mirror {mirror} has no {name}. Put its files into {places[0]}. {source.obtain}".strip()
        )
    return local(source, choose, folder)


# --- hub -------------------------------------------------------------------------------------------------------


def _on_hub(source: Source, choose: Chooser, revision: str | None) -> Located:
    assert source.repo is not None
    if offline():
        return _in_hub_cache(source, choose, revision)
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(source.repo, revision=revision, files_metadata=True)
    except Exception as error:  # the hub client raises OSErrors, ValueErrors and its HTTP library's own
        raise _hub_error(source.repo, revision, error) from error
    facts = {one.rfilename: one for one in info.siblings or ()}
    names = choose(list(facts), f"the hub repository {source.repo}")
    stated = {name: facts[name].lfs.sha256 for name in names if facts[name].lfs is not None}
    there = sum(facts[name].size or 0 for name in names if _is_cached(source.repo, name, info.sha))
    return Located(source, "the hub", {n: facts[n].size for n in names}, info.sha, published=stated, there=there)


def _is_cached(repo: str, name: str, revision: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, name, revision=revision), str)


def _in_hub_cache(source: Source, choose: Chooser, revision: str | None) -> Located:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source.repo, revision=revision, local_files_only=True))
    except Exception as error:
        raise CheckpointError(
            f"{source.repo} is not in the hub's cache, and HF_HUB_OFFLINE forbids the network. Unset it, or give a "
            "folder with --mirror."
        ) from error
    found = local(source, choose, folder)
    commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return Located(source, "the hub's cache", found.sizes, commit, folder)


def _fetch_hub(located: Located, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download

    repo = located.source.repo
    try:
        # Shows its own progress bars, goes on where an earlier run was interrupted.
        folder = Path(snapshot_download(repo, revision=located.revision, allow_patterns=list(located.sizes)))
    except Exception as error:
        raise _hub_error(repo, located.revision, error) from error
    for name, size in located.sizes.items():
        if not (folder / name).is_file() or (size is not None and (folder / name).stat().st_size != size):
            raise CheckpointError(f"{folder / name} is missing or truncated. Run the same command again to go on.")
    return folder


def _hub_error(repo: str | None, revision: str | None, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    at = f" at revision {revision}" if revision else ""
    return CheckpointError(
        f"The hub repository {repo}{at} could not be fetched ({reason}). Check name and network (a gated repository "
        "wants `hf auth login`), then run the same command again: it goes on where it stopped. Without a network, give "
        "a folder with --mirror."
    )


# --- URL -------------------------------------------------------------------------------------------------------


def _at_url(source: Source, cache: Path) -> Located:
    assert source.url is not None
    name = source.url.rpartition("/")[2]
    if (cache / name).is_file():
        return Located(source, "an earlier download", {name: (cache / name).stat().st_size}, folder=cache)
    if offline():
        raise CheckpointError(
            f"{name} was not downloaded yet, and HF_HUB_OFFLINE forbids the network. Unset it, fetch {source.url} into "
            f"{cache}, or give a folder with --mirror."
        )
    try:
        with urllib.request.urlopen(urllib.request.Request(source.url, method="HEAD"), timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0) or None
    except (OSError, ValueError) as error:
        raise _url_error(source.url, error) from error
    part = cache / f"{name}.part"
    return Located(source, source.url, {name: size}, there=part.stat().st_size if part.is_file() else 0)


def _fetch_url(url: str, cache: Path, progress: Progress) -> Path:
    """Into ``cache``; an interrupted download leaves ``NAME.part``, where the next one goes on."""
    cache.mkdir(parents=True, exist_ok=True)
    name = url.rpartition("/")[2]
    part = cache / f"{name}.part"
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            have = have if answer.status == 206 else 0
            total = have + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if have else "wb") as file:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    have += len(block)
                    progress(name, have, max(total, have))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is already all of it, or longer than the file
            raise _url_error(url, error) from error
        have, total = _whole(error, have, part, url)
    except OSError as error:
        raise _url_error(url, error) from error
    if have != total:
        raise CheckpointError(
            f"{url} ended after {have} of {total} bytes. Run the same command again: it goes on there."
        )
    part.replace(cache / name)
    return cache


def _whole(error: urllib.error.HTTPError, have: int, part: Path, url: str) -> tuple[int, int]:
    total = int((error.headers.get("Content-Range") or "").rpartition("/")[2] or 0)
    if have != total:
        part.unlink()
        raise CheckpointError(f"What there was of {url} did not belong to it. Run the same command again.") from error
    return have, total


def _url_error(url: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{url} could not be fetched ({' '.join(str(error).split())[:160]}). Check the network and run the same "
        "command again: it goes on where it stopped. Without a network, give a folder with --mirror."
    )
