"""What hosts read of the repository: the README's first lines, the Dockerfile, the list of variables."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from nextgpt_chat.web import PageOptions

ROOT = Path(__file__).resolve().parents[2]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def requirement(name):
    lines = (line.partition("#")[0].strip() for line in read("requirements.txt").splitlines())
    return next(Requirement(line) for line in lines if re.match(rf"{name}\b", line))


@pytest.fixture(scope="module")
def space():
    """The configuration of a Space."""
    opening, front, _ = read("README.md").split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front)


def test_a_space_gets_the_gradio_that_the_tests_ran_with(space):
    assert space["sdk"] == "gradio"
    assert f"gradio=={space['sdk_version']}\n" in read("constraints.txt")


def test_a_space_starts_a_file_that_is_there_under_a_python_that_it_takes(space):
    body = ast.parse(read(space["app_file"])).body
    assert any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in body)
    needs = re.search(r'requires-python = "(.+)"', read("pyproject.toml")).group(1)
    assert space["python_version"] in SpecifierSet(needs)
    assert len(space["short_description"]) <= 60
    assert space["license"] == re.search(r'license = "(.+)"', read("pyproject.toml")).group(1).lower()


def test_zero_gpu_finds_a_torch_among_ours(space):
    assert space["python_version"] == "3.12"
    assert all(Version(v) in requirement("torch").specifier for v in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"))


def test_the_models_of_the_space_are_those_that_are_downloaded(space):
    published = read("checkpoints/nextgpt-7b-tiva-v0/nextgpt.json") + read("nextgpt_chat/importing/base_model.py")
    assert [name for name in space["models"] if name not in published] == []


def test_every_option_is_in_the_table_of_variables_with_its_default():
    rows = dict(re.findall(r"^\| `(NEXTGPT_\w+)` \| (.+) \|$", read("docs/hosting.md"), re.MULTILINE))
    assert rows.keys() == {f"NEXTGPT_{field.name.upper()}" for field in dataclasses.fields(PageOptions)}
    for field in dataclasses.fields(PageOptions):
        flag, default, help_text = rows[f"NEXTGPT_{field.name.upper()}"].split(" | ")
        assert flag == f"`--{field.name.replace('_', '-')}`" and help_text
        known = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert default == (f"`{known}`" if field.default is not None else "the user's data folder")


def test_what_the_image_copies_is_there_and_its_variables_are_ours():
    kept = [line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")]
    assert [name for name in kept if not list(ROOT.glob(name))] == []
    dockerfile = read("Dockerfile")
    for copied in re.search(r"^COPY (requirements.*) \./$", dockerfile, re.MULTILINE).group(1).split():
        assert copied in kept
    options = {f"NEXTGPT_{field.name.upper()}" for field in dataclasses.fields(PageOptions)}
    assert set(re.findall(r"NEXTGPT_\w+", dockerfile)) <= options
    assert dockerfile.index("\nUSER chat\n") < dockerfile.index("\nENTRYPOINT")
