"""What is wrong with published weights is said before anything is written, and nothing is left."""

import json
import os
import pickle
import shutil
import signal

import pytest
import torch
from published import (
    RANK,
    WIDTH,
    write_delta,
    write_language_model,
)

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.checkpoints.planning import VERDICTS, keep_verdict
from nextgpt_chat.cli import main
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.importing import ImportSources, downloading, import_checkpoint
from nextgpt_chat.importing.tensors import TensorSource


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


def drop(key):
    return lambda state: state.pop(key)


def reshape(key, *shape):
    return lambda state: state.update({key: torch.zeros(*shape)})


@pytest.mark.parametrize("flag", ["nextgpt", "imagebind", "imagebind-config", "llm", "llm-delta", "audio-decoder"])
def test_a_path_where_nothing_is_is_said_before_anything_is_fetched(capsys, monkeypatch, published, tmp_path, flag):
    monkeypatch.setattr(downloading, "fetch_decoders", lambda *given: pytest.fail("decoders were fetched"))
    arguments = published.arguments(tmp_path / "new")
    line = refused(capsys, [*arguments, f"--{flag}", str(tmp_path / "absent")], tmp_path / "new")
    assert f"--{flag} is" in line and "absent" in line


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


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_an_import_whose_terminal_is_closed_leaves_nothing_behind(published, tmp_path, monkeypatch, sent):
    get = TensorSource.get
    monkeypatch.setattr(TensorSource, "get", lambda self, name: os.kill(os.getpid(), sent) or get(self, name))
    ours = signal.signal(sent, signal.SIG_DFL)  # the tests' own terminal may have gone
    try:
        assert main(published.arguments(tmp_path / "new")) == 130
        assert signal.getsignal(sent) == signal.SIG_DFL
    finally:
        signal.signal(sent, ours)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_an_import_replaces_a_checkpoint_whose_bits_were_checked(published, tmp_path):
    assert main(published.arguments(tmp_path / "new")) == 0
    keep_verdict(tmp_path / "new", "int8", True, "fine")
    assert main(published.arguments(tmp_path / "new")) == 0
    assert not (tmp_path / "new" / VERDICTS).exists()  # it was about the weights that went


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
