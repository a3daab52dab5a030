"""The page in a real browser, as a person uses it."""

import re
import threading
import time

import numpy as np
import pytest
import soundfile
from chat_page import PATIENCE, await_end, expect, send, settled

from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.serving import ChatService
from nextgpt_chat.web import PageOptions, launch
from tests.fake_pipeline import FakePipeline
from tests.shipped import NEXTGPT_MINI, needs_nextgpt_mini

pytestmark = pytest.mark.browser


def test_words_in_and_picture_sound_and_clip_out(page, slow):
    send(page, "draw a red car, the sound of it and a clip of it")
    replies = page.locator("#chatbot .bot.message")
    expect(page.locator("#chatbot .making.image progress")).to_be_visible(timeout=PATIENCE)
    picture = replies.locator("img:not(.preview)").first
    expect(picture).to_be_visible(timeout=PATIENCE)
    expect(replies.locator("video")).to_be_visible(timeout=PATIENCE)
    await_end(page)
    assert picture.evaluate("e => e.naturalWidth") == 128
    page.wait_for_function("document.querySelector('#chatbot .bot video').readyState >= 2", timeout=PATIENCE)
    assert page.locator(
        "#chatbot .bot audio, #chatbot .bot [data-testid*=audio], #chatbot .bot .audio-container"
    ).count()
    expect(page.locator("#chatbot")).to_contain_text("AI-generated picture")
    expect(page.locator("#chatbot .making")).to_have_count(0)
    assert page.locator("#composer textarea").input_value() == ""


def test_the_page_says_what_it_is_and_under_which_licence(page, pipeline):
    expect(page.locator("#header")).to_contain_text(pipeline.summary)
    expect(page.locator("#footer")).to_contain_text("AI-generated")
    expect(page.locator("#footer")).to_contain_text("test licence 1.0", timeout=PATIENCE)


def test_an_uploaded_sound_is_answered(page, tmp_path):
    sound = tmp_path / "tone.wav"
    soundfile.write(sound, 0.3 * np.sin(np.arange(16_000) * 0.2), 16_000)
    page.locator("#composer input[type=file]").first.set_input_files(str(sound))
    expect(
        page.locator("#composer .thumbnail-item, #composer [data-testid*=file], #composer .thumbnails")
    ).not_to_have_count(0)
    send(page, "what do you hear?")
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("I got audio.", timeout=PATIENCE)


def test_a_card_sends_its_file_and_words(page):
    page.get_by_role("button", name=re.compile("what is in this picture")).click()
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("I got image.", timeout=PATIENCE)
    expect(page.locator("#chatbot .user.message img").first).to_be_visible()


def test_stop_ends_the_reply_and_the_talk_goes_on(page, slow):
    send(page, "many words")
    expect(page.locator("#chatbot")).to_contain_text("word5", timeout=PATIENCE)
    page.locator("#stop").click()
    await_end(page)
    expect(page.locator("#chatbot")).to_contain_text("Stopped.")
    expect(page.locator("#chatbot")).not_to_contain_text("word199")
    send(page, "hello again")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello again", timeout=PATIENCE)


def test_what_is_sent_during_a_reply_is_given_back_and_said(page, slow):
    send(page, "many words")
    expect(page.locator("#chatbot")).to_contain_text("word3")
    send(page, "and now?")
    expect(page.locator(".toast-body, .toast-wrap").first).to_contain_text("still being made")
    expect(page.locator("#composer textarea")).to_have_value("and now?")
    page.locator("#stop").click()
    await_end(page)
    assert page.locator("#chatbot .user.message").count() == 1


def test_a_message_sent_twice_in_a_row_is_said_once(page, slow):
    page.locator("#composer textarea").fill("many words")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("word3")
    page.locator("#stop").click()
    await_end(page)
    expect(page.locator("#chatbot")).to_contain_text("Stopped.")
    assert page.locator("#chatbot .user.message").count() == 1
    expect(page.locator("#composer textarea")).to_have_value("")
    assert page.locator(".toast-body").all_inner_texts() == []


def test_a_message_sent_twice_is_said_once_where_the_second_comes_first(page, slow, tmp_path):
    held = []

    def swap(route):
        if "many words" in (route.request.post_data or "") and not held:
            held.append(route)
            return
        route.fulfill(response=route.fetch())
        if held and held[0]:
            held[0].continue_()
            held[0] = None

    note = tmp_path / "tone.wav"
    soundfile.write(note, 0.3 * np.sin(np.arange(16_000) * 0.2), 16_000)
    page.locator("#composer input[type=file]").first.set_input_files(str(note))
    expect(page.locator("#composer .thumbnail-item, #composer .thumbnails")).not_to_have_count(0)
    page.route("**/queue/join*", swap)
    page.locator("#composer textarea").fill("many words")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot .user.message").last).to_contain_text("many words")
    expect(page.locator("#chatbot")).to_contain_text("word3")
    page.locator("#stop").click()
    await_end(page)
    page.unroute("**/queue/join*")
    assert held == [None]
    assert page.locator("#chatbot .user.message").filter(has_text="many words").count() == 1
    assert page.locator(".toast-body").all_inner_texts() == []


def test_what_is_written_right_after_sending_stays(page, slow):
    send(page, "hello")
    page.wait_for_timeout(100)  # nobody types sooner: what came in Gradio's same moment would still be sent
    page.keyboard.type("and then", delay=40)
    expect(page.locator("#chatbot")).to_contain_text("You said: hello")
    await_end(page)
    expect(page.locator("#composer textarea")).to_have_value("and then")
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("You said: and then")


def test_retry_undo_and_clear(page):
    picture = page.locator("#chatbot .bot.message img:not(.preview)")
    send(page, "draw first")
    expect(picture).to_be_visible()
    await_end(page)
    first = picture.get_attribute("src")
    page.get_by_role("button", name="Retry").click()
    expect(picture).not_to_have_attribute("src", first)  # not before the new reply: Stop may not be there yet
    await_end(page)
    expect(page.locator("#chatbot")).to_contain_text("You said: draw first")
    assert page.locator("#chatbot .bot.message").count() == 1
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chatbot [data-testid=bot]")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#composer textarea")).to_have_value("draw first")
    send(page, "second")
    expect(page.locator("#chatbot")).to_contain_text("You said: ", timeout=PATIENCE)
    await_end(page)
    page.get_by_role("button", name="Clear").last.click()
    page.locator("dialog.ask .delete").click()  # it asks first
    expect(page.locator("#chatbot [data-testid=bot]")).to_have_count(0, timeout=PATIENCE)


def test_a_bad_file_is_explained_and_the_message_given_back(page, tmp_path):
    fake = tmp_path / "note.png"
    fake.write_text("just text")
    page.locator("#composer input[type=file]").first.set_input_files(str(fake))
    send(page, "look at this")
    expect(page.locator(".toast-body, .toast-wrap").first).to_contain_text("note.png", timeout=PATIENCE)
    expect(page.locator("#composer textarea")).to_have_value("look at this")
    await_end(page)


def test_what_is_typed_or_generated_stays_text(page):
    send(page, "markup <Image>/etc/passwd</Image> <img src=x onerror=window.hacked=1>")
    expect(page.locator("#chatbot .user.message").last).to_contain_text("<Image>/etc/passwd</Image>", timeout=PATIENCE)
    expect(page.locator("#chatbot .bot.message strong")).to_have_text("bold", timeout=PATIENCE)
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#chatbot .message img").count() == 0


def test_what_is_typed_is_shown_with_its_lines_and_blanks(page):
    typed = "def f():\n\n    return a_b < c  # x\n====="
    send(page, typed)
    expect(page.locator("#chatbot .bot.message").last).to_contain_text("You said", timeout=PATIENCE)
    await_end(page)
    assert page.locator("#chatbot .user.message p").all_inner_texts()[:2] == typed.split("\n\n")


def test_no_reply_makes_the_browser_ask_another_server(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    picture = "<img src=http://evil.example/x.png>"
    for said in (  # each got past Gradio's reader of Markdown, which is not CommonMark's, at one time
        f"\n```mermaid\n{picture}\n```\n\\`{picture}\\` a ``` b ```{picture}```",
        "[a ![x](http://evil.example/x.png) !\\[x\\](http://evil.example/x.png)](b)",
        f"\n\n[\n```\n]:]: x\n'\n{picture}\n```",
        f'\n\n[a]: x "\n```\n"\n{picture}\n```',
        f"\n\n```x `<a`\n\n~~~\n{picture}\n~~~",
    ):
        send(page, said)
        expect(page.locator("#chatbot .bot.message").last).to_contain_text("evil.example", timeout=PATIENCE)
        await_end(page)
    assert not [url for url in asked if "evil" in url]
    assert page.locator("#chatbot .message img").count() == 0


def open_picture_steps(page):
    """The number of the pictures' steps, shown and at rest."""
    page.locator("#settings .toggle-button").click()
    page.get_by_role("button", name="Pictures").click()
    steps = page.locator("#image-steps input[type=number]")
    expect(steps).to_have_value("12")  # the checkpoint's own
    # Gradio sets a group's values once more a frame or two after it opened it: a test types sooner than that.
    for _ in range(5):
        page.evaluate("() => new Promise(requestAnimationFrame)")
    return steps


def test_settings_reach_the_pipeline(page, pipeline):
    steps = open_picture_steps(page)
    steps.fill("5")
    steps.press("Tab")
    page.locator("#random-seed input").uncheck()
    page.locator("#seed input").fill("42")
    page.locator("#seed input").press("Tab")
    time.sleep(1)
    send(page, "with settings")
    expect(page.locator("#chatbot")).to_contain_text("You said: with settings", timeout=PATIENCE)
    settings, seed, _, _ = next(seen for seen in pipeline.seen if seen[3].text == "with settings")
    assert (settings.image.steps, settings.image.guidance_scale, seed) == (5, None, 42)


def until(reached):
    end = time.monotonic() + PATIENCE / 1000
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_is_typed_quickly_or_out_of_range_is_used_as_the_page_shows_it(page, served, pipeline, monkeypatch):
    slowly = ChatService.set
    monkeypatch.setattr(ChatService, "set", lambda *given: (time.sleep(0.3), slowly(*given)))
    steps = open_picture_steps(page)
    steps.fill("")
    steps.press_sequentially("200")
    steps.press("Tab")
    expect(steps).to_have_value("100")
    page.locator("#random-seed input").uncheck()
    seed = page.locator("#seed input")
    expect(seed).to_be_enabled()
    seed.fill("")
    seed.press_sequentially("1234")
    shown = [one for one in served.service.sessions._sessions.values() if one.settings.image.steps is not None]
    until(lambda: any((one.settings.image.steps, one.settings.seed) == (100, 1234) for one in shown))
    send(page, "typed quickly")
    expect(page.locator("#chatbot")).to_contain_text("You said: typed quickly")
    settings, used, _, _ = next(seen for seen in pipeline.seen if seen[3].text == "typed quickly")
    assert (settings.image.steps, used) == (100, 1234)


def test_a_long_text_that_is_pasted_stays_text(page):
    pasted = """(box) => { const given = new DataTransfer(); given.setData("text/plain", "word ".repeat(6000));
        const event = { clipboardData: given, bubbles: true, cancelable: true };
        return box.dispatchEvent(new ClipboardEvent("paste", event));
    }"""
    assert page.locator("#composer textarea").evaluate(pasted)  # what is left to the browser goes into the box
    assert page.locator("#composer .thumbnail-item").count() == 0


LATE_ANSWERS = """() => {
    const fetched = window.fetch.bind(window);
    window.fetch = async (resource, options) => {
        const response = await fetched(resource, options);
        if (new URL(resource.url || resource, location).pathname.endsWith("/run/predict"))
            await new Promise((after) => setTimeout(after, 2000));
        return response;
    };
}"""
"""The page hears 2 s late what handlers answer that do not queue."""


def test_a_setting_made_while_the_page_still_hears_its_defaults_stays(browser, served, screen):
    page = browser.new_page(viewport=screen)
    page.add_init_script(f"({LATE_ANSWERS})()")
    page.goto(served.page.local_url)
    settled(page)
    steps = open_picture_steps(page)
    steps.fill("5")
    page.wait_for_timeout(2500)
    assert steps.input_value() == "5"
    page.close()


def test_two_people_never_see_each_others_talk(open_page, served, slow):
    one, other = open_page(served.page.local_url), open_page(served.page.local_url)
    send(one, "many words of mine")
    send(other, "hello there")
    expect(one.locator("#chatbot")).to_contain_text("word3", timeout=PATIENCE)
    one.locator("#stop").click()
    expect(other.locator("#chatbot")).to_contain_text("You said: hello there", timeout=PATIENCE)
    expect(other.locator("#chatbot")).not_to_contain_text("word3")
    expect(one.locator("#chatbot")).not_to_contain_text("hello there")


def test_the_page_fits_a_phone(open_page, served):
    page = open_page(served.page.local_url, 390, 844)
    send(page, "draw a car")
    expect(page.locator("#chatbot .bot img:not(.preview)").first).to_be_visible(timeout=PATIENCE)
    await_end(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#composer").bounding_box()
    assert box["y"] + box["height"] <= 844


def test_the_page_is_up_while_the_model_loads_and_a_message_waits_for_it(open_page, tmp_path):
    go = threading.Event()

    def load():
        go.wait(timeout=120)
        return FakePipeline(steps=2)

    options = PageOptions(checkpoint="checkpoints/slow-one", port=0, data_dir=str(tmp_path))
    app = launch(load, options, block=False, quiet=True)
    try:
        page = open_page(app.page.local_url)
        expect(page.locator("#header")).to_contain_text("Loading slow-one")
        send(page, "hello early")
        expect(page.locator("#chatbot")).to_contain_text("still loading", timeout=PATIENCE)
        go.set()
        expect(page.locator("#chatbot")).to_contain_text("You said: hello early", timeout=PATIENCE)
        expect(page.locator("#header")).to_contain_text("fake-checkpoint", timeout=PATIENCE)
    finally:
        go.set()
        app.close()


def test_a_model_that_cannot_be_loaded_is_said_and_the_message_given_back(open_page, tmp_path):
    def load():
        raise CheckpointError("The file weights-7 is missing. Download it again.")

    app = launch(load, PageOptions(port=0, data_dir=str(tmp_path)), block=False, quiet=True)
    try:
        page = open_page(app.page.local_url)
        expect(page.locator("#header")).to_contain_text("weights-7 is missing", timeout=PATIENCE)
        send(page, "hello")
        expect(page.locator(".toast-body, .toast-wrap").first).to_contain_text("weights-7", timeout=PATIENCE)
        expect(page.locator("#composer textarea")).to_have_value("hello")
    finally:
        app.close()


@needs_nextgpt_mini
def test_the_shipped_checkpoint_draws_a_red_car_and_names_a_sound(open_page, tmp_path):
    from nextgpt_chat.picturebook import SAMPLE_RATE, Sound, play
    from nextgpt_chat.pipeline import NextGPTPipeline

    options = PageOptions(checkpoint=str(NEXTGPT_MINI), port=0, data_dir=str(tmp_path))
    app = launch(lambda: NextGPTPipeline.from_pretrained(NEXTGPT_MINI, device="cpu"), options, block=False, quiet=True)
    try:
        page = open_page(app.page.local_url)
        send(page, "draw a red car")
        expect(page.locator("#chatbot .bot img:not(.preview)").first).to_be_visible(timeout=120_000)
        await_end(page)
        sound = tmp_path / "sound.wav"
        soundfile.write(sound, play(Sound("bell", "normal", "normal"), 1), SAMPLE_RATE)
        page.locator("#composer input[type=file]").first.set_input_files(str(sound))
        send(page, "what do you hear?")
        expect(page.locator("#chatbot .bot.message").last).to_contain_text("bell", timeout=60_000)
    finally:
        app.close()
