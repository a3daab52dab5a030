"""In a real browser: the page speaks the browser's language, in every place."""

import pytest
from chat_page import PATIENCE, await_end, expect, send, settled

pytestmark = pytest.mark.browser


@pytest.fixture
def german(browser, served, screen):
    context = browser.new_context(locale="de-AT", viewport=screen)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(served.page.local_url)
    settled(page)
    expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
    yield page
    context.close()


def test_what_stands_on_the_page_is_german(german):
    expect(german.locator("html")).to_have_attribute("lang", "de")
    expect(german.locator("#new-talk")).to_have_text("Neues Gespräch")
    expect(german.locator("#composer textarea")).to_have_attribute(
        "placeholder", "Schreiben, anhängen, ablegen oder aufnehmen"
    )
    expect(german.locator("#chatbot")).to_contain_text("Was sollen wir machen?")
    expect(german.locator("#footer")).to_contain_text("KI-erzeugt")
    expect(german.locator("#talk-list")).to_contain_text("Gespeichertes Gespräch öffnen")
    german.locator("#settings .toggle-button").click()
    expect(german.get_by_role("group", name="Antworten mit")).to_contain_text("Klang")
    for said in ("Einstellungen", "Zufälliger Startwert", "Bedingung", "GB belegen"):
        expect(german.locator("#settings")).to_contain_text(said)
    assert "__i18n__" not in german.locator("body").inner_text()


def test_what_is_said_while_it_works_is_german_and_the_choice_of_a_reply_still_works(german, pipeline):
    german.locator("#reply-with").get_by_label("Bild", exact=True).check()
    send(german, "draw a red car")
    expect(german.locator("#chatbot figure.image figcaption")).to_contain_text("KI-erzeugtes Bild", timeout=PATIENCE)
    await_end(german)
    assert pipeline.seen[-1][2] == {"text", "image"}
    german.locator("#chatbot button.act[name=dislike]").first.click()
    expect(german.locator("dialog.ask h2")).to_have_text("Was stimmt an dieser Antwort nicht?")
    german.locator("dialog.ask .keep").click()
    german.locator("#chatbot button.act[name=edit]").first.click()
    expect(german.locator("form.edit .send")).to_have_text("Senden")
