"""What every test starts from: no network, few threads, known seeds, none of the developer's own settings."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

# Before torch or the hub client is imported, here and in child processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # test processes run side by side; more threads would only take turns
for _name in [name for name in os.environ if name.startswith("NEXTGPT_")]:
    del os.environ[_name]

import numpy as np  # noqa: E402 (reads the number of threads once, here)
import pytest  # noqa: E402

from tests.chromium import NAMES, find_chromium  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--phone", action="store_true", help="browser tests have the screen of a phone, not a desk's")


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, saying what is missing."""
    missing = {}
    if any(item.get_closest_marker("gpu") for item in items) and not _has_cuda():
        missing["gpu"] = "needs a CUDA device; torch sees none"
    if not find_chromium():
        missing["browser"] = f"needs a Chromium on the PATH, as one of {', '.join(NAMES)}"
    for item in items:
        for mark, reason in missing.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """Path of the Chromium for playwright's ``launch(executable_path=…)``; skips where there is none."""
    return find_chromium() or pytest.skip(f"needs a Chromium on the PATH, as one of {', '.join(NAMES)}")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a socket in the file system
        return True
    host = str(address[0])
    return host in ("localhost", "::1", "0.0.0.0", "::") or host.startswith("127.")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connections to other machines fail, whatever a library would like to fetch."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(original: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise RuntimeError(f"tests run offline, but something connects to {address!r}")
            return original(self, address)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked(connect))
        patch.setattr(socket.socket, "connect_ex", checked(connect_ex))
        yield


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test sees the same random numbers, in whatever order tests run."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
