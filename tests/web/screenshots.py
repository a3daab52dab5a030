"""Pictures of the page's main states, for the README and to be looked at: `make screenshots`.

python tests/web/screenshots.py [--checkpoint checkpoints/nextgpt-mini] [--out docs/screenshots]

Without ``--checkpoint`` a scripted pipeline answers. What a state needs is waited for: one that cannot be reached
is an error, not a wrong picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from fake_pipeline import FakePipeline  # noqa: E402
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402
from test_browser import await_end, send  # noqa: E402

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
    send(page, "draw a red car, and let me hear the sound of it")
    expect(page.locator("#chatbot .making progress").first).to_be_visible(timeout=PATIENCE)
    shot("making")
    expect(page.locator("#chatbot figure.image")).to_have_count(1, timeout=PATIENCE)
    await_end(page)
    shot("reply")
    page.locator("#chatbot figure.image summary").first.click()
    shot("details")
    page.locator("#chatbot button.act[name='again-conditioning']").first.click()
    expect(page.locator("#chatbot figure.variant")).to_have_count(1, timeout=PATIENCE)
    await_end(page)
    shot("compared")
    page.locator("#chatbot button.act[name=edit]").first.click()
    shot("editing")
    page.locator("form.edit textarea").press("Escape")
    page.locator("#settings .toggle-button").click()
    page.wait_for_timeout(600)
    shot("settings")


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
                browser.close()
        finally:
            app.close()
    print(f"{len(list(arguments.out.glob('*.png')))} pictures in {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
