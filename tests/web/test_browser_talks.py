"""In a real browser: talks are listed, found, renamed, saved, opened again and deleted; each browser has its own."""

import re
import threading

import pytest
from chat_page import PATIENCE, await_end, expect, send, show_talks

from nextgpt_chat.web import PageOptions, launch
from tests.fake_pipeline import FakePipeline

pytestmark = pytest.mark.browser


def say(page, text):
    send(page, text)
    expect(page.locator("#chatbot")).to_contain_text(f"You said: {text}", timeout=PATIENCE)
    await_end(page)


def entry(page, title):
    return page.locator("#talk-list li.talk").filter(has_text=title)


def choose(page, title, action):
    show_talks(page)
    entry(page, title).locator("summary").click()
    entry(page, title).locator(action).click()


@pytest.fixture
def two_talks(page):
    say(page, "about apples")
    show_talks(page)
    page.locator("#new-talk").click()
    expect(page.locator("#chatbot")).not_to_contain_text("apples")
    say(page, "about bridges")
    show_talks(page)
    return page


def test_a_talk_is_named_by_its_first_message_and_opened_by_a_press(two_talks):
    page = two_talks
    expect(page.locator("#talk-list li.talk")).to_have_count(2)
    expect(page.locator("#talk-list li.opened")).to_contain_text("about bridges")
    entry(page, "about apples").locator(".pick").click()
    expect(page.locator("#chatbot")).to_contain_text("You said: about apples")
    expect(page.locator("#talk-list li.opened")).to_contain_text("about apples")
    page.reload()
    expect(page.locator("#chatbot")).to_contain_text("You said: about apples", timeout=PATIENCE)


def test_talks_are_found_by_their_words(two_talks):
    page = two_talks
    box = page.locator("#search-talks input")
    box.press_sequentially("bridges")
    expect(page.locator("#talk-list li.talk")).to_have_count(1)
    box.press_sequentially(" zebra")
    expect(page.locator("#talk-list")).to_contain_text("No talk has all of these words.")


def test_a_talk_is_renamed_where_it_stands(two_talks):
    page = two_talks
    choose(page, "about apples", "[data-do=rename]")
    page.locator("form.retitle input").fill("<i>fruit</i>")
    page.keyboard.press("Enter")
    expect(entry(page, "<i>fruit</i>")).to_have_count(1)
    assert page.locator("#talk-list i").count() == 0


@pytest.fixture
def moving(two_talks, pipeline, monkeypatch):
    """The page, and a function that makes its list change: the talk that stands first, "about apples", gives way to
    the other, whose picture is made again by then."""
    page = two_talks
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible()
    await_end(page)
    show_talks(page)
    entry(page, "about apples").locator(".pick").click()
    expect(page.locator("#chatbot")).to_contain_text("You said: about apples")
    say(page, "and pears")
    show_talks(page)
    expect(page.locator("#talk-list li.talk").first).to_contain_text("about apples")
    entry(page, "about bridges").locator(".pick").click()
    expect(page.locator("#chatbot")).to_contain_text("You said: about bridges")
    make, go = pipeline._make, threading.Event()

    def made(*given):
        events = make(*given)
        yield next(events)
        go.wait(PATIENCE / 1000)
        return (yield from events)

    monkeypatch.setattr(pipeline, "_make", made)
    page.locator("#chatbot figure.image summary").click()
    page.locator("#chatbot figure.image").get_by_role("button", name="another seed").click()
    expect(page.locator("#chatbot .making")).to_be_visible()
    show_talks(page)
    yield page, go.set
    go.set()


def test_a_title_that_is_being_written_stays_while_the_list_changes(moving):
    moving, move = moving
    choose(moving, "about apples", "[data-do=rename]")
    moving.keyboard.type("fruit")
    move()
    expect(moving.locator("#talk-list li.talk").first).to_contain_text("about bridges")
    await_end(moving)
    moving.keyboard.type(" and more")
    moving.keyboard.press("Enter")
    expect(entry(moving, "fruit and more")).to_have_count(1)
    expect(entry(moving, "about bridges")).to_have_count(1)


def test_the_talk_that_was_asked_about_is_deleted_whatever_stands_there_by_then(moving):
    moving, move = moving
    choose(moving, "about apples", "[data-do=remove]")
    expect(moving.locator("dialog.ask")).to_be_visible()
    move()
    expect(moving.locator("#talk-list li.talk").first).to_contain_text("about bridges")
    await_end(moving)
    moving.locator("dialog.ask .delete").click()
    expect(moving.locator("#talk-list li.talk")).to_have_count(1)
    expect(entry(moving, "about bridges")).to_have_count(1)


def test_a_talk_is_deleted_after_a_question(two_talks):
    page = two_talks
    choose(page, "about apples", "[data-do=remove]")
    expect(page.locator("dialog.ask")).to_contain_text("about apples")
    page.locator("dialog.ask .keep").click()
    expect(page.locator("#talk-list li.talk")).to_have_count(2)
    choose(page, "about apples", "[data-do=remove]")
    page.locator("dialog.ask .delete").click()
    expect(page.locator("#talk-list li.talk")).to_have_count(1)
    expect(page.locator("#chatbot")).to_contain_text("You said: about bridges")


def test_a_talk_is_saved_and_opened_again_by_another_browser(page, open_page, served, tmp_path):
    send(page, "draw a red car")
    expect(page.locator("#chatbot figure.image")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    show_talks(page)
    entry(page, "draw a red car").locator("summary").click()
    with page.expect_download() as saving:
        entry(page, "draw a red car").get_by_text("Save as ZIP").click()
    saving.value.save_as(tmp_path / "car.zip")
    entry(page, "draw a red car").locator("summary").click()
    with page.expect_download() as saving:
        entry(page, "draw a red car").get_by_text("Save as web page").click()
    saving.value.save_as(tmp_path / "car.html")
    assert "data:image/png" in (tmp_path / "car.html").read_text(encoding="utf-8")

    other = open_page(served.page.local_url)
    expect(other.locator("#talk-list")).to_contain_text("Your talks will be listed here.", timeout=PATIENCE)
    other.locator("#talk-list input[type=file]").set_input_files(str(tmp_path / "car.zip"))
    expect(other.locator("#chatbot figure.image img")).to_be_visible(timeout=PATIENCE)
    (tmp_path / "no.zip").write_bytes(b"nothing")
    other.locator("#talk-list input[type=file]").set_input_files(str(tmp_path / "no.zip"))
    expect(other.locator("#talk-list .said")).to_contain_text("no.zip", timeout=PATIENCE)
    expect(other.locator("#chatbot figure.image img")).to_be_visible()


def test_anothers_talk_is_not_opened_by_its_address(page, open_page, served):
    say(page, "my secret garden")
    talk = re.search(r"talk=([^&]+)", page.url).group(1)
    other = open_page(f"{served.page.local_url}?talk={talk}")
    expect(other.locator("#talk-list")).to_contain_text("Your talks will be listed here.", timeout=PATIENCE)
    expect(other.locator("#chatbot")).not_to_contain_text("secret garden")


def test_a_reload_in_the_middle_of_a_reply_shows_it_to_its_end(page, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "pause", 0.05)
    send(page, "many words, please")
    expect(page.locator("#chatbot")).to_contain_text("word10", timeout=PATIENCE)
    page.reload()
    expect(page.locator("#chatbot")).to_contain_text("word11", timeout=PATIENCE)
    expect(page.locator("#chatbot")).to_contain_text("word199", timeout=PATIENCE)
    await_end(page)
    assert page.locator("#chatbot .bot.message").count() == 1


def test_a_talk_is_shared_by_a_link_that_shows_it_to_strangers_until_it_is_taken_back(
    browser, open_page, screen, tmp_path
):
    options = PageOptions(port=0, data_dir=str(tmp_path), allow_sharing=True, keep_media_days=30)
    app = launch(FakePipeline(steps=2, pause=0), options, block=False, quiet=True)
    try:
        page = open_page(app.page.local_url)
        page.locator("#settings .toggle-button").click()
        expect(page.locator("#keeping")).to_contain_text("unused for 30 days are removed")
        page.locator("#settings .toggle-button").click()
        say(page, "for everyone to read")
        choose(page, "for everyone", "[data-do=publish]")
        expect(entry(page, "for everyone").locator(".badge")).to_have_text("Shared")
        entry(page, "for everyone").locator("summary").click()
        token = entry(page, "for everyone").locator("[data-do=link]").get_attribute("data-token")
        stranger = browser.new_page(viewport=screen)
        stranger.goto(f"{app.page.local_url}shared/{token}")
        expect(stranger.locator("body")).to_contain_text("You said: for everyone to read")
        assert stranger.locator("textarea, button").count() == 0  # to read only
        entry(page, "for everyone").locator("[data-do=unpublish]").click()
        expect(entry(page, "for everyone").locator(".badge")).to_have_count(0)
        assert stranger.goto(f"{app.page.local_url}shared/{token}").status == 404
        stranger.context.close()
    finally:
        app.close()
