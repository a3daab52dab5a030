"""In a real browser: the ways into the composer, the place in the queue, copying, and the same on a phone."""

import numpy as np
import PIL.Image
import pytest
import soundfile
from chat_page import PATIENCE, await_end, expect, send

pytestmark = pytest.mark.browser

GIVE = """([kind, target]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 30 });
    canvas.getContext("2d").fillRect(0, 0, 40, 30);
    canvas.toBlob((blob) => {
        const given = new DataTransfer(), where = document.querySelector(target);
        given.items.add(new File([blob], "given.png", { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true })
            : new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true });
        where.dispatchEvent(event);
    }, "image/png");
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped_into_the_composer(page, kind):
    page.locator("#composer textarea").focus()
    page.evaluate(GIVE, [kind, "#composer textarea"])
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1, timeout=PATIENCE)
    send(page, "what is it?")
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("I got image.", timeout=PATIENCE)


def test_several_files_go_with_one_message(page, tmp_path):
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    soundfile.write(tmp_path / "b.wav", 0.2 * np.sin(np.arange(8000) * 0.3), 16_000)
    page.locator("#composer input[type=file]").first.set_input_files([str(tmp_path / "a.png"), str(tmp_path / "b.wav")])
    expect(page.locator("#composer .thumbnail-item")).to_have_count(2, timeout=PATIENCE)
    send(page, "and these?")
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("I got image, audio.", timeout=PATIENCE)
    expect(page.locator("#chatbot .user.message figure.image")).to_be_visible()
    expect(page.locator("#chatbot .user.message figure.audio audio")).to_be_visible()


def test_who_waits_is_told_how_many_are_before(open_page, served, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "pause", 0.1)
    first, second = open_page(served.page.local_url), open_page(served.page.local_url)
    send(first, "many words of the first")
    expect(first.locator("#chatbot")).to_contain_text("word2", timeout=PATIENCE)
    send(second, "hello, I am second")
    expect(second.locator("#chatbot")).to_contain_text("Waiting: one reply is made before yours", timeout=PATIENCE)
    first.locator("#stop").click()
    expect(second.locator("#chatbot")).to_contain_text("You said: hello, I am second", timeout=PATIENCE)


def test_a_reply_is_copied_as_it_is_read(browser, served, screen):
    context = browser.new_context(viewport=screen, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(served.page.local_url)
    expect(page.locator("#header .head.ready")).to_be_visible()
    send(page, "2 * 3 * 4 is #1")
    expect(page.locator("#chatbot")).to_contain_text("You said: 2 * 3 * 4 is #1")
    await_end(page)
    page.get_by_role("button", name="Copy").last.click()
    page.wait_for_function(
        "navigator.clipboard.readText().then((text) => text.startsWith('You said: 2 * 3 * 4 is #1'))"
    )
    context.close()


def test_on_a_phone_a_picture_is_made_used_and_the_talks_are_in_reach(open_page, served):
    page = open_page(served.page.local_url, 360, 740)
    send(page, "draw a red car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot button.act[name=use]").click()
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1, timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#talks .toggle-button").click()
    expect(page.locator("#talk-list li.talk")).to_contain_text("draw a red car")
    page.locator("#new-talk").click()
    expect(page.locator("#chatbot figure.image")).to_have_count(0)


def test_on_a_very_wide_screen_lines_stay_readable(open_page, served):
    page = open_page(served.page.local_url, 3840, 2160)
    send(page, "many words, please")
    expect(page.locator("#chatbot")).to_contain_text("word199", timeout=PATIENCE)
    await_end(page)
    assert page.locator("#chatbot .bot.message").last.bounding_box()["width"] <= 1400


def test_a_recording_from_the_microphone_is_sent(page_with_devices):
    page = page_with_devices
    page.locator("#composer").get_by_role("button", name="Record audio").click()
    page.get_by_role("button", name="Start recording").click()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_role("button", name="Attach audio").click()
    expect(page.locator("#composer .thumbnail-item")).not_to_have_count(0, timeout=PATIENCE)
    send(page, "what do you hear?")
    expect(page.locator("#chatbot")).to_contain_text("I got audio.", timeout=PATIENCE)
