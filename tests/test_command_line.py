"""The command line: JSON alone on standard output, exit statuses, one readable line for bad input."""

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tiny import tiny_audio, tiny_image
from tiny_checkpoint import tiny_checkpoint, tiny_pipeline

from nextgpt_chat.cli import main
from nextgpt_chat.cli.chat import parse_settings
from nextgpt_chat.cli.output import MediaFolder
from nextgpt_chat.cli.work import STAGES, Progress, table
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.media import read_media, read_metadata, write_audio
from nextgpt_chat.pipeline import NextGPTPipeline


@pytest.fixture
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _loaded_once(monkeypatch):
    """Commands get the pipeline that other tests have loaded; the program's own way is tested from a shell."""
    load, pipeline = NextGPTPipeline.from_pretrained, tiny_pipeline()

    def loaded(checkpoint, *rest, **named):
        plain = named.get("memory_plan", "auto") == "auto"
        return pipeline if str(checkpoint) == str(tiny_checkpoint()) and plain else load(checkpoint, *rest, **named)

    monkeypatch.setattr(NextGPTPipeline, "from_pretrained", loaded)


pytestmark = pytest.mark.usefixtures("_in_a_folder_of_its_own", "_loaded_once")


def chat(*arguments):
    return main(["chat", "--checkpoint", str(tiny_checkpoint()), "--device", "cpu", *arguments])


def refused(capsys, *argv, status=2):
    """The one line on standard error."""
    assert main(list(argv)) == status
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    return err


# --- chat ------------------------------------------------------------------------------------------------------


def test_chat_prints_one_json_object(capsys, tmp_path):
    PIL.Image.fromarray(tiny_image(50).pixels).save("in.png")
    arguments = ["--text", "draw it", "--file", "in.png", "--seed", "5", "--modalities", "text,image,audio,video"]
    assert chat(*arguments, "--set", "image.steps=2", "--out", "made", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"text", "images", "audios", "videos", "seed", "timings"}
    assert facts["text"] and facts["seed"] == 5
    assert facts["images"] == [str(tmp_path / "made" / "image-1.png")]
    assert read_media(facts["images"][0]).pixels.shape == (32, 32, 3)
    assert read_metadata(facts["images"][0])["comment"] == "AI-generated"
    assert read_media(facts["audios"][0]).seconds == pytest.approx(0.5)
    assert read_media(facts["videos"][0]).frames.shape == (2, 32, 32, 3)
    assert {"encode", "text", "first_token", "image", "audio", "video", "total"} == facts["timings"].keys()


def test_chat_answers_as_the_pipeline_does(capsys):
    assert chat("--text", "hello", "--seed", "7", "--modalities", "text,image", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    conversation = Conversation()
    conversation.add_user("hello")
    reply = tiny_pipeline().reply(conversation, seed=7, modalities={"text", "image"})
    assert facts["text"] == reply.text
    assert np.array_equal(read_media(facts["images"][0]).pixels, np.asarray(reply.images[0]))


def test_chat_takes_a_file_without_words_and_makes_a_new_folder_for_media(capsys, tmp_path):
    (tmp_path / "in.wav").write_bytes(_wav())
    for _ in range(2):
        assert chat("--file", "in.wav", "--modalities", "image", "--seed", "1") == 0
    folders = sorted((tmp_path / "replies").iterdir())
    assert len(folders) == 2 and all([path.name for path in one.iterdir()] == ["image-1.png"] for one in folders)
    out = capsys.readouterr().out
    assert f"[image: {folders[0] / 'image-1.png'}]" in out


def _wav():
    return write_audio(tiny_audio(), None, ai_generated=False)


def test_media_never_replace_a_file(tmp_path):
    (tmp_path / "image-1.png").write_text("mine")
    folder = MediaFolder(str(tmp_path))
    assert [folder.write(tiny_image()), folder.write(tiny_image(3))] == [
        str(tmp_path / "image-2.png"),
        str(tmp_path / "image-3.png"),
    ]
    assert (tmp_path / "image-1.png").read_text() == "mine"


def test_files_of_a_talk_in_the_terminal_stay_attached_beside_one_that_is_bad(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for index, name in enumerate(("it's mine.png", "a b.png", "home.png")):
        PIL.Image.fromarray(tiny_image(index).pixels).save(name)
    (tmp_path / "false.png").write_text("just words")
    files = """/file home.png\n/file\n/file it's mine.png\n/file false.png\n/file 'a b.png' ~/home.png\n"""
    files += f"/file ~nobody-of-this-name/x.png\n/file {'a' * 300}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"/modalities text\n{files}{'word ' * 3000}\nlook\n/save talk.zip\n"))
    assert chat() == 0
    said = capsys.readouterr().out
    assert "false.png is not a picture" in said and "Shorten the message" in said and "x.png was not found" in said
    sent = Conversation.load("talk.zip").turns[0]
    assert [part.name for part in sent.media] == ["it's mine.png", "a b.png", "home.png"] and sent.text == "look"


def test_a_talk_in_the_terminal(capsys, monkeypatch, tmp_path):
    PIL.Image.fromarray(tiny_image(9).pixels).save("in.png")
    lines = (
        "/help\n/set image.steps=2\n/seed 3\n/modalities text\n/file in.png\nwhat is it?\n/nonsense\n/file absent.png\n"
    )
    lines += "look\n/modalities text,audio\nits sound\n/modalities smell\n/save talk.zip\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert chat() == 0
    out = capsys.readouterr().out
    assert out.startswith("A tiny random checkpoint.")
    assert "There is no command /nonsense" in out and "absent.png" in out and "'smell' is no modality" in out
    talk = Conversation.load("talk.zip")
    assert [turn.role for turn in talk.turns] == ["user", "assistant"] * 3
    assert not talk.turns[2].media  # the bad file
    assert talk.turns[0].media[0].media == tiny_image(9) and talk.turns[-1].media[0].kind == "audio"
    assert talk.turns[-1].media[0].details["seed"] == 3
    assert next((tmp_path / "replies").rglob("audio-1.wav")).exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--text", "x", "--file", "absent.png"], "absent.png"),
        (["--text", "x", "--file", "false.png"], "false.png"),
        (["--text", "x", "--file", "empty.png"], "empty.png"),
        (["--text", "x", "--modalities", "text,smell"], "smell"),
        (["--text", "x", "--modalities", ","], "--modalities is empty"),
        (["--text", "x", "--set", "image.steps"], "NAME=VALUE"),
        (["--text", "x", "--set", "image.strides=3"], "image.strides"),
        (["--text", "x", "--set", "image.steps=many"], "many"),
        (["--text", "x", "--set", "image.steps=0"], "steps is 0"),
        (["--text", "x", "--set", "image.width=33"], "33"),
        (["--text", "x", "--seed", "-4"], "seed is -4"),
        (["--text", "x", "--seed", "abc"], "abc"),
        (["--text", "x", "--out", "empty.png"], "empty.png"),
        (["--text", " ", "--json"], "nothing to send"),
        (["--json"], "nothing to send"),
        (["--text", "word " * 3000], "Shorten the message"),
        (["--speak"], "--speak"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, arguments, named):
    (tmp_path / "false.png").write_text("just words")
    (tmp_path / "empty.png").touch()
    line = refused(capsys, "chat", "--checkpoint", str(tiny_checkpoint()), "--device", "cpu", *arguments)
    assert named in line


def test_a_bad_checkpoint_is_one_line_and_status_2(capsys, tmp_path):
    assert "no-such" in refused(capsys, "chat", "--text", "x", "--checkpoint", "no-such", "--json")
    assert "nextgpt.json" in refused(capsys, "chat", "--text", "x", "--checkpoint", str(tmp_path))
    assert "paint" in refused(capsys, "paint")
    assert "chat" in refused(capsys)


def test_an_unknown_log_level_is_one_line_and_status_2(capsys, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LOG", "loud")
    err = refused(capsys, "doctor")
    assert "'loud'" in err and "warning" in err


def test_a_fault_of_ours_is_status_1_with_its_traceback(capsys, monkeypatch):
    monkeypatch.setattr(NextGPTPipeline, "stream", lambda *given, **named: 1 / 0)
    assert chat("--text", "x", "--json") == 1
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" in err and err.strip().splitlines()[-1].startswith("nextgpt_chat: fault")


def test_bad_input_is_refused_before_the_model_libraries_are_imported(tmp_path):
    code = "import sys; from nextgpt_chat.cli import main\nfor line in sys.stdin: print(main(line.split()))\n"
    code += "print([name for name in ('torch', 'transformers', 'diffusers') if name in sys.modules])"
    lines = "chat --checkpoint no-such --text x\nchat --file absent.png\nchat --modalities smell\n"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], input=lines, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout.splitlines() == ["2", "2", "2", "[]"], done.stderr


def test_help_is_no_error(capsys):
    assert main(["--help"]) == 0
    assert main(["chat", "--help"]) == 0
    assert "--modalities" in capsys.readouterr().out


def test_settings_are_converted():
    settings = parse_settings(["image.steps=8", "conditioning=caption", "text.top_p = 0.5"], seed=4)
    assert (settings.image.steps, settings.conditioning, settings.text.top_p, settings.seed) == (8, "caption", 0.5, 4)
    with pytest.raises(NextGPTError, match="conditioning"):
        parse_settings(["conditioning=wish"])


# --- train and evaluate ----------------------------------------------------------------------------------------


@pytest.fixture
def fake_part(monkeypatch):
    """Puts a module in the place of one of the package's parts."""
    importlib.import_module("nextgpt_chat.evaluation.report")  # it takes names from parts that are replaced

    def put(name, **functions):
        module = types.ModuleType(f"nextgpt_chat.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def test_train_hands_the_configuration_to_the_stage(fake_part, tmp_path, capsys):
    calls = []
    fake_part("training.stages", run=lambda *given: calls.append(given) or {"vae": {"loss": 0.5}})
    fake_part("evaluation.stage_gates", check="the gates")
    (tmp_path / "c.toml").write_text("preset = 'tiny'\n[vae]\nsteps = 3\n")
    (tmp_path / "c.json").write_text('{"root": "runs/x"}')
    assert main(["train", "vae", "--config", "c.toml", "--resume"]) == 0
    assert main(["train", "all", "--config", "c.json"]) == 0
    assert main(["train", "stage3"]) == 0
    assert calls == [
        ("vae", {"preset": "tiny", "vae": {"steps": 3}}, True, "the gates"),
        ("all", {"root": "runs/x"}, False, "the gates"),
        ("stage3", {}, False, "the gates"),
    ]
    assert 'vae: {"loss": 0.5}' in capsys.readouterr().out


def test_train_knows_every_stage_of_the_recipe():
    from nextgpt_chat.training import stages

    assert (*stages.STAGES, "all") == STAGES


def test_a_bad_stage_or_configuration_is_one_line(capsys, tmp_path):
    assert "stage9" in refused(capsys, "train", "stage9")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.toml").write_text("a = ")
    for name in ("list.json", "broken.toml", "absent.json"):
        assert name in refused(capsys, "train", "vae", "--config", name)


def test_evaluate_prints_the_suites_rows(fake_part, capsys):
    calls = []
    row = {"n": 200, "distinct": 150, "correct": 190, "rate": 0.95, "low95": 0.91, "ceiling": 0.97}

    def evaluate(pipeline, progress, **named):
        print("a stray remark")
        progress("words from picture", 1, 200)
        calls.append((pipeline.name, named))
        return {"words from picture": row}

    fake_part("evaluation.picturebook", evaluate=evaluate)
    arguments = ["evaluate", "picturebook", "--checkpoint", str(tiny_checkpoint()), "--device", "cpu"]
    assert main([*arguments, "--limit", "5", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"words from picture": row}
    assert main(arguments) == 0
    assert "95.0%    91.0%    97.0%" in capsys.readouterr().out
    assert calls == [("tiny", {"limit": 5, "seed": 3}), ("tiny", {"seed": 0})]
    assert "–" in table({"a": {**row, "ceiling": None}})
    assert "--workers is 0" in refused(capsys, *arguments, "--workers", "0")
    assert "--limit is 0" in refused(capsys, *arguments, "--limit", "0")


def test_evaluate_cells_prints_them_and_writes_them_into_the_card(fake_part, capsys, tmp_path):
    from nextgpt_chat.evaluation.cells import CELLS

    begun_at = []

    def measure(pipeline, seeds, progress, seed):
        begun_at.append(seed)
        return dict.fromkeys(CELLS, (seeds, ""))

    fake_part("evaluation.cells", cells=measure)
    copy = shutil.copytree(tiny_checkpoint(), tmp_path / "copy")
    arguments = ["evaluate", "cells", "--checkpoint", str(copy), "--device", "cpu", "--limit", "3"]
    assert main([*arguments, "--card"]) == 0
    printed = capsys.readouterr().out
    assert "120 of 120 cells" in printed and "**3/3**" in printed
    assert "## Measured: cells\n\n| in" in (copy / "README.md").read_text(encoding="utf-8")
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--seed", "7"]) == 0
    assert begun_at == [0, 0, 7]
    assert len(found) == 120 and found[0] == {"in": ["text"], "out": [], "right": 3, "of": 3, "error": None}


def test_a_card_that_cannot_be_written_is_said_after_the_table(fake_part, capsys, tmp_path):
    row = {"n": 200, "distinct": 150, "correct": 190, "rate": 0.95, "low95": 0.91, "ceiling": None}
    fake_part("evaluation.picturebook", evaluate=lambda pipeline, progress, **named: {"words from picture": row})
    copy = shutil.copytree(tiny_checkpoint(), tmp_path / "copy")
    (copy / "README.md").unlink(missing_ok=True)
    (copy / "README.md").mkdir()
    assert main(["evaluate", "picturebook", "--checkpoint", str(copy), "--device", "cpu", "--card"]) == 2
    out, err = capsys.readouterr()
    assert "words from picture" in out and err.splitlines()[-1].startswith("nextgpt_chat: The table was printed, but")


# --- doctor ----------------------------------------------------------------------------------------------------


def doctor(capsys, *arguments):
    status = main(["doctor", "--device", "cpu", "--json", *arguments])
    out, err = capsys.readouterr()
    report = json.loads(out)
    return status, report, {check["name"]: check for check in report["checks"]}, err


def test_doctor_finds_a_sound_checkpoint_sound(capsys):
    status, report, checks, _ = doctor(capsys, "--checkpoint", str(tiny_checkpoint()))
    assert status == 0 and report["ok"], [check for check in report["checks"] if not check["ok"]]
    assert {"python", "torch", "devices", "memory", "ffmpeg", "checkpoint", "files", "memory plan", "load"} <= set(
        checks
    )
    assert report["components"][0]["name"] == "language_model"
    assert all(one["parameters"] > 0 for one in report["components"])


def test_doctor_finds_that_a_whole_checkpoint_was_never_trained(capsys):
    status, _, checks, err = doctor(capsys, "--checkpoint", str(tiny_checkpoint()), "--self-test")
    assert status == 2 and checks["load"]["ok"] and err.startswith("nextgpt_chat: self-test language")
    assert {f"self-test {kind}" for kind in ("text", "image", "audio", "video")} <= set(checks)


def test_doctor_names_every_file_at_fault(capsys, tmp_path):
    copy = shutil.copytree(tiny_checkpoint(), tmp_path / "copy")
    (copy / "imagebind" / "model.safetensors").unlink()
    (copy / "projections.safetensors").write_bytes(b"x" * 100)
    status, report, checks, err = doctor(capsys, "--checkpoint", str(copy))
    assert status == 2 and not report["ok"] and not checks["files"]["ok"]
    assert "imagebind/model.safetensors is missing" in checks["files"]["message"]
    assert "projections.safetensors has 100 bytes" in checks["files"]["message"]
    assert err.count("\n") == 1 and err.startswith("nextgpt_chat: files")


def test_doctor_says_that_a_checkpoint_is_unknown(capsys):
    status, report, checks, _ = doctor(capsys, "--checkpoint", "no-such")
    assert status == 2 and not report["ok"] and "no-such" in checks["checkpoint"]["message"]


# --- as a program ----------------------------------------------------------------------------------------------


def test_the_program_runs_from_a_shell(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "nextgpt_chat", "chat", "--checkpoint", str(tiny_checkpoint()), "--json"]
    command += ["--text", "hello", "--modalities", "text,audio", "--seed", "1", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and facts["seed"] == 1 and len(facts["audios"]) == 1


def test_in_a_log_long_work_says_each_tenth_of_its_way(capsys):
    progress = Progress()
    for done in range(1, 121):
        progress("cells", done, 120)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 11 and said[0] == "cells: 1 of 120" and said[-1] == "cells: 120 of 120"
