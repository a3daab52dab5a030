import shutil

import pytest
from published import (
    make_published,
)

from nextgpt_chat.cli import main


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
