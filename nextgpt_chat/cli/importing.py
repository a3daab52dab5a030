"""``import-checkpoint`` and ``download``: the published weights, converted, and fetched first."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from ..checkpoints import Manifest, shipped_checkpoints
from ..checkpoints.manifest import MANIFEST_FILE
from ..content import MEDIA_KINDS
from ..errors import NextGPTError
from .output import say

TEMPLATE = "nextgpt-7b-tiva-v0"


def add_to(commands: Any) -> None:
    convert = commands.add_parser(
        "import-checkpoint",
        help="convert the published weights",
        description="Converts the authors' pytorch_model.pt, its language model and ImageBind into a checkpoint's "
        "folder. Nothing is written until everything fits; an interrupted run leaves nothing behind.",
        allow_abbrev=False,
    )
    convert.add_argument("--nextgpt", required=True, metavar="FILE", help="the authors' pytorch_model.pt")
    convert.add_argument(
        "--llm", required=True, metavar="DIR_OR_REPO", help="Vicuna-7B v0, or LLaMA-7B where --llm-delta is given"
    )
    convert.add_argument("--llm-delta", metavar="DIR_OR_REPO", help="Vicuna v0's delta: lmsys/vicuna-7b-delta-v0")
    convert.add_argument("--imagebind", required=True, metavar="FILE", help="imagebind_huge.pth")
    convert.add_argument("--imagebind-config", metavar="FILE", help="sizes of another ImageBind, as JSON")
    convert.add_argument("--out", required=True, metavar="DIR", help=f"for example checkpoints/{TEMPLATE}")
    for kind in MEDIA_KINDS:
        convert.add_argument(
            f"--{kind}-decoder", metavar="DIR", help="a local diffusers folder to copy (default: fetched from the hub)"
        )
    convert.add_argument("--lora-alpha", type=float, metavar="X", help="LoRA's alpha (default: its rank, scale 1)")
    _shared(convert)
    convert.set_defaults(run=run_import)

    download = commands.add_parser(
        "download",
        help="fetch the published weights and convert them",
        description="Says sizes and licences, fetches what a checkpoint's manifest names (resumable, at recorded "
        "revisions; HF_HUB_OFFLINE forbids the network), and imports it. LLaMA-7B you must obtain yourself.",
        allow_abbrev=False,
    )
    download.add_argument("name", metavar="NAME", help=f"a checkpoint with a recipe: {TEMPLATE}")
    download.add_argument("--mirror", metavar="DIR", help="a folder with owner/name/file in place of the network")
    download.add_argument("--out", metavar="DIR", help="where the checkpoint goes (default: beside its manifest)")
    download.add_argument("--llm", metavar="DIR_OR_REPO", help="LLaMA-7B in transformers' format")
    download.add_argument("--merged", action="store_true", help="--llm is a merged Vicuna-7B v0: fetch no delta")
    download.add_argument("--dry-run", action="store_true", help="say sizes and places, fetch nothing")
    _shared(download)
    download.set_defaults(run=run_download)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--img-tokens",
        choices=("auto", "real", "text"),
        default="auto",
        help="whether <Img> was a token of its own in training (auto: added_tokens.json beside the file decides)",
    )
    parser.add_argument("--any-base", action="store_true", help="take a base that is not the first LLaMA's kind")
    parser.add_argument("--drop-extra-rows", action="store_true", help="leave out a base's surplus tokens ([PAD])")
    parser.add_argument("--max-shard", type=_megabytes, metavar="MB", help="largest weight file (default 2000)")


class Progress:
    """Called with (what, done, of): on a terminal a line that is written over, else a line for each thing."""

    def __init__(self) -> None:
        self._what, self._shown = "", -1

    def __call__(self, what: str, done: int, of: int) -> None:
        percent = 100 * done // max(of, 1)
        if (what, percent) == (self._what, self._shown):
            return
        if sys.stderr.isatty():
            end = "\n" if done >= of else "\r"
            print(f"\033[K{what}: {percent} %", end=end, file=sys.stderr, flush=True)
        elif what != self._what:
            print(what, file=sys.stderr, flush=True)
        self._what, self._shown = what, percent


def _megabytes(text: str) -> int:
    size = float(text) * 1e6
    if not 1 <= size < float("inf"):
        raise ValueError
    return int(size)


def run_import(arguments: argparse.Namespace) -> int:
    from ..importing import ImportSources, import_checkpoint
    from ..importing.downloading import fetch_decoders, fetch_model_folder
    from ..importing.lock import SourcesLock
    from ..importing.placing import LOCK_FILE, check_place

    out, progress = Path(arguments.out), Progress()
    llm, delta = arguments.llm, arguments.llm_delta
    given = {kind: Path(one) for kind in MEDIA_KINDS if (one := getattr(arguments, f"{kind}_decoder")) is not None}
    files = [Path(one) for one in (arguments.nextgpt, llm, delta, arguments.imagebind) if one is not None]
    check_place(out, [*files, *given.values()])  # before anything is fetched
    _check_given(arguments)
    llm = fetch_model_folder(llm, None, progress)[0]
    delta = None if delta is None else fetch_model_folder(delta, None, progress)[0]
    template, lock = _template(out), SourcesLock.load(out)
    decoders = fetch_decoders(template, [kind for kind in MEDIA_KINDS if kind not in given], lock, say, progress)
    sources = ImportSources(
        nextgpt=Path(arguments.nextgpt),
        llm=llm,
        llm_delta=delta,
        imagebind=Path(arguments.imagebind),
        imagebind_config=Path(arguments.imagebind_config) if arguments.imagebind_config else None,
        decoders=given | decoders.copies,
    )
    hashes = {
        role: digest
        for role, path in (("nextgpt", sources.nextgpt), ("imagebind", sources.imagebind))
        if (digest := lock.digest(role, path.name)) is not None
    }
    report = import_checkpoint(
        sources,
        out,
        template,
        lora_alpha=arguments.lora_alpha,
        hashes=hashes,
        components=decoders.references,
        files={LOCK_FILE: lock.text()} if lock.entries else None,
        progress=progress,
        **_options(arguments),
    )
    if not hashes:
        say(
            f"No hashes of the authors' files are known here: they are unverified. Theirs are in {MANIFEST_FILE} under "
            f"imported_from; `download` records them in {LOCK_FILE}."
        )
    return _finish(report)


def _check_given(arguments: argparse.Namespace) -> None:
    """Raises NextGPTError for a path where nothing is, before gigabytes are fetched for the rest."""
    from ..importing.fetching import is_hub_name

    for name in ("nextgpt", "imagebind", "imagebind_config"):
        if (path := getattr(arguments, name)) and not os.path.isfile(path):
            raise NextGPTError(f"{_flag(name)} is {path!r}, a file that does not exist. Check the path.")
    for name in (f"{kind}_decoder" for kind in MEDIA_KINDS):
        if (path := getattr(arguments, name)) and not os.path.isdir(path):
            raise NextGPTError(f"{_flag(name)} is {path!r}, a folder that does not exist. Check the path.")
    for name in ("llm", "llm_delta"):
        if (path := getattr(arguments, name)) and not (os.path.isdir(path) or is_hub_name(path)):
            raise NextGPTError(
                f"{_flag(name)} is {path!r}: neither a folder nor a hub repository's owner/name. Check it."
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def run_download(arguments: argparse.Namespace) -> int:
    from ..importing import download_checkpoint, plan_download

    plan = plan_download(
        arguments.name, mirror=arguments.mirror, out=arguments.out, llm=arguments.llm, merged=arguments.merged
    )
    for sentence in plan.sentences():
        print(sentence)
    if arguments.dry_run:
        return 0
    return _finish(download_checkpoint(plan, progress=Progress(), **_options(arguments)))


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {name: getattr(arguments, name) for name in ("img_tokens", "any_base", "drop_extra_rows")}
    return options | ({"max_shard": arguments.max_shard} if arguments.max_shard else {})


def _template(out: Path) -> Manifest:
    """The manifest that is filled in: the shipped one of the published checkpoint, under the folder's name."""
    folders = shipped_checkpoints()
    if TEMPLATE not in folders:
        raise NextGPTError(f"This copy of the program lacks checkpoints/{TEMPLATE}/{MANIFEST_FILE}. Get all of it.")
    manifest = Manifest.load(folders[TEMPLATE])
    with contextlib.suppress(NextGPTError):  # a manifest of your own at --out keeps its name and defaults
        manifest = Manifest.load(out)
    return manifest


def _finish(report: Any) -> int:
    for warning in report.warnings:
        say(warning)
    marks = report.manifest.extra["img_tokens"]
    print(f"<Img> is {'a token' if marks['mode'] == 'real' else 'plain text'} (decided by {marks['decided_by']}).")
    print(f"{report.manifest.name} is in {report.folder}. Try: python app.py --checkpoint {report.folder}")
    return 0
