"""One served page over a scripted pipeline."""

import pytest

from nextgpt_chat.web import PageOptions, launch
from tests.fake_pipeline import FakePipeline


@pytest.fixture(scope="module")
def pipeline():
    return FakePipeline(steps=4, pause=0.02)


@pytest.fixture(scope="module")
def served(pipeline, tmp_path_factory):
    """The running app; its address is ``served.page.local_url``."""
    options = PageOptions(
        checkpoint="fake-checkpoint", port=0, data_dir=str(tmp_path_factory.mktemp("data")), max_file_size=2
    )
    app = launch(pipeline, options, block=False, quiet=True)
    yield app
    app.close()
