"""Pictures of the page's main states, for the README and to be looked at: `make screenshots`.

python tests/web/screenshots.py [--checkpoint checkpoints/nextgpt-mini] [--out docs/screenshots]

Without ``--checkpoint`` a scripted pipeline answers. What a state needs is waited for: one that cannot be reached
is an error, not a wrong picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from chat_page import await_end, send  # noqa: E402
from fake_pipeline import FakePipeline  # noqa: E402
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from nextgpt_chat.web import PageOptions, launch  # noqa: E402
from tests.chromium import FLAGS, find_chromium  # noqa: E402

SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
PATIENCE = 180_000


def loader(checkpoint: str | None) -> Any:
    if checkpoint is None:
        return FakePipeline(steps=12, pause=0.15)

    def load() -> Any:
        from nextgpt_chat import NextGPTPipeline

        return NextGPTPipeline.from_pretrained(checkpoint)

    return load


def take(page: Page, out: Path, size: str, theme: str) -> None:
    """Goes through the states of a talk."""

    def shot(name: str) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=str(out / f"{size}-{theme}-{name}.png"))

    page.set_default_timeout(PATIENCE)
    shot("empty")
    send(page, "draw a red car and let me hear it")
    expect(page.locator("#chatbot .making progress").first).to_be_visible(timeout=PATIENCE)
    shot("making")
    expect(page.locator("#chatbot figure.image")).to_have_count(1, timeout=PATIENCE)
    await_end(page)
    shot("reply")
    page.locator("#chatbot figure.image summary").first.click()
    shot("details")
    page.locator("#chatbot figure.image summary").first.click()
    page.locator("#chatbot .acts.rate summary").click()
    page.locator("#chatbot button.act[name='compare-conditioning']").click()
    expect(page.locator("#chatbot figure.variant")).to_have_count(2, timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot figure.variant").first.scroll_into_view_if_needed()
    shot("compared")
    page.locator("#chatbot button.act[name=edit]").first.click()
    shot("editing")
    page.locator("form.edit textarea").press("Escape")
    page.locator("#settings .toggle-button").click()
    page.wait_for_timeout(600)
    shot("settings")


def take_troubles(browser: Browser, out: Path, size: str, data: str) -> None:
    """What is seen while the model loads, in the queue, after a stop and with a bad file, in German too."""
    loaded = threading.Event()
    pipeline = FakePipeline(steps=30, pause=0.2)

    def load() -> FakePipeline:
        loaded.wait(PATIENCE / 1000)
        return pipeline

    width, height = SIZES[size]
    app = launch(load, PageOptions(port=0, data_dir=data), block=False, quiet=True)

    def opened(language: str = "en") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, locale=language)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(app.page.local_url)
        expect(page.locator("#header .head")).to_be_visible()
        return page

    def shot(page: Page, name: str) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=str(out / f"{size}-light-{name}.png"))

    try:
        first, second = opened(), opened("de")
        send(first, "draw a red car")
        expect(first.locator("#chatbot")).to_contain_text("still loading")
        shot(first, "loading")
        loaded.set()
        expect(first.locator("#chatbot .making")).to_be_visible()
        send(second, "hello")
        expect(second.locator("#chatbot")).to_contain_text("Bitte warten")
        shot(second, "waiting-german")
        first.locator("#stop").click()
        await_end(first)
        shot(first, "stopped")
        bad = Path(data, "photo.png")
        bad.write_text("no picture", encoding="utf-8")
        first.locator("#composer input[type=file]").first.set_input_files(str(bad))
        send(first, "what is this?")
        expect(first.locator(".toast-body")).to_contain_text("photo.png")
        shot(first, "bad-file")
        for page in (first, second):
            page.context.close()
    finally:
        loaded.set()
        app.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    arguments = parser.parse_args(argv)
    chromium = find_chromium()
    if chromium is None:
        print("No Chromium is installed (Debian: apt-get install chromium).", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        app = launch(loader(arguments.checkpoint), PageOptions(port=0, data_dir=data), block=False, quiet=True)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
                for size, (width, height) in SIZES.items():
                    for theme in ("light", "dark"):
                        context = browser.new_context(
                            viewport={"width": width, "height": height}, color_scheme=theme, device_scale_factor=1
                        )
                        page = context.new_page()
                        page.goto(f"{app.page.local_url}?__theme={theme}")
                        expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
                        take(page, arguments.out, size, theme)
                        context.close()
                    with tempfile.TemporaryDirectory() as other:
                        take_troubles(browser, arguments.out, size, other)
                browser.close()
        finally:
            app.close()
    print(f"{len(list(arguments.out.glob('*.png')))} pictures in {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
