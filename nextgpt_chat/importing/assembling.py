"""The authors' files to a checkpoint's folder: everything is checked first, then written as a stream, then verified."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints import Component, Manifest, verify, write_checksums
from ..checkpoints.integrity import sha256_of
from ..content import MEDIA_KINDS
from ..errors import CheckpointError
from ..language_model import save_lora_config
from ..tokens import SignalTokens
from .base_model import BaseModel, open_base
from .decoder_folders import check_decoder, copied_bytes, copy_decoder
from .media_encoder import imagebind_config, imagebind_entries
from .placing import check_space, whole_folder
from .published import EMBEDDING, HEAD, Published, read_published
from .shards import MAX_SHARD, Entry, total_bytes, write_tensors
from .tensors import TensorSource, facts_of
from .tokenizing import ImgTokens, decide_img_tokens, make_tokenizer

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImportSources:
    """Where the foreign files are. ``llm`` is a merged Vicuna v0, or LLaMA where ``llm_delta`` is given.

    ``decoders``: kind → a local diffusers folder, which is copied; the others stay references to the manifest's
    repositories.
    """

    nextgpt: Path
    llm: Path
    imagebind: Path
    llm_delta: Path | None = None
    imagebind_config: Path | None = None
    decoders: Mapping[str, Path] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        given = (self.nextgpt, self.llm, self.imagebind, self.llm_delta, self.imagebind_config)
        return [path for path in (*given, *self.decoders.values()) if path is not None]


@dataclass(frozen=True)
class ImportReport:
    """What was made, and what the user should know about it."""

    folder: Path
    manifest: Manifest
    warnings: tuple[str, ...]


@dataclass
class _Plan:
    """Everything that is known before the first byte is written."""

    published: Published
    file: TensorSource
    base: BaseModel
    imagebind: TensorSource
    img_tokens: ImgTokens
    tokenizer: Any
    entries: dict[str, list[Entry]]
    imagebind_config: Any
    decoders: dict[str, list[str]]


def import_checkpoint(
    sources: ImportSources,
    out: str | Path,
    manifest: Manifest,
    *,
    img_tokens: str = "auto",
    lora_alpha: float | None = None,
    any_base: bool = False,
    drop_extra_rows: bool = False,
    hashes: Mapping[str, str] | None = None,
    components: Mapping[str, Component] | None = None,
    files: Mapping[str, str] | None = None,
    max_shard: int = MAX_SHARD,
    progress: Progress = lambda what, done, of: None,
) -> ImportReport:
    """Writes the checkpoint ``out``, whole or not at all.

    Args:
        manifest: name, template, defaults, licence; what the weights show is filled in.
        img_tokens: "real", "text", or "auto" (`tokenizing.decide_img_tokens`).
        lora_alpha: LoRA's scale times its rank; None = the published scale 1.
        any_base, drop_extra_rows: as in `base_model.open_base`.
        hashes: SHA-256 that "nextgpt" and "imagebind" must have.
        components: where decoders that are not copied are, in place of the manifest's references.
        files: more text files of the checkpoint, by name.
        max_shard: bytes of the largest weight file.
        progress: called with (what, done, of).

    Raises CheckpointError before anything is written wherever that is possible; ``out`` is then as it was.
    """
    out = Path(out)
    found = _digests(sources, hashes or {}, progress)
    with contextlib.ExitStack() as stack:
        plan = _plan(sources, stack, img_tokens, any_base, drop_extra_rows)
        needed = sum(total_bytes(entries) for entries in plan.entries.values())
        needed += sum(copied_bytes(sources.decoders[kind], names) for kind, names in plan.decoders.items())
        check_space(out, needed, "The checkpoint")
        with whole_folder(out, sources.paths()) as folder:
            built = _manifest(manifest, plan, components or {}, found)
            _write(plan, sources, folder, lora_alpha, max_shard, progress)
            built.save(folder)
            for name, text in (files or {}).items():
                (folder / name).write_text(text, encoding="utf-8")
            _verify(folder, plan)
            progress("checksums", 0, 1)
            write_checksums(folder)
            progress("checksums", 1, 1)
    return ImportReport(out, built, tuple(_warnings(plan, built)))


def _digests(sources: ImportSources, wanted: Mapping[str, str], progress: Progress) -> dict[str, dict[str, Any]]:
    """Name, size and SHA-256 of the two single files; raises CheckpointError where one is not as recorded."""
    found = {}
    for role in ("nextgpt", "imagebind"):
        path: Path = getattr(sources, role)
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist. Give the file that was downloaded (see --{role}).")
        progress(f"hash of {path.name}", 0, 1)
        digest = sha256_of(path)
        progress(f"hash of {path.name}", 1, 1)
        if role in wanted and wanted[role].lower() != digest:
            raise CheckpointError(
                f"{path} is not the expected file: its SHA-256 is {digest}, not {wanted[role].lower()}. It was changed "
                "or damaged on its way; download it again."
            )
        found[role] = {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
    return found


def _plan(
    sources: ImportSources, stack: contextlib.ExitStack, img_tokens: str, any_base: bool, drop_extra_rows: bool
) -> _Plan:
    file = stack.enter_context(TensorSource(sources.nextgpt, str(sources.nextgpt)))
    published = read_published(file.shapes, str(sources.nextgpt))
    marks = decide_img_tokens(img_tokens, sources.nextgpt.parent, published.base_rows)
    base = open_base(sources.llm, sources.llm_delta, published, any_base=any_base, drop_extra_rows=drop_extra_rows)
    stack.callback(base.base.close)
    if base.delta is not None:
        stack.callback(base.delta.close)
    folders = [sources.llm, *([sources.llm_delta] if sources.llm_delta else []), sources.nextgpt.parent]
    tokenizer = make_tokenizer(folders, marks.names, published, drop_extra_rows)
    imagebind = stack.enter_context(TensorSource(sources.imagebind, str(sources.imagebind)))
    config, warnings = imagebind_config(imagebind.shapes, str(sources.imagebind), sources.imagebind_config)
    base.warnings += warnings
    if config.embedding_dim != published.media_width:
        raise CheckpointError(
            f"{sources.imagebind} makes embeddings of width {config.embedding_dim}; {published.what} was trained on "
            f"{published.media_width}. Give the ImageBind it belongs to (imagebind_huge.pth)."
        )
    decoders = {kind: check_decoder(folder, kind, published) for kind, folder in sources.decoders.items()}
    entries = {
        "language_model": _language_model(base, file, published),
        "adapter": _copied(file, published, "adapter"),
        "imagebind": imagebind_entries(imagebind, config, str(sources.imagebind)),
        "projections": _copied(file, published, "projections"),
    }
    return _Plan(published, file, base, imagebind, marks, tokenizer, entries, config, decoders)


def _language_model(base: BaseModel, file: TensorSource, published: Published) -> list[Entry]:
    keys = published.names["language_model"]
    tables = {
        name: Entry(name, published.shapes[keys[name]], lambda name=name: [file.get(keys[name])])
        for name in (EMBEDDING, HEAD)
    }
    body = [Entry(name, shape, lambda name=name: base.read(name)) for name, shape in base.shapes.items()]
    # The base's own order of files, so that each is opened once.
    order = {path: number for number, path in enumerate(base.base.files)}
    body.sort(key=lambda entry: order[base.base.facts[entry.name].file])
    return [tables[EMBEDDING], *body, tables[HEAD]]


def _copied(file: TensorSource, published: Published, part: str) -> list[Entry]:
    return [
        Entry(name, published.shapes[key], lambda key=key: [file.get(key)])
        for name, key in published.names[part].items()
    ]


def _manifest(
    manifest: Manifest, plan: _Plan, components: Mapping[str, Component], found: Mapping[str, Any]
) -> Manifest:
    published = plan.published
    parts = {"language_model": Component("language_model"), "imagebind": Component("imagebind")}
    if published.rank:
        parts["adapter"] = Component("adapter")
    for kind in MEDIA_KINDS:
        part = f"{kind}_decoder"
        parts[part] = Component(part) if kind in plan.decoders else components.get(part, manifest.component(part))
        if parts[part].repo is None and kind not in plan.decoders:
            raise CheckpointError(
                f"Nothing says where the {kind} decoder is: the manifest names no repository for it. "
                f"Give --{kind}-decoder."
            )
    extra = dict(manifest.extra) | {
        "img_tokens": {"mode": plan.img_tokens.mode, "decided_by": plan.img_tokens.reason},
        "imported_from": dict(found) | {"llm_delta_merged": plan.base.delta is not None},
    }
    if published.unknown:
        extra["left_out"] = list(published.unknown)
    configs = published.outputs
    built = replace(
        manifest,
        signal_tokens={kind: SignalTokens().count(kind) for kind in MEDIA_KINDS},
        output_tokens={kind: configs[kind].num_out for kind in MEDIA_KINDS},
        projections={"input": "linear", "output": configs["image"].mode},
        output_config={kind: {"mode": configs[kind].mode, "heads": configs[kind].heads} for kind in MEDIA_KINDS},
        components=parts,
        extra=extra,
    )
    return Manifest.from_dict(built.to_dict())  # what is written can be read


def _write(
    plan: _Plan,
    sources: ImportSources,
    folder: Path,
    lora_alpha: float | None,
    max_shard: int,
    progress: Progress,
) -> None:
    stems = {"language_model": "model", "imagebind": "model", "adapter": "adapter_model"}
    for part, entries in plan.entries.items():
        if not entries:
            continue
        place = folder if part == "projections" else folder / part
        # peft knows no shards; LoRA is small.
        limit = 10**15 if part == "adapter" else max_shard
        title = part.replace("_", " ")
        write_tensors(
            place, stems.get(part, part), entries, limit, lambda done, of, title=title: progress(title, done, of)
        )
    _write_language_files(plan, folder / "language_model")
    if plan.published.rank:
        _write_adapter_config(plan.published, folder / "adapter", lora_alpha)
    plan.imagebind_config.save(folder / "imagebind")
    for kind, names in plan.decoders.items():
        progress(f"{kind} decoder", 0, 1)
        copy_decoder(sources.decoders[kind], names, folder / f"{kind}_decoder")
        progress(f"{kind} decoder", 1, 1)


def _write_language_files(plan: _Plan, folder: Path) -> None:
    from transformers import GenerationConfig

    tokenizer = plan.tokenizer
    config = plan.base.finished_config(plan.published.rows, tokenizer)
    config.save_pretrained(folder)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GenerationConfig(**ids, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_adapter_config(published: Published, folder: Path, alpha: float | None) -> None:
    from peft import LoraConfig

    config = LoraConfig(
        r=published.rank,
        lora_alpha=published.rank if alpha is None else alpha,
        lora_dropout=0.1,
        target_modules={module.rpartition(".")[2] for module in published.lora_modules},
        task_type="CAUSAL_LM",
        base_model_name_or_path="../language_model",
        inference_mode=True,
    )
    save_lora_config(config, folder)


def _verify(folder: Path, plan: _Plan) -> None:
    """Reads every header back; raises CheckpointError where what was written is not what was planned."""
    if problems := verify(folder, hashes=False):
        raise CheckpointError(f"What was written is not whole: {problems[0].path} {problems[0].problem}.")
    Manifest.load(folder)
    for part, entries in plan.entries.items():
        place = folder if part == "projections" else folder / part
        written = {name: fact for path in sorted(place.glob("*.safetensors")) for name, fact in facts_of(path).items()}
        planned = {entry.name: (entry.shape, entry.dtype) for entry in entries}
        if {name: (fact.shape, fact.dtype) for name, fact in written.items()} != planned:
            raise CheckpointError(f"What was written for the {part} is not complete. Check the disk and import again.")


def _warnings(plan: _Plan, manifest: Manifest) -> list[str]:
    found = [*plan.base.warnings]
    if plan.img_tokens.warning:
        found.append(plan.img_tokens.warning)
    if plan.published.unknown:
        found.append(
            f"{plan.published.what} has {len(plan.published.unknown)} tensors of no known meaning, which were left "
            f"out: {', '.join(plan.published.unknown[:3])}."
        )
    for kind in MEDIA_KINDS:
        component = manifest.component(f"{kind}_decoder")
        if component.repo is not None and component.revision is None:
            found.append(
                f"The {kind} decoder is {component.repo} at whatever revision is newest when it is first used: no "
                "revision is known here, so it is unverified. `download` records one."
            )
    return found
