"""In a real browser: the server is killed in the middle of a reply, comes back, and the talk goes on."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from chat_page import PATIENCE, await_end, expect, send

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import sys
from nextgpt_chat.web import PageOptions, launch
from tests.fake_pipeline import FakePipeline
launch(FakePipeline(steps=2, pause=0.05), PageOptions(port=int(sys.argv[1]), data_dir=sys.argv[2]), quiet=True)
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the server as a process of its own, at the same address with the same folder each time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, running = f"http://127.0.0.1:{port}", []

    def started():
        command = [sys.executable, "-c", SERVER, str(port), str(tmp_path)]
        running.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}))
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/readyz", timeout=5).close()
                return running[-1], address
            except (urllib.error.URLError, OSError):
                assert running[-1].poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    yield started
    for process in running:
        process.kill()
        process.wait()


def test_a_killed_servers_talk_shows_what_had_been_shown_and_goes_on(start, open_page):
    server, address = start()
    page = open_page(address)
    send(page, "draw a red car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    send(page, "many words, please")
    expect(page.locator("#chatbot")).to_contain_text("word30", timeout=PATIENCE)
    shown = page.locator("#chatbot .bot.message").last.inner_text()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    start()
    page.reload()
    expect(page.locator("#chatbot")).to_contain_text("many words, please", timeout=PATIENCE)
    kept = page.locator("#chatbot .bot.message").last.inner_text()
    assert re.findall(r"word\d+", kept)[: len(re.findall(r"word\d+", shown))] == re.findall(r"word\d+", shown)
    assert "word30" in kept and "Stopped." in kept
    page.wait_for_function("document.querySelector('#chatbot figure.image img').naturalWidth === 128")
    send(page, "are you there?")
    expect(page.locator("#chatbot")).to_contain_text("You said: are you there?", timeout=PATIENCE)
    await_end(page)
