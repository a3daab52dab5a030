"""Downloading by the recipe: sizes first, a mirror in the network's place, revisions and hashes recorded once."""

import http.server
import json
import re
import shutil
import threading
import types

import pytest
import torch
from huggingface_hub import constants
from published import make_published, write_delta, write_language_model
from safetensors.torch import load_file

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.cli import main
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.importing import download_checkpoint, fetching, plan_download
from nextgpt_chat.importing.decoder_folders import needed_files
from nextgpt_chat.importing.downloading import fetch_model_folder
from nextgpt_chat.importing.lock import SourcesLock
from nextgpt_chat.importing.placing import LOCK_FILE
from nextgpt_chat.importing.recipe import Source, read_sources
from nextgpt_chat.pipeline import NextGPTPipeline

NAME = "nextgpt-7b-tiva-v0"
REPOS = {
    "nextgpt": "ChocoWu/nextgpt_7b_tiva_v0",
    "llm_delta": "lmsys/vicuna-7b-delta-v0",
    "image": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "audio": "cvssp/audioldm-l-full",
    "video": "cerspense/zeroscope_v2_576w",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def full_mirror(tmp_path_factory):
    """A mirror with everything that the shipped recipe names, at small sizes."""
    root = tmp_path_factory.mktemp("mirror")
    made = make_published(root / "files")
    mirror = root / "mirror"
    for role, folder in {"nextgpt": made.nextgpt.parent, **made.decoders}.items():
        shutil.copytree(folder, mirror / REPOS[role])
    (mirror / "imagebind").mkdir()
    shutil.copyfile(made.imagebind, mirror / "imagebind" / "imagebind_huge.pth")
    write_language_model(mirror / "llama-7b")
    (mirror / "lmsys").mkdir()
    write_delta(mirror / "llama-7b", made.llm, mirror / REPOS["llm_delta"])
    return mirror


@pytest.fixture
def mirror(full_mirror, tmp_path):
    return shutil.copytree(full_mirror, tmp_path / "mirror")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Caches of the hub and of ours that belong to one test."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    return tmp_path / "home"


def as_hub_cache(mirror, cache):
    """Moves a mirror's repositories into the layout of the hub's cache, all at one commit."""
    for repo in REPOS.values():
        folder = cache / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        shutil.move(mirror / repo, folder / "snapshots" / COMMIT)


def lock_of(out):
    return json.loads((out / LOCK_FILE).read_text())


# --- the command -----------------------------------------------------------------------------------------------


def test_a_mirror_gives_a_checkpoint_that_loads(mirror, tmp_path, capsys):
    assert main(["download", NAME, "--mirror", str(mirror), "--out", str(tmp_path / NAME)]) == 0
    out, err = capsys.readouterr()
    assert "non-commercial" in out and "unverified until they are recorded" in out and "kB" in out
    assert "<Img> is plain text (decided by added_tokens.json)" in out and "language model" in err
    pipeline = NextGPTPipeline.from_pretrained(tmp_path / NAME, device="cpu")
    assert pipeline.modalities == ("text", "image", "audio", "video")
    lock = lock_of(tmp_path / NAME)["sources"]
    assert set(lock) == set(read_sources(pipeline.manifest)) and lock["nextgpt"]["revision"] is None
    assert all(len(file["sha256"]) == 64 and file["bytes"] for one in lock.values() for file in one["files"].values())
    assert not any(path.suffix in (".bin", ".pt", ".pth") for path in (tmp_path / NAME).rglob("*"))


def test_sizes_are_said_and_nothing_is_fetched_on_a_dry_run(mirror, tmp_path, capsys):
    assert main(["download", NAME, "--mirror", str(mirror), "--out", str(tmp_path / NAME), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(repo in said for repo in REPOS.values()) and "imagebind_huge.pth" in said and "llama-7b" in said
    assert not (tmp_path / NAME).exists()


def test_a_second_download_must_be_the_same(mirror, tmp_path, capsys):
    command = ["download", NAME, "--mirror", str(mirror), "--out", str(tmp_path / NAME)]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert "unverified until" not in capsys.readouterr().out
    first = (tmp_path / NAME / "nextgpt.json").read_bytes()
    weights = mirror / REPOS["nextgpt"] / "pytorch_model.pt"
    state = torch.load(weights, weights_only=True)
    state["llama_proj.bias"].data += 1
    torch.save(state, weights)
    assert main(command) == 2
    assert "not the file that was recorded" in capsys.readouterr().err
    assert (tmp_path / NAME / "nextgpt.json").read_bytes() == first  # the old one still stands


def test_a_merged_model_needs_no_delta(mirror, tmp_path):
    shutil.rmtree(mirror / "lmsys")
    command = ["download", NAME, "--mirror", str(mirror), "--out", str(tmp_path / NAME)]
    assert main(command) == 2
    assert main([*command, "--merged"]) == 0


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("llama-7b", "LLaMA-7B (the first LLaMA) cannot be downloaded for you"),
        (REPOS["llm_delta"], f"has no {REPOS['llm_delta']}"),
        (f"{REPOS['llm_delta']}/pytorch_model.bin", "no weights in transformers' format"),
        (f"{REPOS['nextgpt']}/pytorch_model.pt", "has no pytorch_model.pt"),
        ("imagebind/imagebind_huge.pth", "has no imagebind_huge.pth"),
        (f"{REPOS['video']}/unet/diffusion_pytorch_model.safetensors", "no weights in unet/"),
    ],
)
def test_what_a_mirror_lacks_is_named_before_anything_is_written(mirror, tmp_path, capsys, gone, words):
    path = mirror / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["download", NAME, "--mirror", str(mirror), "--out", str(tmp_path / NAME)]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / NAME).exists()


def test_what_must_be_obtained_is_said_first(tmp_path, capsys):
    assert main(["download", NAME, "--out", str(tmp_path / NAME)]) == 2
    assert "ask Meta" in capsys.readouterr().err
    assert main(["download", "nothing-of-that-name"]) == 2
    Manifest("own").save(tmp_path)
    assert main(["download", str(tmp_path)]) == 2
    assert "nothing to download" in capsys.readouterr().err


def test_a_full_disk_is_noticed_before_the_download(mirror, tmp_path, monkeypatch, cache):
    as_hub_cache(mirror, cache)
    plan = plan_download(NAME, mirror=None, out=tmp_path / NAME, llm=mirror / "llama-7b", cache=mirror / "imagebind")
    monkeypatch.setattr(fetching.Located, "to_download", property(lambda self: 10**18))
    with pytest.raises(CheckpointError, match=r"takes \d000000000\.0 GB.* let HF_HOME name a folder"):
        download_checkpoint(plan)


# --- the hub ---------------------------------------------------------------------------------------------------


def test_what_the_hub_s_cache_holds_is_used_offline_and_pinned(mirror, cache, tmp_path):
    as_hub_cache(mirror, cache)
    shutil.move(mirror / "imagebind", cache / "nextgpt_chat")
    assert main(["download", NAME, "--llm", str(mirror / "llama-7b"), "--out", str(tmp_path / NAME)]) == 0
    manifest = Manifest.load(tmp_path / NAME)
    decoder = manifest.component("image_decoder")
    assert (decoder.repo, decoder.revision) == (REPOS["image"], COMMIT)
    assert set(decoder.files) == set(decoder.sha256) and "unet/config.json" in decoder.files
    assert lock_of(tmp_path / NAME)["sources"]["nextgpt"]["revision"] == COMMIT
    assert not (tmp_path / NAME / "image_decoder").exists()
    assert "image" in NextGPTPipeline.from_pretrained(tmp_path / NAME, device="cpu").modalities
    snapshot = cache / "hub" / f"models--{REPOS['image'].replace('/', '--')}" / "snapshots" / COMMIT
    (snapshot / "unet" / "config.json").write_text((snapshot / "unet" / "config.json").read_text() + " ")
    with pytest.raises(CheckpointError, match="SHA-256"):
        NextGPTPipeline.from_pretrained(tmp_path / NAME, device="cpu")


def files_to_import(mirror, cache, out, *, llm="llama-7b"):
    snapshot = cache / "hub" / f"models--{REPOS['nextgpt'].replace('/', '--')}" / "snapshots" / COMMIT
    given = {"nextgpt": snapshot / "pytorch_model.pt", "llm": mirror / llm, "out": out}
    given |= {"llm-delta": REPOS["llm_delta"], "imagebind": mirror / "imagebind" / "imagebind_huge.pth"}
    return ["import-checkpoint", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]


def test_decoders_that_an_import_is_not_given_are_those_of_a_download(mirror, cache, tmp_path):
    unet = mirror / REPOS["video"] / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(unet), unet.with_suffix(".bin"))  # as Zeroscope's are
    unet.unlink()
    as_hub_cache(mirror, cache)
    out = tmp_path / NAME
    assert main(files_to_import(mirror, cache, out)) == 0
    picture, clip = (Manifest.load(out).component(f"{kind}_decoder") for kind in ("image", "video"))
    assert (picture.repo, picture.revision) == (REPOS["image"], COMMIT) and set(picture.files) == set(picture.sha256)
    assert clip.repo is None and (out / "video_decoder" / "unet" / unet.name).is_file()
    assert lock_of(out)["sources"]["video_decoder"]["revision"] == COMMIT
    assert set(NextGPTPipeline.from_pretrained(out, device="cpu").modalities) == {"text", "image", "audio", "video"}


def test_an_import_that_cannot_fetch_a_decoder_says_how_to_give_it(mirror, cache, tmp_path, capsys):
    as_hub_cache(mirror, cache)
    shutil.rmtree(cache / "hub" / f"models--{REPOS['video'].replace('/', '--')}")
    assert main(files_to_import(mirror, cache, tmp_path / NAME)) == 2
    assert "--video-decoder" in capsys.readouterr().err and not (tmp_path / NAME).exists()


def test_offline_without_the_files_is_said(cache, tmp_path, capsys):
    write_language_model(tmp_path / "llama-7b")
    assert main(["download", NAME, "--llm", str(tmp_path / "llama-7b"), "--out", str(tmp_path / NAME)]) == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    assert main(["download", NAME, "--llm", "owner/llama-7b", "--out", str(tmp_path / NAME)]) == 2
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        fetch_model_folder("owner/llama-7b", None, lambda *progress: None)


@pytest.fixture
def hub(monkeypatch, mirror):
    """A hub client that serves the mirror and keeps what it was asked for."""
    asked = []

    class Api:
        def repo_info(self, repo, revision=None, files_metadata=False):
            folder = mirror / repo
            names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
            siblings = [
                types.SimpleNamespace(rfilename=name, size=(folder / name).stat().st_size, lfs=self.lfs(folder / name))
                for name in names
            ]
            asked.append((repo, revision))
            return types.SimpleNamespace(siblings=siblings, sha=COMMIT)

        def lfs(self, path):
            if path.suffix != ".safetensors":
                return None
            return types.SimpleNamespace(sha256=fetching.sha256_of(path))

    def snapshot_download(repo, revision, allow_patterns):
        asked.append((repo, revision, tuple(allow_patterns)))
        return str(mirror / repo)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr(fetching, "offline", lambda: False)
    return asked


def test_the_hub_is_asked_for_needed_files_at_the_recorded_revision(hub, mirror, tmp_path):
    source = Source("image_decoder", repo=REPOS["image"])
    located = fetching.locate(source, lambda names, where: needed_files(names, "image", where), None, tmp_path, "abc")
    assert hub == [(REPOS["image"], "abc")] and located.revision == COMMIT
    size = sum((mirror / REPOS["image"] / name).stat().st_size for name in located.sizes)
    assert located.to_download == size
    fetched = located.fetch(tmp_path, lambda *progress: None)
    _, revision, patterns = hub[-1]
    assert revision == COMMIT and set(patterns) == set(located.sizes) == set(fetched.files)
    assert "unet/diffusion_pytorch_model.safetensors" in patterns and not any("*" in name for name in patterns)


def test_what_an_earlier_run_fetched_needs_no_space_again(hub, mirror, cache, tmp_path):
    def located():
        source = Source("image_decoder", repo=REPOS["image"])
        return fetching.locate(source, lambda names, where: needed_files(names, "image", where), None, tmp_path)

    whole, name = located(), "unet/diffusion_pytorch_model.safetensors"
    kept = cache / "hub" / f"models--{REPOS['image'].replace('/', '--')}" / "snapshots" / COMMIT / name
    kept.parent.mkdir(parents=True)
    shutil.copyfile(mirror / REPOS["image"] / name, kept)
    assert located().to_download == whole.to_download - kept.stat().st_size > 0
    assert whole.place(tmp_path) == cache / "hub"


def test_a_download_that_is_not_what_the_hub_states_is_refused(hub, mirror, tmp_path):
    source = Source("image_decoder", repo=REPOS["image"])
    located = fetching.locate(source, lambda names, where: needed_files(names, "image", where), None, tmp_path)
    weights = mirror / REPOS["image"] / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="the hub says"):
        located.fetch(tmp_path, lambda *progress: None)
    weights.write_bytes(data[:-5])
    with pytest.raises(CheckpointError, match="truncated"):
        located.fetch(tmp_path, lambda *progress: None)


def test_a_failing_hub_is_one_readable_error(hub, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise OSError("connection reset")

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", broken)
    with pytest.raises(CheckpointError, match=r"connection reset.*goes on where it stopped"):
        fetching.locate(Source("nextgpt", repo=REPOS["nextgpt"], files=("*",)), None, None, tmp_path)


# --- a file at a URL -------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """A server for one file that understands ranges; ``limit`` cuts its next answer short."""
    state = types.SimpleNamespace(data=bytes(range(256)) * 40000, limit=None, ranges=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(state.data, 200)

        def do_GET(self):
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            state.ranges.append(start)
            if asked and start >= len(state.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(state.data[start:], 206 if asked else 200, state.limit)
            state.limit = None

        def answer(self, data, status, limit=None):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[:limit])

        def log_message(self, *args):
            pass

    monkeypatch.setattr(fetching, "offline", lambda: False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        state.source = Source("imagebind", url=f"http://127.0.0.1:{served.server_port}/some/weights.pth")
        yield state
        served.shutdown()


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    located = fetching.locate(server.source, None, None, tmp_path)
    assert located.sizes == {"weights.pth": len(server.data)}
    server.limit = 3_000_000
    with pytest.raises(CheckpointError, match="again"):
        located.fetch(tmp_path, lambda *progress: None)
    assert not (tmp_path / "weights.pth").exists() and (tmp_path / "weights.pth.part").stat().st_size == 3_000_000
    steps = []
    fetched = located.fetch(tmp_path, lambda *progress: steps.append(progress))
    assert (tmp_path / "weights.pth").read_bytes() == server.data and server.ranges == [0, 3_000_000]
    assert fetched.files["weights.pth"]["bytes"] == len(server.data)
    assert ("weights.pth", len(server.data), len(server.data)) in steps
    assert fetching.locate(server.source, None, None, tmp_path).to_download == 0  # it is there now


def test_a_part_that_is_all_of_it_or_too_long_is_put_right(server, tmp_path):
    located = fetching.locate(server.source, None, None, tmp_path)
    part = tmp_path / "weights.pth.part"
    part.write_bytes(server.data)
    located.fetch(tmp_path, lambda *progress: None)
    assert (tmp_path / "weights.pth").read_bytes() == server.data
    (tmp_path / "weights.pth").unlink()
    part.write_bytes(server.data + b"more")
    with pytest.raises(CheckpointError, match="did not belong"):
        located.fetch(tmp_path, lambda *progress: None)
    located.fetch(tmp_path, lambda *progress: None)
    assert (tmp_path / "weights.pth").read_bytes() == server.data


def test_only_https_is_fetched():
    manifest = Manifest.load(shipped_checkpoints()[NAME])
    sources = json.loads(json.dumps(manifest.extra["sources"]))
    sources["imagebind"]["url"] = "http://example.org/x.pth"
    with pytest.raises(CheckpointError, match="only https"):
        read_sources(Manifest("x", extra={"sources": sources}))


# --- recipe and record -----------------------------------------------------------------------------------------


def test_the_shipped_recipe_invents_no_revision_and_no_hash():
    manifest = Manifest.load(shipped_checkpoints()[NAME])
    text = json.dumps(manifest.to_dict())
    assert not re.search(r"[0-9a-f]{40}", text) and "unverified" in manifest.extra
    sources = read_sources(manifest)
    assert all(source.revision is None and source.licence and source.about_bytes for source in sources.values())
    assert {source.repo for source in sources.values()} == {None, *REPOS.values()}
    assert sources["imagebind"].url == "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth"


def test_an_unreadable_record_is_said(tmp_path):
    (tmp_path / LOCK_FILE).write_text('{"sources": {"llm": {}}}')
    with pytest.raises(CheckpointError, match="Delete it"):
        SourcesLock.load(tmp_path)


def test_one_set_of_weights_a_component_is_chosen():
    names = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
    for component in ("unet", "vae", "text_encoder"):
        stem = "model" if component == "text_encoder" else "diffusion_pytorch_model"
        pickle = "pytorch_model.bin" if component == "text_encoder" else f"{stem}.bin"
        names += [f"{component}/{one}" for one in ("config.json", f"{stem}.safetensors", pickle)]
    names += ["unet/diffusion_pytorch_model.fp16.safetensors", "v1-5-pruned.safetensors", "unet/model.ckpt"]
    chosen = needed_files(names, "image", "here")
    weights = [name for name in chosen if name.endswith((".safetensors", ".bin"))]
    assert weights == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    shards = [f"vae/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "vae/diffusion_pytorch_model.safetensors.index.json"
    sharded = [*(name for name in names if not name.startswith("vae/diff")), *shards, index]
    assert {index, *shards} <= set(needed_files(sharded, "image", "here"))
    with pytest.raises(CheckpointError, match="no weights in vae/"):
        needed_files([name for name in names if not name.startswith("vae/diff")], "image", "here")
