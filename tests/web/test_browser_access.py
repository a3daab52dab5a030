"""In a real browser: nothing on the page keeps people with disabilities out, as far as axe-core can tell."""

import pytest
from chat_page import PATIENCE, await_end, expect, send, show_talks

pytestmark = pytest.mark.browser
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


def troubles(page):
    """Serious and critical violations, each with the elements that it is about."""
    found = axe.Axe().run(page).response["violations"]
    return {
        f"{one['id']} at {node['html'][:160]}": node["failureSummary"]
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    }


def test_no_state_of_the_page_has_a_serious_violation(browser, served, pipeline, monkeypatch, screen):
    monkeypatch.setattr(pipeline, "pause", 0.3)
    theme = "light" if screen["width"] > 800 else "dark"
    page = browser.new_page(viewport=screen, color_scheme=theme)
    page.set_default_timeout(PATIENCE)
    page.goto(f"{served.page.local_url}?__theme={theme}")
    expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
    assert not troubles(page), "the empty talk"
    send(page, "draw a red car, the sound of it and a clip of it")
    expect(page.locator("#chatbot .making img.preview")).to_be_visible(timeout=PATIENCE)
    assert not troubles(page), "a picture in the making"
    send(page, "and what is this?")
    expect(page.locator(".toast-body").first).to_have_css("opacity", "1")  # what fades in has no contrast yet
    assert not troubles(page), "a trouble that is said"
    page.locator("#composer textarea").fill("")
    pipeline.pause = 0
    expect(page.locator("#chatbot figure.video")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot figure.image summary").click()
    assert not troubles(page), "a reply with media and its details"
    page.locator("#chatbot button.act[name=dislike]").click()
    expect(page.locator("dialog.ask")).to_be_visible()
    assert not troubles(page), "a question"
    page.locator("dialog.ask .keep").click()
    show_talks(page)
    page.locator("#talk-list li.talk summary").first.click()
    expect(page.locator("#talk-list .menu").first).to_be_visible()
    assert not troubles(page), "what can be done with a talk"
    page.locator("#talk-list li.talk summary").first.click()
    if theme == "dark":
        page.locator("#talks .toggle-button").click()
    page.locator("#chatbot button.act[name=edit]").first.click()
    page.locator("#settings .toggle-button").click()
    expect(page.locator("#random-seed")).to_be_visible(timeout=PATIENCE)
    assert not troubles(page), "a message being edited, and the settings"
    page.close()
