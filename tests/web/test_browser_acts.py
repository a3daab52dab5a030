"""In a real browser: what can be done with a message and with a medium that was made."""

import PIL.Image
import pytest
from chat_page import PATIENCE, await_end, expect, send, show_talks

pytestmark = pytest.mark.browser


def test_an_earlier_message_is_changed_where_it_stands(page):
    words = "one *two*\n\n<b>three</b>"
    page.locator("#composer textarea").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("You said: one", timeout=PATIENCE)
    await_end(page)
    send(page, "second")
    expect(page.locator("#chatbot")).to_contain_text("You said: second", timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot button.act[name=edit]").first.click()
    editor = page.locator("form.edit textarea")
    expect(editor).to_have_value(words)
    editor.press("Escape")
    expect(editor).to_have_count(0)
    page.locator("#chatbot button.act[name=edit]").first.click()
    editor.fill("other words")
    editor.press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("You said: other words", timeout=PATIENCE)
    await_end(page)
    expect(page.locator("#chatbot")).not_to_contain_text("second")
    expect(page.locator("#chatbot [data-testid=user]", has_text="other words")).to_have_count(1)


def edit(page, words):
    page.locator("#chatbot button.act[name=edit]").last.click()
    page.locator("form.edit textarea").fill(words)
    page.locator("form.edit textarea").press("Enter")


def test_changed_words_that_get_no_reply_go_beside_what_is_in_the_composer(page, slow, tmp_path):
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible()
    await_end(page)
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    page.locator("#composer input[type=file]").first.set_input_files(str(tmp_path / "mine.png"))
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1)
    edit(page, "draw a car and many words")
    expect(page.locator("#chatbot")).to_contain_text("word2")
    page.locator("#composer textarea").fill("written meanwhile")
    edit(page, "draw it again")
    expect(page.locator(".toast-body").first).to_contain_text("still being made")
    expect(page.locator("#composer textarea")).to_have_value("draw it again\nwritten meanwhile")
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1)
    page.locator("#stop").click()
    await_end(page)


@pytest.mark.parametrize("held", ["button.act[name=edit]", "figure.image summary"])
def test_what_moves_while_the_mouse_is_down_on_it_is_pressed_all_the_same(page, held):
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible()
    await_end(page)
    page.locator(f"#chatbot {held}").hover()
    page.mouse.down()
    page.locator(f"#chatbot {held}").evaluate("one => { one.style.position = 'relative'; one.style.top = '-60px'; }")
    page.mouse.up()
    expect(page.locator("#chatbot form.edit, #chatbot figure.image details[open]")).to_have_count(1)


def test_a_mouse_that_leaves_what_it_was_down_on_presses_nothing(page):
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello")
    await_end(page)
    button = page.locator("#chatbot button.act[name=edit]")
    button.hover()
    page.mouse.down()
    box = button.bounding_box()
    page.mouse.move(box["x"] - 90, box["y"] + 40)
    page.mouse.up()
    assert page.locator("#chatbot form.edit").count() == 0


def test_changed_words_that_cannot_be_delivered_go_into_the_composer(page):
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello")
    await_end(page)
    page.route("**/queue/join?*", lambda route: route.fulfill(status=503, json={"detail": "full"}))
    edit(page, "other words")
    expect(page.locator("#composer textarea")).to_have_value("other words")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello")


def test_a_reply_can_be_rated_and_its_picture_used_while_another_one_is_made(page, slow):
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image img")).to_be_visible()
    await_end(page)
    page.locator("#chatbot figure.image summary").click()
    page.locator("#chatbot figure.image").get_by_role("button", name="another seed").click()
    expect(page.locator("#chatbot .making")).to_be_visible()
    page.locator("#chatbot button.act[name=like]").click()
    page.locator("#chatbot button.act[name=use]").first.click()
    expect(page.locator("#chatbot button.act.chosen")).to_have_text("Good")
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1)
    expect(page.locator("#stop")).to_be_visible()
    page.locator("#stop").click()
    await_end(page)


def test_a_picture_says_how_it_was_made_and_is_made_again_beside_itself(page, screen):
    send(page, "draw a car")
    figure = page.locator("#chatbot figure.image")
    expect(figure).to_have_count(1, timeout=PATIENCE)
    await_end(page)
    figure.locator("summary").click()
    expect(figure.locator("dl")).to_contain_text("Steps4Guidance3.0Conditioned bysignal")
    figure.get_by_role("button", name="from the caption").click()
    expect(page.locator("#chatbot figure.variant")).to_contain_text("made from the caption", timeout=PATIENCE)
    await_end(page)
    first, second = (page.locator("#chatbot figure.image").nth(i).bounding_box() for i in range(2))
    if screen["width"] > 1000:  # side by side, where there is room
        assert abs(first["y"] - second["y"]) < 4 and second["x"] > first["x"]
    else:
        assert abs(first["x"] - second["x"]) < 4 and second["y"] > first["y"]
    page.reload()
    expect(page.locator("#chatbot figure.variant")).to_have_count(1, timeout=PATIENCE)


def test_a_picture_goes_into_the_next_message_beside_what_is_written(page):
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image")).to_have_count(1, timeout=PATIENCE)
    await_end(page)
    page.locator("#composer textarea").fill("what is this?")
    page.locator("#chatbot button.act[name=use]").click()
    expect(page.locator("#composer .thumbnail-item img")).to_have_js_property("complete", True, timeout=PATIENCE)
    expect(page.locator("#composer textarea")).to_have_value("what is this?")
    page.locator("#composer textarea").press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("I got image.", timeout=PATIENCE)


def test_a_picture_goes_with_what_is_attached_into_a_message_of_another_talk(page, tmp_path):
    send(page, "draw a car")
    expect(page.locator("#chatbot figure.image")).to_have_count(1)
    await_end(page)
    PIL.Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    page.locator("#composer input[type=file]").first.set_input_files(str(tmp_path / "mine.png"))
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1)
    page.locator("#chatbot button.act[name=use]").click()
    expect(page.locator("#composer .thumbnail-item")).to_have_count(2)
    show_talks(page)
    page.locator("#new-talk").click()
    expect(page.locator("#chatbot figure.image")).to_have_count(0)
    page.locator("#composer textarea").press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("I got image, image.")
    alts = page.locator("#chatbot .user.message figure.image img")
    assert [alts.nth(at).get_attribute("alt") for at in range(2)] == ["mine.png", "a red car (image).png"]


def test_a_reply_is_rated_with_a_reason_that_is_there_after_a_reload(page):
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello", timeout=PATIENCE)
    await_end(page)
    page.locator("#chatbot button.act[name=dislike]").click()
    page.get_by_role("button", name="Untrue").click()
    page.locator("dialog .send").click()
    expect(page.locator("#chatbot button.act.chosen")).to_have_text("Bad", timeout=PATIENCE)
    page.reload()
    expect(page.locator("#chatbot .why")).to_have_text("Untrue", timeout=PATIENCE)
    page.locator("#chatbot button.act.chosen").click()
    expect(page.locator("#chatbot button.act.chosen")).to_have_count(0, timeout=PATIENCE)


def test_esc_stops_a_reply(page, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "pause", 0.1)
    send(page, "many words")
    expect(page.locator("#chatbot")).to_contain_text("word3", timeout=PATIENCE)
    page.keyboard.press("Escape")
    await_end(page)
    expect(page.locator("#chatbot")).to_contain_text("Stopped.")
    expect(page.locator("#chatbot")).not_to_contain_text("word199")


def test_forged_presses_change_nothing(page):
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello", timeout=PATIENCE)
    await_end(page)
    before = page.locator("#chatbot .message-content").all_inner_texts()
    forge = "(e, [name, value]) => { const b = e.cloneNode(); b.name = name; b.value = value; e.after(b); b.click(); }"
    for name, value in (("edit", "1"), ("edit", "-1"), ("again-seed", "../x"), ("again-eval", "x"), ("use", "x")):
        page.locator("#chatbot button.act[name=like]").first.evaluate(forge, [name, value])
        if name == "edit":
            page.locator("form.edit textarea").fill("forged")
            page.locator("form.edit textarea").press("Enter")
        expect(page.locator(".toast-body")).to_have_count(1, timeout=PATIENCE)  # says that there is no such thing
        page.locator(".toast-close").click()
        expect(page.locator(".toast-body")).to_have_count(0, timeout=PATIENCE)
        await_end(page)
    expect(page.locator("#chatbot")).not_to_contain_text("forged")
    page.reload()
    expect(page.locator("#chatbot")).to_contain_text("You said: hello", timeout=PATIENCE)
    assert page.locator("#chatbot .message-content").all_inner_texts() == before


def test_a_photo_from_the_camera_is_attached(page_with_devices):
    page = page_with_devices
    page.locator("button.camera").click(timeout=PATIENCE)
    page.get_by_role("button", name="Take the photo").click(timeout=PATIENCE)
    thumbnail = page.locator("#composer .thumbnail-item, #composer .thumbnails img")
    expect(thumbnail).not_to_have_count(0, timeout=PATIENCE)
    expect(page.locator("dialog")).to_have_count(0)
    send(page, "what is this?")
    expect(page.locator("#chatbot")).to_contain_text("I got image.", timeout=PATIENCE)


def test_without_a_camera_there_is_no_button(page):
    expect(page.locator("button.camera")).to_be_hidden()
