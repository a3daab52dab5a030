"""The browser of the browser tests, the screenshots and the page's measurements."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def find_chromium() -> str | None:
    """The installed Chromium or Chrome."""
    return next((path for path in map(shutil.which, NAMES) if path), None)
