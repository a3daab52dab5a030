"""One served page over a scripted pipeline, and browsers that show it."""

import pytest
from chat_page import PATIENCE, expect, settled
from playwright.sync_api import sync_playwright

from nextgpt_chat.web import PageOptions, launch
from tests.chromium import FLAGS
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


@pytest.fixture(scope="module")
def browser(chromium_executable):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_executable, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def screen(request):
    """The viewport of tests that do not choose one."""
    phone = request.config.getoption("phone")
    return {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}


@pytest.fixture
def open_page(browser, screen):
    """A function that opens an address as a new person would; what the page logs as an error fails the test."""
    contexts, errors = [], []

    def opened(address, *size):
        viewport = dict(zip(screen, size, strict=True)) if size else screen
        context = browser.new_context(viewport=viewport)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        settled(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(open_page, served, screen):
    page = open_page(served.page.local_url)
    expect(page.locator("#header .head.ready")).to_contain_text("fake-checkpoint", timeout=PATIENCE)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]  # nothing sticks out


@pytest.fixture
def page_with_devices(browser, chromium_executable, served, screen):
    """The page in a browser that has a camera and a microphone, both made up, and lets pages have them."""
    flags = [*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    equipped = browser.browser_type.launch(executable_path=chromium_executable, headless=True, args=flags)
    page = equipped.new_page(viewport=screen)
    page.goto(served.page.local_url)
    settled(page)
    yield page
    equipped.close()


@pytest.fixture
def slow(pipeline, monkeypatch):
    """Makes the pipeline slow enough for a person, or a busy machine, to see what goes on."""
    monkeypatch.setattr(pipeline, "steps", 12)
    monkeypatch.setattr(pipeline, "pause", 0.1)
