"""/healthz and /readyz: while the model loads, when it is there, when it failed; and beside Gradio's own addresses."""

import threading

import gradio as gr
import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.serving import Runner
from nextgpt_chat.web.health import health_routes
from tests.fake_pipeline import FakePipeline


def asked(runner):
    return TestClient(Starlette(routes=health_routes(lambda: runner.status)))


@pytest.fixture
def runners():
    """Makes runners, and closes them."""
    made = []

    def make(load):
        made.append(Runner(load))
        made[-1].start()
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def wait_until_loaded(runner):
    """A turn's end says that loading has ended, well or not."""
    from nextgpt_chat import Conversation

    conversation = Conversation()
    conversation.add_user("hello")
    assert runner.submit(conversation).ended.wait(timeout=10)


def test_the_process_is_up_and_the_model_is_not_until_it_is_loaded(runners):
    go_on = threading.Event()

    def load():
        go_on.wait(timeout=10)
        return FakePipeline()

    runner = runners(load)
    client = asked(runner)
    assert client.get("/healthz").status_code == 200
    loading = client.get("/readyz")
    assert loading.status_code == 503 and loading.json()["status"] == "loading"
    assert loading.headers["retry-after"] == "5"
    go_on.set()
    wait_until_loaded(runner)
    ready = client.get("/readyz")
    assert ready.status_code == 200 and ready.json()["status"] == "ready"
    assert ready.json()["seconds"] == runner.status.seconds.__round__(1)


@pytest.mark.parametrize(
    "error", [CheckpointError("/secret/folder/nextgpt.json is missing."), RuntimeError("/secret/folder")]
)
def test_a_failed_load_is_said_in_words_without_a_path(runners, error):
    def load():
        raise error

    runner = runners(load)
    wait_until_loaded(runner)
    client = asked(runner)
    assert client.get("/healthz").json() == {"status": "ok"}
    failed = client.get("/readyz")
    assert failed.status_code == 503 and failed.json()["status"] == "failed"
    assert "log" in failed.json()["message"]
    assert "secret" not in failed.text and "/" not in failed.json()["message"]
    assert "retry-after" not in failed.headers


def test_answers_are_never_cached_and_head_works(runners):
    client = asked(runners(FakePipeline))
    for address in ("/healthz", "/readyz"):
        assert client.get(address).headers["cache-control"] == "no-store"
        assert client.head(address).content == b""
        assert client.post(address).status_code == 405


def test_gradio_serves_the_routes_without_a_login(runners):
    """As :func:`nextgpt_chat.web.launch` passes them on."""
    runner = runners(FakePipeline)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Markdown("a page")
    page.launch(
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        auth=("someone", "a password"),
        app_kwargs={"routes": health_routes(lambda: runner.status)},
    )
    try:
        assert httpx.get(f"{page.local_url}healthz").json() == {"status": "ok"}
        assert httpx.get(f"{page.local_url}readyz").json()["status"] in ("loading", "ready")
        assert httpx.get(f"{page.local_url}config").status_code == 401
    finally:
        page.close(verbose=False)
