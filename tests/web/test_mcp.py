"""The page as a server of the Model Context Protocol, asked by that protocol's own client."""

import asyncio
import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import soundfile
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.serving import ChatService, Runner
from nextgpt_chat.web import PageOptions, launch
from nextgpt_chat.web.handlers import programs
from tests.fake_pipeline import FakePipeline


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    options = PageOptions(port=0, data_dir=str(tmp_path_factory.mktemp("data")), mcp=True)
    app = launch(FakePipeline(steps=1), options, block=False, quiet=True)
    yield app
    app.close()


@pytest.fixture
def address(app):
    return f"{app.page.local_url}gradio_api/mcp/"


@pytest.fixture
def served_talks(app):
    """A function that gives the turns of every open talk."""
    sessions = app.service.sessions
    return lambda: [session.conversation.turns for session in sessions._sessions.values() if len(session.conversation)]


def wav():
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(16_000) * 0.2), 16_000, format="WAV")
    return file.getvalue()


def ask(address, use):
    async def run():
        async with streamablehttp_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await use(session)

    return asyncio.run(asyncio.wait_for(run(), 60))


async def call(session, text, **file):
    (tool,) = (await session.list_tools()).tools
    return await session.call_tool(tool.name, {"text": text, **file})


def test_one_tool_says_what_it_does_and_what_it_wants(address):
    (tool,) = ask(address, lambda session: session.list_tools()).tools
    assert tool.name.endswith("ask") and "a picture, a sound or a clip" in tool.description
    assert set(tool.inputSchema["properties"]) == {"text", "file"}
    assert "what is asked for" in str(tool.inputSchema)


def test_a_message_is_answered_with_words_and_a_picture(address):
    result = ask(address, lambda session: call(session, "draw a red car"))
    assert not result.isError
    assert "You said: draw a red car" in " ".join(part.text for part in result.content if part.type == "text")
    (picture,) = [part for part in result.content if part.type == "image"]
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).size == (128, 128)


def test_a_sound_is_handed_over_and_calls_know_nothing_of_each_other(address, served_talks):
    sound = "data:audio/wav;base64," + base64.b64encode(wav()).decode()
    result = ask(address, lambda session: call(session, "what do you hear?", file=sound))
    assert "I got audio." in result.content[0].text
    assert [len(turns) for turns in served_talks()] == [2] * len(served_talks())


def test_what_is_wrong_is_said_in_the_result(address):
    result = ask(address, lambda session: call(session, ""))
    assert result.isError and "Traceback" not in result.content[0].text


def test_calls_that_are_refused_cut_nobody_short_and_take_nobodys_files(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "KEPT_ANSWERS", 2)
    pipeline = FakePipeline(steps=1)
    runner = Runner(lambda: pipeline, capacity=1)
    runner.start()
    service = ChatService(runner, tmp_path)
    asked = programs.Programs(service)
    _, picture, *_ = asked.ask("draw a red car")
    with ThreadPoolExecutor() as pool:
        long = pool.submit(asked.ask, "many words")
        while not pipeline.running:
            time.sleep(0.01)
        for _ in range(4):
            with pytest.raises(gr.Error, match="busy"):
                asked.ask("hello")
        assert len(long.result(timeout=20)[0].split()) == 200
    assert Path(picture).exists() and len(service.sessions) == 2
    asked.ask("hello")
    assert not Path(picture).exists() and len(service.sessions) == 2
    service.close()


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NextGPTError, match=r"requirements-mcp\.txt"):
        launch(FakePipeline(), PageOptions(port=0, mcp=True), block=False)
