"""``download``: sizes first, then everything is fetched, compared with what was recorded, and imported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..checkpoints import Component, Manifest, locate
from ..content import MEDIA_KINDS
from ..errors import CheckpointError
from . import fetching
from .fetching import Fetched, Located, Progress
from .lock import SourcesLock
from .placing import LOCK_FILE, check_place, check_space, in_words
from .recipe import Source, read_sources

_TEXTS = ("config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json")
_TEXTS += ("special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class DownloadPlan:
    """What would be fetched for a checkpoint, by role. ``out``: where the checkpoint goes."""

    manifest: Manifest
    out: Path
    located: Mapping[str, Located]
    lock: SourcesLock
    cache: Path

    @property
    def to_download(self) -> int:
        return sum(one.to_download for one in self.located.values())

    def sentences(self) -> list[str]:
        """Sizes, places and licences, and how much of it is verified."""
        lines = [one.sentence() for one in self.located.values()]
        unknown = [one.source.title for role, one in self.located.items() if role not in self.lock.entries]
        lines.append(f"To be fetched over the network: {in_words(self.to_download)}.")
        if unknown:
            lines.append(
                f"No revision or hash is known here for {', '.join(unknown)}: unverified until they are recorded in "
                f"{LOCK_FILE} at this first download."
            )
        return lines


def plan_download(
    name: str | Path,
    *,
    mirror: str | Path | None = None,
    out: str | Path | None = None,
    llm: str | Path | None = None,
    merged: bool = False,
    cache: Path | None = None,
) -> DownloadPlan:
    """Finds every source of the checkpoint ``name`` without fetching weights.

    Args:
        name: a shipped name or a folder with a manifest that names sources.
        mirror: a folder with ``owner/name/file`` for each repository, asked in place of the network.
        out: where the checkpoint goes (None: the folder of the manifest).
        llm: folder or repository of LLaMA-7B; with ``merged``, of a Vicuna-7B v0 that needs no delta.
        cache: for files that are in no hub repository.

    Raises CheckpointError, first of all for what the user must obtain and did not give.
    """
    folder = locate(name)
    if folder is None:
        raise CheckpointError(f"{name} is a hub repository; only checkpoints with a recipe here can be downloaded.")
    manifest = Manifest.load(folder)
    sources = read_sources(manifest)
    mirror, out = Path(mirror) if mirror else None, Path(out) if out else folder
    cache = cache or fetching.default_cache()
    lock = SourcesLock.load(out if (out / LOCK_FILE).is_file() else folder)
    located = {"llm": _language_model(sources["llm"], llm, mirror, cache, lock)}
    for role, source in sources.items():
        if role != "llm" and not (role == "llm_delta" and merged):
            located[role] = fetching.locate(source, _chooser(role), mirror, cache, lock.revision(role))
    return DownloadPlan(manifest, out, located, lock, cache)


def download_checkpoint(
    plan: DownloadPlan,
    *,
    img_tokens: str = "auto",
    any_base: bool = False,
    drop_extra_rows: bool = False,
    max_shard: int | None = None,
    progress: Progress = lambda what, done, of: None,
):
    """Fetches what ``plan`` found and imports it: returns `assembling.ImportReport`.

    Revisions and hashes go into ``sources.lock.json`` beside the manifest; a later download must have the same.
    Raises CheckpointError; what was fetched by then stays in the caches.
    """
    from .assembling import ImportSources, import_checkpoint
    from .shards import MAX_SHARD

    check_place(plan.out)
    _check_caches(plan.located.values(), plan.cache, "The download")
    fetched = _fetch(plan.located, plan.cache, plan.lock, progress)
    decoders = _decoders(fetched)
    delta = fetched.get("llm_delta")
    sources = ImportSources(
        nextgpt=fetched["nextgpt"].path(next(n for n in fetched["nextgpt"].files if n.endswith((".pt", ".bin")))),
        llm=fetched["llm"].folder,
        llm_delta=delta.folder if delta else None,
        imagebind=fetched["imagebind"].path(next(iter(fetched["imagebind"].files))),
        decoders=decoders.copies,
    )
    return import_checkpoint(
        sources,
        plan.out,
        plan.manifest,
        img_tokens=img_tokens,
        any_base=any_base,
        drop_extra_rows=drop_extra_rows,
        components=decoders.references,
        files={LOCK_FILE: plan.lock.text()},
        max_shard=max_shard or MAX_SHARD,
        progress=progress,
    )


@dataclass(frozen=True)
class FetchedDecoders:
    """``copies``: kind → a folder whose files go into the checkpoint. ``references``: part → where it stays, pinned."""

    copies: Mapping[str, Path]
    references: Mapping[str, Component]


def fetch_decoders(
    manifest: Manifest,
    kinds: Collection[str],
    lock: SourcesLock,
    tell: Callable[[str], None],
    progress: Progress,
) -> FetchedDecoders:
    """The decoders of ``kinds`` from where the manifest's sources say, as ``download`` has them: ``tell`` hears sizes
    and licences first, what was fetched goes into ``lock``. None for a manifest that names no sources. Raises
    CheckpointError."""
    if not kinds or "sources" not in manifest.extra:
        return FetchedDecoders({}, {})
    sources, cache = read_sources(manifest), fetching.default_cache()
    located = {}
    for kind in kinds:
        role = f"{kind}_decoder"
        try:
            located[role] = fetching.locate(sources[role], _chooser(role), None, cache, lock.revision(role))
        except CheckpointError as error:
            raise CheckpointError(f"{error} Or give a folder with --{kind}-decoder.") from error
        tell(located[role].sentence())
    _check_caches(located.values(), cache, "The download of decoders")
    return _decoders(_fetch(located, cache, lock, progress))


def _fetch(located: Mapping[str, Located], cache: Path, lock: SourcesLock, progress: Progress) -> dict[str, Fetched]:
    """All of it, by role: as recorded before, or recorded now."""
    fetched = {}
    for role, one in located.items():
        fetched[role] = one.fetch(cache, progress)
        lock.check(role, fetched[role].files)
        lock.record(role, one.source.repo or one.source.url or one.origin, one.revision, fetched[role].files)
    return fetched


def _decoders(fetched: Mapping[str, Fetched]) -> FetchedDecoders:
    """Pickles are converted, and what has no revision may change where it is: both are copied."""
    copies, references = {}, {}
    for kind in MEDIA_KINDS:
        part = fetched.get(f"{kind}_decoder")
        if part is not None and (part.located.revision is None or any(name.endswith(".bin") for name in part.files)):
            copies[kind] = part.folder
        elif part is not None:
            references[f"{kind}_decoder"] = _reference(part)
    return FetchedDecoders(copies, references)


def fetch_model_folder(text: str, revision: str | None, progress: Progress) -> tuple[Path, str | None]:
    """The folder of a language model given as folder or hub repository, and its revision. Raises CheckpointError."""
    if not fetching.is_hub_name(text):
        return Path(text), None
    source = Source("llm", repo=text)
    located = fetching.locate(source, _chooser("llm"), None, fetching.default_cache(), revision)
    _check_caches([located], fetching.default_cache(), text)
    return located.fetch(fetching.default_cache(), progress).folder, located.revision


def _check_caches(located: Iterable[Located], cache: Path, what: str) -> None:
    """Raises CheckpointError where what is to be fetched does not fit on the disk that it goes to."""
    needed: dict[Path, int] = {}
    for one in located:
        needed[one.place(cache)] = needed.get(one.place(cache), 0) + one.to_download
    for place, size in needed.items():
        check_space(place, size, what, "let HF_HOME name a folder on a larger disk")


def _reference(part: Fetched) -> Component:
    hashes = {name: facts["sha256"] for name, facts in part.files.items()}
    return Component(
        repo=part.located.source.repo, revision=part.located.revision, sha256=hashes, files=tuple(sorted(part.files))
    )


def _language_model(
    source: Source, given: str | Path | None, mirror: Path | None, cache: Path, lock: SourcesLock
) -> Located:
    if given is None and mirror is not None:
        return fetching.locate(source, _chooser("llm"), mirror, cache)
    if given is None:
        raise CheckpointError(f"{source.obtain} Then give it with --llm, as a folder or a hub repository of yours.")
    if fetching.is_hub_name(str(given)):
        return fetching.locate(replace(source, repo=str(given)), _chooser("llm"), None, cache, lock.revision("llm"))
    return fetching.local(source, _chooser("llm"), Path(given))


def _chooser(role: str) -> Callable[[list[str], str], list[str]] | None:
    """Which files of a folder with language model or decoder are read; None: the manifest's patterns say it."""
    from .decoder_folders import needed_files

    if role.endswith("_decoder"):
        return lambda names, where: needed_files(names, role.removesuffix("_decoder"), where)
    return _model_files if role in ("llm", "llm_delta") else None


def _model_files(names: list[str], where: str) -> list[str]:
    for stem, ending in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        whole, index = f"{stem}{ending}", f"{stem}{ending}.index.json"
        shards = sorted(n for n in names if n.startswith(f"{stem}-") and n.endswith(ending) and "/" not in n)
        weights = [index, *shards] if index in names and shards else [whole] if whole in names else []
        if weights:
            return [*weights, *(name for name in _TEXTS if name in names)]
    raise CheckpointError(
        f"{where} has no weights in transformers' format (model.safetensors or pytorch_model.bin, or their shards)."
    )
