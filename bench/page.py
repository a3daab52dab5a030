"""How soon the page can be used, and what a long talk costs it. Needs requirements-dev.txt and a Chromium.

python bench/page.py [--repeats 5]

1. From the address to a box that can be written in: an empty Blocks page, and ours while its model loads.
2. A reply of 200 words in an empty talk and in one of 100 turns with 60 media: what a word costs in bytes over the
   network, how long an update takes to arrive (a scripted pipeline says a word every 20 ms).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import gradio as gr
import numpy as np
from _common import spread, table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from nextgpt_chat.content import Image, MediaPart, TextPart, Turn  # noqa: E402
from nextgpt_chat.web import PageOptions, launch  # noqa: E402
from tests.chromium import FLAGS, find_chromium  # noqa: E402
from tests.fake_pipeline import FakePipeline  # noqa: E402

PATIENCE = 120_000
TURNS, MEDIA, WORDS = 100, 60, 200


def seconds_to_box(browser: Browser, address: str, box: str) -> float:
    """From a browser without a cache to a box that can be written in."""
    context = browser.new_context()
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(box).wait_for(timeout=PATIENCE)
    page.locator(box).fill("hello", timeout=PATIENCE)
    taken = time.perf_counter() - began
    context.close()
    return taken


def opening(browser: Browser, repeats: int) -> None:
    with gr.Blocks(analytics_enabled=False) as empty:
        gr.Textbox(elem_id="box")
    _, empty_at, _ = empty.launch(prevent_thread_lock=True, quiet=True, server_port=None)
    loaded = threading.Event()
    with tempfile.TemporaryDirectory() as data:
        app = launch(
            lambda: loaded.wait(3600) and FakePipeline(), PageOptions(port=0, data_dir=data), block=False, quiet=True
        )
        pages = {
            "an empty Blocks page": (empty_at, "#box textarea, #box input"),
            "ours, its model loading": (app.page.local_url, "#composer textarea"),
        }
        taken: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(repeats):
            for name, (address, box) in pages.items():
                taken[name].append(seconds_to_box(browser, address, box))
        loaded.set()
        app.close()
    empty.close(verbose=False)
    later = median(b - a for a, b in zip(*taken.values(), strict=True))
    table(["until a box can be written in", "seconds"], [[name, spread(s)] for name, s in taken.items()])
    print(f"Ours takes {later:.2f} s longer (median of {repeats} pairs).\n")


def long_talk(store: Any, owner: str) -> str:
    talk_id = store.create(owner)
    turns = []
    for number in range(TURNS):
        role = "assistant" if number % 2 else "user"
        parts: list[Any] = [TextPart(f"Turn {number}: " + "some words that were said " * 6)]
        if number < MEDIA:
            pixels = np.random.default_rng(number).integers(0, 255, (128, 128, 3), dtype=np.uint8)
            parts.append(MediaPart(Image(pixels), f"picture {number}", generated=role == "assistant"))
        turns.append(Turn(role, tuple(parts)))
    store.replace_from(owner, talk_id, 0, tuple(turns))
    return talk_id


def reply_cost(page: Page, talk: str) -> list[str]:
    """Bytes and seconds of one reply: until its first word, until its last, and after."""
    received, streams = [0], set()
    session = page.context.new_cdp_session(page)

    def answered(event: dict[str, Any]) -> None:
        if "/queue/data" in event["response"]["url"]:  # not the media that come into view
            streams.add(event["requestId"])

    def came(event: dict[str, Any]) -> None:
        received[0] += event["dataLength"] if event["requestId"] in streams else 0

    session.on("Network.responseReceived", answered)
    session.on("Network.dataReceived", came)
    session.send("Network.enable")
    expect(page.locator("#composer textarea")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1500)
    page.locator("#composer textarea").fill("many words, please")
    before, began = received[0], time.perf_counter()
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("word0 ", timeout=PATIENCE)
    first, at_first = time.perf_counter() - began, received[0]
    expect(page.locator("#chatbot")).to_contain_text(f"word{WORDS - 1}", timeout=PATIENCE)
    whole, at_last = time.perf_counter() - began, received[0]
    expect(page.locator("#stop")).to_be_hidden(timeout=PATIENCE)
    sizes = [at_first - before, (at_last - at_first) / WORDS, received[0] - at_last]
    return [talk, f"{sizes[0] / 1000:.0f}", f"{sizes[1]:.0f}", f"{sizes[2] / 1000:.0f}", f"{first:.2f}", f"{whole:.2f}"]


def talks(browser: Browser) -> None:
    with tempfile.TemporaryDirectory() as data:
        app = launch(FakePipeline(pause=0.02), PageOptions(port=0, data_dir=data), block=False, quiet=True)
        context = browser.new_context()
        page = context.new_page()
        page.goto(app.page.local_url)
        cookie = next(c for c in context.cookies() if c["name"] == "nextgpt_browser")
        talk_id = long_talk(app.store, app.store.owner_of(cookie["value"]))
        rows = [reply_cost(page, "empty")]
        page = context.new_page()
        began = time.perf_counter()
        page.goto(f"{app.page.local_url}?talk={talk_id}")
        expect(page.locator("#chatbot")).to_contain_text(f"Turn {TURNS - 1}", timeout=PATIENCE)
        opened = time.perf_counter() - began
        rows.append(reply_cost(page, f"{TURNS} turns, {MEDIA} media"))
        context.close()
        app.close()
    head = ["talk", "until the first word, kB", "bytes a word", "at the end, kB"]
    table([*head, "first word, s", f"all {WORDS} words, s"], rows)
    print(f"The long talk was on the screen {opened:.2f} s after its address was opened.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("No Chromium is installed (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        opening(browser, repeats)
        talks(browser)
        browser.close()


if __name__ == "__main__":
    main()
