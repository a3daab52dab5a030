import pytest
from tiny_checkpoint import tiny_pipeline


@pytest.fixture
def pipe():
    return tiny_pipeline()
