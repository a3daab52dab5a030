"""The parity runner on the golden data, on a folder of other sizes, and on damaged folders."""

import json
import subprocess
import sys
from pathlib import Path

import parity
import pytest
import torch
from parity_cases import find_cases
from parity_cases.comparing import Case, Check, Rules
from parity_cases.folder import GoldenFolder
from parity_folder import write_folder
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = list(find_cases(GoldenFolder(GOLDEN)))
# Files of public data sets are not kept here, and text states that were made with dropout on are nobody's to reproduce.
SKIPPED = {f"preprocess {kind}_asset" for kind in ("image", "audio", "video")} | {"diffusion audio text"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_original(case):
    result = case.run()
    assert result.status == ("SKIP" if case.name in SKIPPED else "PASS"), str(result)


def test_every_kind_of_case_is_found():
    begins = {case.name.split()[0] for case in CASES}
    names = "shapes tokenizer prompts preprocess imagebind output generation training diffusion"
    assert begins == set(names.split())
    assert len(CASES) >= 60


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("parity") / "other", seed=5)


def results(folder):
    return {case.name: case.run() for case in find_cases(GoldenFolder(folder))}


def test_a_folder_of_other_sizes_and_seeds_passes(other, capsys):
    assert parity.main(["--golden", str(other)]) == 0
    lines = capsys.readouterr().out.splitlines()
    skipped = [line for line in lines if line.startswith("SKIP")]
    assert len(skipped) == 1 and "generation input" in skipped[0] and "media/a.png" in skipped[0]
    assert sum(line.startswith("PASS") for line in lines) == 12


def _copied(folder, to):
    """The same files again, free to be changed."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return to


def _tampered(folder, file, name, by):
    tensors = load_file(folder / file)
    tensors[name].view(-1)[-1] += by
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, folder / file)


@pytest.mark.parametrize(
    ("file", "tensor", "by", "failing"),
    [
        ("outproj_other.safetensors", "output", 1e-3, {"output projection other"}),
        ("outproj_other.safetensors", "output", float("nan"), {"output projection other"}),
        ("training.safetensors", "stage3_image.full_targets", 1, {"training stage3_image ids"}),
        ("generation.safetensors", "step_hidden", 0.1, {"generation ids and states"}),
        ("captions.safetensors", "image", 5, {f"training stage{i}_image loss" for i in (2, 3)}),
    ],
)
def test_one_changed_number_fails_its_case_only(other, tmp_path, file, tensor, by, failing):
    folder = _copied(other, tmp_path)
    _tampered(folder, file, tensor, by)
    failed = {name for name, result in results(folder).items() if result.status == "FAIL"}
    assert failed - {"training stage2_image gradients"} == failing


def test_changed_descriptions_fail(other, tmp_path):
    folder = _copied(other, tmp_path)
    facts = json.loads((folder / "training.json").read_text())
    facts["cases"]["stage1_image"]["grad_norms"]["llama_proj.weight"] *= 1.01
    facts["cases"]["stage2_image"]["loss"] *= 1.001
    (folder / "training.json").write_text(json.dumps(facts))
    tokens = json.loads((folder / "tokenizer.json").read_text())
    tokens["cases"][0]["ids"].append(5)
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    failed = {name: result.reason for name, result in results(folder).items() if result.status == "FAIL"}
    assert failed.keys() == {"training stage1_image gradients", "training stage2_image loss", "tokenizer ids"}
    assert "llama_proj.weight" in failed["training stage1_image gradients"]


def test_damaged_files_fail_readably_and_the_rest_still_runs(other, tmp_path, capsys):
    folder = _copied(other, tmp_path)
    (folder / "outproj_other.safetensors").write_bytes(b"nothing")
    facts = json.loads((folder / "training.json").read_text())
    del facts["cases"]["stage1_image"]["prompt"]
    (folder / "training.json").write_text(json.dumps(facts))
    found = results(folder)
    assert found["tokenizer ids"].status == found["training stage3_image loss"].status == "PASS"
    assert "outproj_other.safetensors could not be read" in found["output projection other"].reason
    assert "'prompt' is missing" in found["training stage1_image loss"].reason
    (folder / "generation.json").unlink()
    (folder / "training.json").unlink()
    (folder / "tokenizer.json").write_text("{")
    found = results(folder)
    assert set(found) == {"tokenizer", "output projection other"}
    assert "tokenizer.json could not be read as JSON" in found["tokenizer"].reason
    assert parity.main(["--golden", str(folder)]) == 1
    assert capsys.readouterr().out.count("FAIL") == 2


def test_dropout_is_no_excuse_for_larger_errors(tmp_path):
    for name in ("diffusion.json", "diffusion.safetensors"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    (tmp_path / "diffusion").symlink_to(GOLDEN / "diffusion", target_is_directory=True)
    _tampered(tmp_path, "diffusion.safetensors", "ad.return_prompts_only", 2)
    case = next(case for case in find_cases(GoldenFolder(tmp_path)) if case.name == "diffusion audio text")
    assert case.run().status == "FAIL"


def test_unusable_folders_are_refused(tmp_path):
    assert parity.main(["--golden", str(tmp_path / "nowhere")]) == 2
    assert parity.main(["--golden", str(tmp_path)]) == 2


@pytest.mark.slow
def test_runs_from_any_folder(other, tmp_path):
    command = [sys.executable, parity.__file__, "--golden", str(other)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "12 passed, 0 failed, 1 skipped"


RULES = Rules(
    {
        "compare": [
            {"tensors": "a|b*", "metric": "max_abs", "atol": 0.1, "rtol": 0.1},
            {"tensors": "m", "metric": "mean_abs", "atol": 0.5, "rtol": 0.0},
            {"tensors": "i", "metric": "exact", "atol": 0.0, "rtol": 0.0},
            {"tensors": "q", "metric": "exact", "atol": 0.0, "rtol": 0.0, "quirk": "a bug"},
        ]
    },
    "test",
)


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "status"),
    [
        ("a", [1.0, 10.9], [1.0, 10.0], "PASS"),
        ("b2", [1.3, 10.0], [1.0, 10.0], "FAIL"),
        ("a", [float("nan"), 10.0], [1.0, 10.0], "FAIL"),
        ("a", [[[1.0, 2.0]]], [1.0, 2.0], "PASS"),
        ("a", [1.0, 2.0, 3.0], [1.0, 2.0], "FAIL"),
        ("m", [0.0, 0.9], [0.0, 0.0], "PASS"),
        ("m", [0.9, 0.9], [0.0, 0.0], "FAIL"),
        ("i", [1, 2], [1, 2], "PASS"),
        ("i", [1, 2], [1, 2, 3], "FAIL"),
        ("q", [1], [2], "FAIL"),  # nothing was compared
        ("unnamed", [1], [1], "FAIL"),
    ],
)
def test_the_folders_rules_decide(name, ours, theirs, status):
    def work(check: Check) -> None:
        check.compare(name, torch.tensor(ours), torch.tensor(theirs))

    assert Case("case", work, RULES).run().status == status
