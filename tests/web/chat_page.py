"""What a person does on the page and waits for, by Playwright."""

from playwright.sync_api import expect

PATIENCE = 60_000
"""Milliseconds; the machine may be busy with other things."""
expect.set_options(timeout=PATIENCE)


def settled(page):
    """The page has been told its talks."""
    expect(page.locator("#composer textarea")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#talk-list nav.talks")).to_be_attached(timeout=PATIENCE)


def send(page, text):
    page.locator("#composer textarea").fill(text)
    page.keyboard.press("Enter")


def await_end(page):
    expect(page.locator("#stop")).to_be_hidden(timeout=PATIENCE)


def show_talks(page):
    """Opens the list of talks where it is put away, as on a phone."""
    if not page.locator("#new-talk").is_visible() or page.locator("#new-talk").bounding_box()["x"] < 0:
        page.locator("#talks .toggle-button").click()
        page.wait_for_function("document.querySelector('#new-talk').getBoundingClientRect().x >= 0")
