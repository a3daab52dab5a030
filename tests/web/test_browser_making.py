"""In a real browser: what is seen while a reply is made, and what can be done with it."""

import re
import threading

import pytest
from chat_page import PATIENCE, await_end, expect, send

from nextgpt_chat.web.handlers import status

pytestmark = pytest.mark.browser

CARET = """() => {
    const last = [...document.querySelectorAll("#chatbot .bot .prose > p")].at(-1);
    return last ? getComputedStyle(last, "::after").display : "";
}"""


def test_words_come_with_a_caret_and_a_medium_says_what_is_done_and_how_far_it_is(page, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "steps", 60)
    monkeypatch.setattr(pipeline, "pause", 0.1)
    send(page, "draw a red car for me as well as you can and take all the time that you need for it")
    expect(page.locator("#chatbot")).to_contain_text("You said: draw a")
    assert page.evaluate(CARET) == "inline-block"
    making = page.locator("#chatbot .making.image")
    expect(making).to_contain_text(re.compile(r"Painting a picture · step \d+ of 60 · \d+ s"))
    expect(making).to_contain_text("a red car (image)")
    expect(making.locator("img.preview")).to_be_visible()
    early = re.search(r"step \d+ of", making.inner_text()).group()
    expect(making).not_to_contain_text(early)
    assert page.evaluate(CARET) != "inline-block"
    page.locator("#stop").click()
    await_end(page)
    expect(page.locator("#chatbot")).to_contain_text("Stopped.")
    expect(making).to_have_count(0)
    assert page.evaluate(CARET) != "inline-block"


def test_what_to_reply_with_is_chosen_below_the_message(page, pipeline):
    choice = page.get_by_role("group", name="Reply with")
    expect(choice.get_by_role("radio")).to_have_count(5)
    choice.get_by_label("Sound", exact=True).check()
    send(page, "something of yours")
    expect(page.locator("#chatbot figure.audio audio")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    assert pipeline.seen[-1][2] == {"text", "audio"}
    choice.get_by_label("Auto").check()
    send(page, "and now words")
    expect(page.locator("#chatbot")).to_contain_text("You said: and now words")
    await_end(page)
    assert pipeline.seen[-1][2] is None


def test_a_choice_made_before_the_page_knows_its_checkpoint_is_not_undone(open_page, served, monkeypatch):
    told, defaults_of = threading.Event(), status.defaults_of

    def late(pipeline):
        assert told.wait(PATIENCE / 1000)
        return defaults_of(pipeline)

    monkeypatch.setattr(status, "defaults_of", late)
    page = open_page(served.page.local_url)
    choice = page.get_by_role("group", name="Reply with")
    choice.get_by_label("Sound", exact=True).check()
    told.set()
    page.locator("#settings .toggle-button").click()
    page.locator("#settings-text .label-wrap").click()
    expect(page.locator("#text-temperature input[type=number]")).to_have_value("0.4", timeout=PATIENCE)
    expect(choice.get_by_label("Sound", exact=True)).to_be_checked()


def test_a_medium_has_its_facts_and_its_file_and_is_made_again_in_every_way(page, pipeline):
    send(page, "draw a red car")
    picture = page.locator("#chatbot figure.image").first
    expect(picture.locator("img")).to_have_attribute("alt", "a red car (image)", timeout=PATIENCE)
    await_end(page)
    expect(picture).to_contain_text("AI-generated picture · a red car (image) · seed 7")
    with page.expect_download() as saving:
        picture.get_by_text("Save", exact=True).click()
    assert saving.value.suggested_filename.endswith(".png")
    picture.locator("summary").click()
    for name, value in (("Seed", "7"), ("Steps", "4"), ("Guidance", "3.0"), ("Made in seconds", "1.2")):
        expect(picture.locator(f"dt:text-is('{name}') + dd")).to_have_text(value)
    ways = {"another seed": None, "twice the steps": 8, "my settings now": None}
    for count, (way, steps) in enumerate(ways.items(), 1):
        if not page.locator("#chatbot figure.image").first.get_by_role("button", name=way).is_visible():
            page.locator("#chatbot figure.image summary").first.click()
        page.locator("#chatbot figure.image").first.get_by_role("button", name=way).click()
        expect(page.locator("#chatbot figure.variant")).to_have_count(count, timeout=PATIENCE)
        await_end(page)
        settings, seed, _, first = pipeline.seen[-1]
        assert first.kind == "image" and (seed != 7) is (way == "another seed")
        assert steps is None or settings.image.steps == steps


def test_a_reply_is_compared_with_one_from_captions(page):
    send(page, "draw a red car with the sound of it")
    expect(page.locator("#chatbot figure.audio")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot .acts.rate summary").click()
    page.locator("#chatbot .acts.rate").get_by_role("button", name="the caption beside").click()
    expect(page.locator("#chatbot figure.variant")).to_have_count(2, timeout=PATIENCE)
    await_end(page)
    expect(page.locator("#chatbot figure.variant.image")).to_contain_text("made from the caption")
    expect(page.locator("#chatbot figure.variant.audio")).to_contain_text("made from the caption")
    assert page.locator("#chatbot figure").count() == 4


def test_a_good_reply_is_said_to_be_good(page):
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello", timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot button.act[name=like]").click()
    expect(page.locator("#chatbot button.act.chosen")).to_have_text("Good")
    page.reload()
    expect(page.locator("#chatbot button.act.chosen")).to_have_text("Good", timeout=PATIENCE)


def test_a_medium_that_fails_says_so_where_it_would_stand_and_the_talk_goes_on(page):
    send(page, "fail to draw and forget what was")
    expect(page.locator("#chatbot .failed")).to_have_text(
        "There was not enough memory for the image. Ask for it alone.", timeout=PATIENCE
    )
    await_end(page)
    expect(page.locator("#chatbot .note")).to_have_text("The oldest turns were left out.")
    expect(page.locator("#chatbot .making")).to_have_count(0)
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello", timeout=PATIENCE)


def test_keys_alone_write_lines_send_and_reach_every_control_in_order(page):
    box = page.locator("#composer textarea")
    expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(box).to_have_value("one\ntwo")
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot .user.message")).to_contain_text("two", timeout=PATIENCE)
    await_end(page)
    box.focus()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.closest('#composer, #camera, #reply-with, #settings')?.id")
        )
    assert "reply-with" in reached and reached.index("composer") < reached.index("reply-with")
