"""The published weights, imported: what goes in comes out, and what is wrong is said before anything is written."""

import json
import pickle
import shutil
import weakref

import pytest
import torch
from published import (
    ADDED,
    RANK,
    SPELLED,
    WIDTH,
    make_published,
    published_state,
    write_added_tokens,
    write_delta,
    write_language_model,
)
from safetensors.torch import load_file
from tiny import tiny_image
from transformers import AutoTokenizer

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.cli import main
from nextgpt_chat.config import GenerationSettings
from nextgpt_chat.content import MediaPart
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.importing import ImportSources, import_checkpoint
from nextgpt_chat.importing.base_model import add_rows
from nextgpt_chat.importing.media_encoder import imagebind_config
from nextgpt_chat.importing.published import our_name, published_name, read_published
from nextgpt_chat.importing.shards import Entry, plan_shards, write_tensors
from nextgpt_chat.importing.tensors import TensorSource
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.tokens import SignalTokens

SMALL = {
    "text.max_new_tokens": "8",
    "image.steps": 2,
    "image.width": 32,
    "image.height": 32,
    "audio.steps": 2,
    "audio.seconds": 0.5,
    "video.steps": 2,
    "video.frames": 2,
    "video.width": 32,
    "video.height": 32,
}


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    return make_published(tmp_path_factory.mktemp("published") / "files")


@pytest.fixture
def published(originals, tmp_path):
    """A copy to break."""
    shutil.copytree(originals.root, tmp_path / "files")
    return type(originals)(tmp_path / "files", originals.pieces)


@pytest.fixture(scope="session")
def imported(originals, tmp_path_factory):
    """The folder that the command makes of the originals."""
    out = tmp_path_factory.mktemp("imported") / "nextgpt-7b-tiva-v0"
    assert main(originals.arguments(out)) == 0
    return out


def small_settings():
    settings = GenerationSettings()
    for name, value in SMALL.items():
        settings = settings.with_value(name, value)
    return settings


def refused(capsys, arguments, out):
    """The one line that says why; nothing may be left, half-written or whole."""
    before = sorted(out.parent.iterdir()) if out.parent.exists() else None
    capsys.readouterr()
    assert main(arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert not out.exists() and (sorted(out.parent.iterdir()) if before is not None else None) == before
    lines = [line for line in stderr.splitlines() if line.startswith("nextgpt_chat: ")]
    assert stdout == "" and "Traceback" not in stderr and len(lines) == 1
    return lines[0]


# --- what comes out --------------------------------------------------------------------------------------------


def test_an_imported_checkpoint_replies_in_every_modality(imported):
    pipeline = NextGPTPipeline.from_pretrained(imported, device="cpu")
    conversation = Conversation()
    conversation.add_user("what is in this picture?", [tiny_image(90)])
    reply = pipeline.reply(conversation, small_settings(), seed=1, modalities={"text", "image", "audio", "video"})
    assert [part.kind for part in reply.parts if isinstance(part, MediaPart)] == ["image", "audio", "video"]
    assert pipeline.manifest.template == "v0" and not reply.cancelled


def test_every_published_number_arrives(originals, imported):
    state = originals.state()
    written = load_file(imported / "projections.safetensors")
    written |= load_file(imported / "language_model" / "model.safetensors")
    written |= load_file(imported / "adapter" / "adapter_model.safetensors")
    for key, tensor in state.items():
        _, name = our_name(key)
        assert torch.equal(written.pop(name), tensor.data), key
    base = TensorSource(originals.llm, "base")
    assert written and all(torch.equal(tensor, base.get(name)) for name, tensor in written.items())


def test_the_adapter_does_what_lora_of_the_original_does(originals, imported):
    """W + B A with scale 1 in every projection, against plain matrix arithmetic."""
    from transformers import AutoModelForCausalLM

    pipeline = NextGPTPipeline.from_pretrained(imported, device="cpu")
    state = originals.state()
    merged = AutoModelForCausalLM.from_pretrained(imported / "language_model", dtype=torch.float32).eval()
    for name, weight in merged.named_parameters():
        stem = f"llama_model.base_model.model.{name.removesuffix('.weight')}.lora"
        if f"{stem}_A.default.weight" in state:
            low, high = (state[f"{stem}_{side}.default.weight"].data.float() for side in "AB")
            weight.data += high @ low
    ids = torch.tensor([[1, 9, 40, 200, 5]])
    states = pipeline.model.language_model.states(pipeline.model.language_model.embed(ids))
    torch.testing.assert_close(states, merged.model(ids).last_hidden_state, atol=2e-4, rtol=1e-3)


def test_signal_tokens_have_the_ids_of_the_weights(originals, imported):
    lm = NextGPTPipeline.from_pretrained(imported, device="cpu").model.language_model
    first = originals.pieces + 2
    assert lm.signals.groups["image"] == tuple(range(first, first + 4))
    assert lm.signals.groups["video"] == tuple(range(first + 4, first + 28))
    assert lm.signals.groups["audio"] == tuple(range(first + 28, first + 36))
    assert lm.causal.config.vocab_size == len(lm.tokenizer) == originals.pieces + len(ADDED)


@pytest.mark.parametrize(
    ("beside", "switch", "mode"),
    [
        (SPELLED, "auto", "text"),
        (ADDED, "auto", "real"),
        (None, "auto", "real"),
        (None, "text", "text"),
        (ADDED, "text", "text"),
    ],
)
def test_img_tokens_follow_the_file_or_the_switch(published, tmp_path, capsys, beside, switch, mode):
    if beside is None:
        (published.nextgpt.parent / "added_tokens.json").unlink()
    else:
        write_added_tokens(published, beside)
    assert main([*published.arguments(tmp_path / "new"), "--img-tokens", switch]) == 0
    out, err = capsys.readouterr()
    assert ("Nothing says whether <Img>" in err) == (beside is None and switch == "auto")
    assert ("<Img> is a token" in out) == (mode == "real")
    signals = SignalTokens().lookup(AutoTokenizer.from_pretrained(tmp_path / "new" / "language_model"))
    assert signals.open == (published.pieces if mode == "real" else None)
    assert signals.groups["image"][0] == published.pieces + 2
    assert Manifest.load(tmp_path / "new").extra["img_tokens"]["mode"] == mode


def test_unused_towers_stay_behind(imported):
    names = load_file(imported / "imagebind" / "model.safetensors").keys()
    assert {name.split(".")[1] for name in names} == {"vision", "audio"}


def test_a_file_of_stage_two_has_no_adapter(published, tmp_path):
    torch.save(published_state(published.pieces + len(ADDED), stage=2), published.nextgpt)
    assert main(published.arguments(tmp_path / "new")) == 0
    assert not (tmp_path / "new" / "adapter").exists()
    assert NextGPTPipeline.from_pretrained(tmp_path / "new", device="cpu").modalities[0] == "text"


def test_a_delta_gives_the_merged_model(published, tmp_path):
    write_language_model(tmp_path / "llama-7b")
    base = TensorSource(tmp_path / "llama-7b", "base")
    for file in base.files:  # another LLaMA than the target
        torch.save({name: base.get(name) * 0.5 + 0.25 for name in base.facts if base.facts[name].file == file}, file)
    write_delta(tmp_path / "llama-7b", published.llm, tmp_path / "vicuna-7b-delta-v0")
    arguments = published.arguments(tmp_path / "new")
    arguments[arguments.index("--llm") + 1] = str(tmp_path / "llama-7b")
    assert main([*arguments, "--llm-delta", str(tmp_path / "vicuna-7b-delta-v0")]) == 0
    first, second = TensorSource(published.llm, "target"), TensorSource(tmp_path / "new" / "language_model", "merged")
    for name in second.shapes.keys() - {"model.embed_tokens.weight", "lm_head.weight"}:
        torch.testing.assert_close(second.get(name), first.get(name), atol=2e-3, rtol=2e-3)
    assert Manifest.load(tmp_path / "new").extra["imported_from"]["llm_delta_merged"]


def test_rows_that_only_the_delta_has_are_added_to_zeros():
    base, delta = torch.ones(3, 2, dtype=torch.float16), torch.full((4, 2), 0.5, dtype=torch.float16)
    assert torch.equal(add_rows(base, delta), torch.tensor([[1.5] * 2] * 3 + [[0.5] * 2], dtype=torch.float16))
    with pytest.raises(ValueError, match="does not fit"):
        add_rows(delta, base)


def test_decoders_that_are_not_given_stay_references(published, tmp_path, capsys):
    arguments = published.arguments(tmp_path / "new")
    place = arguments.index("--image-decoder")
    assert main(arguments[:place] + arguments[place + 2 :]) == 0
    manifest = Manifest.load(tmp_path / "new")
    assert manifest.component("image_decoder").repo == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert manifest.component("image_decoder").revision is None and "unverified" in capsys.readouterr().err
    assert manifest.component("audio_decoder").path == "audio_decoder"


def test_pickled_decoders_become_safetensors(published, tmp_path):
    unet = published.decoders["image"] / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(unet), unet.with_suffix(".bin"))
    expected = load_file(unet)
    unet.unlink()
    assert main(published.arguments(tmp_path / "new")) == 0
    written = tmp_path / "new" / "image_decoder" / "unet"
    assert not list(written.glob("*.bin"))
    assert all(torch.equal(load_file(written / unet.name)[name], value) for name, value in expected.items())


def test_weights_in_shards_are_the_same_weights(published, imported, tmp_path):
    assert main([*published.arguments(tmp_path / "new"), "--max-shard", "0.03"]) == 0
    assert len(list((tmp_path / "new" / "language_model").glob("*.safetensors"))) > 4
    assert (tmp_path / "new" / "projections.safetensors.index.json").is_file()
    pipelines = [NextGPTPipeline.from_pretrained(folder, device="cpu") for folder in (imported, tmp_path / "new")]
    states = [pipeline.model.state_dict() for pipeline in pipelines]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_shipped_manifest_is_filled_in_where_it_lies(published, tmp_path):
    out = tmp_path / "nextgpt-7b-tiva-v0"
    shutil.copytree(shipped_checkpoints()["nextgpt-7b-tiva-v0"], out)
    with pytest.raises(CheckpointError, match="download nextgpt-7b-tiva-v0"):
        NextGPTPipeline.from_pretrained(out, device="cpu")
    assert main(published.arguments(out)) == 0
    assert (out / "README.md").read_text().startswith("# nextgpt-7b-tiva-v0") and (out / ".gitignore").is_file()
    assert main(published.arguments(out)) == 0  # and again, in place of the first
    assert NextGPTPipeline.from_pretrained(out, device="cpu").name == "nextgpt-7b-tiva-v0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", out.name]


# --- memory ----------------------------------------------------------------------------------------------------


def test_never_more_than_one_tensor_of_each_source_is_alive(published, tmp_path, monkeypatch):
    """A shard holds many tensors; counted are the bytes of those that are held while it is written."""
    alive, most = {}, 0
    get = TensorSource.get

    def counted(self, name):
        nonlocal most
        tensor = get(self, name)
        number = len(alive)
        alive[number] = tensor.numel() * tensor.element_size()
        weakref.finalize(tensor, alive.__setitem__, number, 0)
        most = max(most, sum(alive.values()))
        return tensor

    monkeypatch.setattr(TensorSource, "get", counted)
    assert main([*published.arguments(tmp_path / "new"), "--max-shard", "0.1"]) == 0
    shards = list((tmp_path / "new" / "language_model").glob("*.safetensors"))
    largest = max(path.stat().st_size for path in shards)
    assert len(shards) > 2 and len(alive) > 100
    assert 0 < most <= largest < sum(path.stat().st_size for path in shards) / 2


def test_what_is_streamed_is_what_safetensors_writes(tmp_path):
    tensors = {
        "a": torch.randn(3, 5).half(),
        "b": torch.arange(7),
        "c": torch.tensor(2.5, dtype=torch.bfloat16),
        "d": torch.zeros(0, 4),
        "e": torch.randn(3001, 2001).half().t(),
    }
    entries = [
        Entry(name, tuple(value.shape), lambda value=value: [value], value.dtype) for name, value in tensors.items()
    ]
    write_tensors(tmp_path, "x", entries)
    read = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in tensors.items())


def test_a_shard_takes_as_much_as_fits():
    entries = [Entry(str(size), (size,), list, torch.uint8) for size in (4, 4, 9, 1, 1)]
    assert [[entry.name for entry in shard] for shard in plan_shards(entries, 8)] == [["4", "4"], ["9"], ["1", "1"]]


# --- what is wrong is said, and nothing is left ----------------------------------------------------------------


def drop(key):
    return lambda state: state.pop(key)


def reshape(key, *shape):
    return lambda state: state.update({key: torch.zeros(*shape)})


LORA = "llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_B.default.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            drop("llama_model.base_model.model.model.embed_tokens.weight"),
            "lacks 1 tensor: llama_model.base_model.model.model.e",
        ),
        (drop("llama_proj.bias"), "lacks 1 tensor: llama_proj.bias"),
        (drop(LORA), f"lacks 1 tensor: {LORA}"),
        (drop("gen_text_hidden_fcs_audio.0.fc.weight"), "lacks 1 tensor: gen_text_hidden_fcs_audio.0.fc.weight"),
        (drop("gen_text_hidden_fcs.0.tfm.decoder.norm.bias"), "gen_text_hidden_fcs.0.tfm.decoder.norm.bias"),
        (
            lambda state: [state.pop(k) for k in list(state) if k.startswith("gen_text_hidden_fcs_video")],
            "gen_text_hidden_fcs_video",
        ),
        (lambda state: [state.pop(k) for k in list(state) if "lora" in k], "lora_A"),
        (reshape("llama_model.base_model.model.lm_head.weight", 50, WIDTH), "one shape"),
        (reshape("llama_proj.weight", WIDTH + 1, 12), "llama_proj has the shapes"),
        (reshape(LORA, WIDTH + 1, RANK), f"{LORA} ({WIDTH + 1}, {RANK}) instead of ({WIDTH}, {RANK})"),
        (reshape(LORA, WIDTH, RANK + 1), "different ranks"),
        (reshape("gen_text_hidden_fcs.0.fc.bias", 17), "gen_text_hidden_fcs.0.fc.bias (17,) instead of (16,)"),
        (lambda state: state["llama_proj.weight"].data.fill_(float("nan")), "no numbers"),
    ],
)
def test_a_broken_file_is_refused_by_name(published, tmp_path, capsys, change, words):
    published.edit(change)
    line = refused(capsys, published.arguments(tmp_path / "to" / "new"), tmp_path / "to" / "new")
    assert words in line and ("pytorch_model.pt" in line or "no numbers" in line)
    assert not (tmp_path / "to").exists()


class Code:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a pickle was run')",))


def truncate(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("nextgpt/pytorch_model.pt", truncate, "truncated"),
        ("nextgpt/pytorch_model.pt", flip, "corrupt"),
        ("nextgpt/pytorch_model.pt", lambda path: torch.save({"a": Code()}, path), "code or objects in it"),
        (
            "nextgpt/pytorch_model.pt",
            lambda path: path.write_bytes(pickle.dumps({"a": Code()})),
            "code or objects in it",
        ),
        ("nextgpt/pytorch_model.pt", lambda path: torch.save({"a": 3}, path), "more than tensors: a"),
        ("nextgpt/pytorch_model.pt", lambda path: path.write_text("<!doctype html>"), "is a web page"),
        (
            "nextgpt/pytorch_model.pt",
            lambda path: path.write_text("version https://git-lfs.github.com"),
            "Git LFS pointer",
        ),
        ("nextgpt/pytorch_model.pt", lambda path: path.write_bytes(b""), "is empty"),
        ("nextgpt/pytorch_model.pt", lambda path: path.unlink(), "does not exist"),
        ("imagebind_huge.pth", truncate, "truncated"),
        ("imagebind_huge.pth", lambda path: torch.save({"a": torch.ones(2)}, path), "lacks"),
        ("vicuna-7b-v0/pytorch_model-00002-of-00002.bin", truncate, "truncated"),
        ("vicuna-7b-v0/pytorch_model-00002-of-00002.bin", lambda path: path.unlink(), "1 of 2 shards"),
        ("vicuna-7b-v0/config.json", lambda path: path.unlink(), "no usable config.json"),
        ("vicuna-7b-v0/tokenizer.model", lambda path: path.unlink(), "no tokenizer.model"),
        ("vicuna-7b-v0/tokenizer.model", truncate, "vocabulary"),
        ("decoders/video/unet/config.json", lambda path: path.write_text('{"cross_attention_dim": 9}'), "width 9"),
        ("decoders/audio/model_index.json", lambda path: path.unlink(), "no model_index.json"),
    ],
)
def test_a_bad_file_is_refused_by_name(published, tmp_path, capsys, file, change, words):
    change(published.root / file)
    assert words in refused(capsys, published.arguments(tmp_path / "new"), tmp_path / "new")


def with_llm(published, out, folder, *more):
    arguments = published.arguments(out)
    arguments[arguments.index("--llm") + 1] = str(folder)
    return [*arguments, *map(str, more)]


def test_a_base_with_more_rows_is_refused_and_the_surplus_can_be_left_out(published, tmp_path, capsys):
    write_language_model(tmp_path / "base", extra_rows=1)
    arguments = with_llm(published, tmp_path / "new", tmp_path / "base")
    line = refused(capsys, arguments, tmp_path / "new")
    assert f"{published.pieces + 1} token rows" in line and "--drop-extra-rows" in line
    assert main([*arguments, "--drop-extra-rows"]) == 0


def test_a_tokenizer_with_tokens_of_its_own_is_refused(published, tmp_path, capsys):
    (published.llm / "added_tokens.json").write_text(json.dumps({"[PAD]": published.pieces}))
    assert "[PAD]" in refused(capsys, published.arguments(tmp_path / "new"), tmp_path / "new")


def test_the_wrong_vicuna_is_refused_where_its_configuration_shows_it(published, tmp_path, capsys):
    write_language_model(tmp_path / "base", context=4096)
    arguments = with_llm(published, tmp_path / "new", tmp_path / "base")
    line = refused(capsys, arguments, tmp_path / "new")
    assert "v1.5" in line and "4096" in line and "2048" in line
    assert main([*arguments, "--any-base"]) == 0
    assert "warning sign" in capsys.readouterr().err


def test_a_name_alone_is_a_warning_sign_only(published, tmp_path, capsys):
    shutil.copytree(published.llm, tmp_path / "vicuna-7b-v1.3")
    assert main(with_llm(published, tmp_path / "new", tmp_path / "vicuna-7b-v1.3")) == 0
    err = capsys.readouterr().err
    assert "v1.3" in err and "warning sign only" in err


def test_a_missing_or_unfitting_delta_is_refused(published, tmp_path, capsys):
    out = tmp_path / "new"
    nowhere = with_llm(published, out, published.llm, "--llm-delta", tmp_path / "delta")
    assert "delta" in refused(capsys, nowhere, out)
    write_delta(published.llm, published.llm, tmp_path / "delta")
    alone = with_llm(published, out, tmp_path / "delta")
    assert "--llm-delta" in refused(capsys, alone, out)
    weights = tmp_path / "delta" / "pytorch_model.bin"
    state = torch.load(weights)
    torch.save({k: v for k, v in state.items() if k != "model.norm.weight"}, weights)
    assert "model.norm.weight" in refused(capsys, nowhere, out)
    torch.save(state | {"model.norm.weight": torch.zeros(WIDTH + 1)}, weights)
    assert "wrong shapes" in refused(capsys, nowhere, out)


def test_another_file_than_the_recorded_one_is_refused(published, tmp_path):
    sources = ImportSources(published.nextgpt, published.llm, published.imagebind)
    with pytest.raises(CheckpointError, match="SHA-256"):
        import_checkpoint(sources, tmp_path / "new", Manifest("x"), hashes={"imagebind": "0" * 64})
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_noticed_first(published, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1000))
    assert "1.0 kB free" in refused(capsys, published.arguments(tmp_path / "new"), tmp_path / "new")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left on device"), RuntimeError("a fault")])
def test_an_interrupted_import_leaves_everything_as_it_was(published, tmp_path, monkeypatch, error):
    out = tmp_path / "nextgpt-7b-tiva-v0"
    shutil.copytree(shipped_checkpoints()["nextgpt-7b-tiva-v0"], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    reads, get = 0, TensorSource.get

    def interrupted(self, name):
        nonlocal reads
        reads += 1
        if reads > 60:
            raise error
        return get(self, name)

    monkeypatch.setattr(TensorSource, "get", interrupted)
    assert main(published.arguments(out)) != 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", out.name]


@pytest.mark.parametrize("name", ["notes.txt", "nextgpt"])
def test_a_folder_with_other_things_is_left_alone(published, tmp_path, capsys, name):
    out = tmp_path / "new"
    out.mkdir()
    (out / name).write_text("mine")
    assert main(published.arguments(out)) == 2
    assert (out / name).read_text() == "mine" and "left alone" in capsys.readouterr().err


def test_files_inside_the_folder_that_is_replaced_are_not_lost(published, capsys):
    assert main(published.arguments(published.nextgpt.parent)) == 2
    assert "lies inside" in capsys.readouterr().err and published.nextgpt.is_file()


# --- names and sizes -------------------------------------------------------------------------------------------


def test_names_go_both_ways(originals):
    state = originals.state()
    for key in state:
        assert published_name(*our_name(key)) == key
    assert our_name("visual_encoder.anything") is None
    with pytest.raises(ValueError, match="holds no"):
        published_name("language_model", "model.norm.weight")


def test_tensors_without_meaning_are_named(originals):
    shapes = {key: tuple(value.shape) for key, value in originals.state().items()}
    found = read_published(shapes | {"extra.weight": (1,), "llama_model.input_embeddings.weight": (3, 3)}, "the file")
    assert found.unknown == ("extra.weight",) and found.rank == RANK and found.base_rows == originals.pieces


def test_sizes_of_imagebind_are_read_from_its_tensors(originals):
    from tiny_checkpoint import IMAGEBIND

    config, warnings = imagebind_config(TensorSource(originals.imagebind, "x").shapes, "x")
    read = ("embedding_dim", "image_size", "patch_size", "vision_width", "vision_depth", "audio_width", "audio_depth")
    assert all(getattr(config, name) == getattr(IMAGEBIND, name) for name in (*read, "audio_kernel", "audio_stride"))
    assert config.text_depth == 0 and "attention heads" in warnings[0]
