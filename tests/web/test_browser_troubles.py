"""In a real browser: what a person sees when something goes wrong, and that nothing is lost by it."""

from urllib.parse import urlsplit

import pytest
from chat_page import PATIENCE, await_end, expect, send, settled
from lossy_line import LossyLine

from nextgpt_chat.web import PageOptions, launch
from tests.fake_pipeline import FakePipeline

pytestmark = pytest.mark.browser
TOAST = ".toast-body"


@pytest.fixture
def line(served):
    line = LossyLine(urlsplit(served.page.local_url).port)
    yield line
    line.close()


def test_a_lost_connection_is_said_and_the_reply_and_the_draft_come_back_with_it(
    line, browser, screen, pipeline, monkeypatch
):
    monkeypatch.setattr(pipeline, "pause", 0.05)
    page = browser.new_page(viewport=screen)
    page.goto(line.address)
    settled(page)
    send(page, "many words, please")
    expect(page.locator("#chatbot")).to_contain_text("word5")
    page.locator("#composer textarea").fill("not sent yet")
    line.cut()
    expect(page.locator(TOAST).first).to_contain_text("Connection to the server was lost")
    line.mend()
    expect(page.locator("#chatbot")).to_contain_text("word199")
    await_end(page)
    expect(page.locator("#chatbot .bot.message")).to_have_count(1)
    expect(page.locator("#composer textarea")).to_have_value("not sent yet")
    send(page, "are you there?")
    expect(page.locator("#chatbot")).to_contain_text("You said: are you there?")
    page.close()


def test_a_message_sent_on_a_line_that_is_dead_already_is_still_there_when_it_is_back(line, browser, screen):
    page, streams = browser.new_page(viewport=screen), []
    page.on("request", lambda request: streams.append(request) if "/queue/data" in request.url else None)
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: streams.remove(request) if request in streams else None)
    page.goto(line.address)
    settled(page)
    while streams:  # an idle page has none, and does not notice
        page.wait_for_timeout(100)
    line.cut()
    send(page, "did you get\nthis?")
    expect(page.locator(TOAST).first).to_contain_text("Connection to the server was lost")
    expect(page.locator("#composer textarea")).to_have_value("did you get\nthis?")
    with page.expect_navigation():
        line.mend()
    settled(page)
    expect(page.locator("#composer textarea")).to_have_value("did you get\nthis?")
    page.locator("#composer textarea").press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("You said: did you get")
    expect(page.locator("#composer textarea")).to_have_value("")
    page.close()


def test_a_message_that_nobody_has_answered_yet_survives_a_reload(page):
    held = []  # the first one: the server never says whether it has it
    page.route("**/queue/join?*", lambda route: route.continue_() if held else held.append(route))
    send(page, "still on its way")
    expect(page.locator("#composer textarea")).to_have_value("")
    page.locator("#composer textarea").fill("and more")
    page.reload()
    settled(page)
    expect(page.locator("#composer textarea")).to_have_value("still on its way\nand more")


def test_a_message_that_gradio_refuses_is_given_back_and_one_that_it_takes_is_not(page):
    def forged(route):
        told = route.request.post_data_json
        told["data"][0]["files"] = [{"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}]
        route.continue_(post_data=told)

    page.route("**/queue/join?*", forged)
    with page.expect_request("**/queue/join?*"):
        send(page, "what is this?")
    expect(page.locator("#composer textarea")).to_have_value("what is this?")
    page.unroute_all(behavior="ignoreErrors")
    page.locator("#composer textarea").press("Enter")
    expect(page.locator("#chatbot")).to_contain_text("You said: what is this?")
    expect(page.locator("#composer textarea")).to_have_value("")
    page.reload()
    settled(page)
    expect(page.locator("#composer textarea")).to_have_value("")


LATE_END = """() => {
    const fetched = window.fetch.bind(window);
    window.fetch = async (resource, options) => {
        const response = await fetched(resource, options);
        if (!new URL(resource.url || resource, location).pathname.endsWith("/queue/data")) return response;
        const late = new TransformStream({
            async transform(piece, page) {
                const end = new TextDecoder().decode(piece).includes("close_stream");
                if (end) await new Promise((after) => setTimeout(after, 1500));
                page.enqueue(piece);
            },
        });
        return new Response(response.body.pipeThrough(late), { headers: response.headers });
    };
}"""
"""The page hears 1.5 s late that the server has ended its event stream."""


def test_a_message_sent_while_gradio_ends_the_line_is_answered_and_the_line_ends_after_it(browser, served, screen):
    page = browser.new_page(viewport=screen)
    page.add_init_script(f"({LATE_END})()")
    lines = []
    page.on("request", lambda request: lines.append(request.url) if "/queue/data" in request.url else None)
    page.goto(served.page.local_url)
    settled(page)
    send(page, "hello")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello")
    await_end(page)
    page.wait_for_timeout(4000)
    before = len(lines)
    send(page, "hello again")
    expect(page.locator("#chatbot")).to_contain_text("You said: hello again")
    assert len(lines) > before, "the line had ended, and was opened for the message"
    page.close()


def test_a_file_that_is_too_large_is_refused_naming_the_limit(open_page, served, tmp_path):
    page = open_page(served.page.local_url)
    (tmp_path / "large.wav").write_bytes(b"RIFF" + bytes(2_500_000))
    page.locator("#composer textarea").fill("what is this?")
    page.locator("#composer input[type=file]").first.set_input_files(str(tmp_path / "large.wav"))
    expect(page.locator(TOAST).first).to_contain_text("exceed the maximum allowed size")
    expect(page.locator(TOAST).first).to_contain_text("large.wav")
    expect(page.locator("#composer textarea")).to_have_value("what is this?")


def test_two_people_see_neither_each_others_progress_nor_media(open_page, served, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "steps", 15)
    monkeypatch.setattr(pipeline, "pause", 0.1)
    one, other = open_page(served.page.local_url), open_page(served.page.local_url)
    send(one, "draw a red car")
    expect(one.locator("#chatbot .making")).to_be_visible()
    send(other, "hello")
    expect(other.locator("#chatbot")).to_contain_text("Waiting: one reply is made before yours")
    assert other.locator("#chatbot .making, #chatbot img").count() == 0
    picture = one.locator("#chatbot figure.image img")
    expect(picture).to_be_visible()
    at = picture.evaluate("picture => picture.src")
    expect(other.locator("#chatbot")).to_contain_text("You said: hello")
    assert other.locator("#chatbot figure").count() == 0
    fetched = "async (at) => (await fetch(at)).status"
    assert one.evaluate(fetched, at) == 200 and other.evaluate(fetched, at) == 404


IN_LANGUAGES = {
    "es-MX": {
        "new talk": "Nueva conversación",
        "too large": "Más grande que el máximo permitido de 1.9 Mb",
        "title": "Aviso",
        "empty": "nothing.wav está vacío (0 bytes).",
        "made": "Imagen generada por IA",
        "lost": "Se perdió la conexión con el servidor",
    },
    "zh-CN": {
        "new talk": "新对话",
        "too large": "超过允许的最大大小 1.9 Mb",
        "title": "警告",
        "empty": "nothing.wav 是空的（0 字节）。",
        "made": "AI 生成的图片",
        "lost": "与服务器的连接已断开",
    },
}


@pytest.mark.parametrize("language", IN_LANGUAGES)
def test_the_page_its_troubles_and_its_replies_speak_the_browsers_language(
    browser, screen, line, pipeline, monkeypatch, tmp_path, language
):
    said = IN_LANGUAGES[language]
    page = browser.new_page(locale=language, viewport=screen)
    page.goto(line.address)
    expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#new-talk")).to_have_text(said["new talk"])
    assert "__i18n__" not in page.locator("body").inner_text()
    (tmp_path / "large.wav").write_bytes(b"RIFF" + bytes(2_500_000))
    page.locator("#composer input[type=file]").first.set_input_files(str(tmp_path / "large.wav"))
    expect(page.locator(TOAST).first).to_contain_text(said["too large"])
    expect(page.locator(TOAST).first).to_contain_text("large.wav")
    page.reload()
    expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
    (tmp_path / "nothing.wav").touch()
    page.locator("#composer input[type=file]").first.set_input_files(str(tmp_path / "nothing.wav"))
    expect(page.locator("#composer .thumbnail-item")).to_have_count(1)
    send(page, "what is this?")
    expect(page.locator(TOAST).first).to_contain_text(said["empty"], timeout=PATIENCE)
    expect(page.locator(".toast-wrap")).to_contain_text(said["title"])
    page.reload()
    send(page, "draw a red car")
    expect(page.locator("#chatbot figure.image figcaption")).to_contain_text(said["made"])
    await_end(page)
    monkeypatch.setattr(pipeline, "pause", 0.05)
    send(page, "many words, please")
    expect(page.locator("#chatbot")).to_contain_text("word5")
    line.cut()
    expect(page.locator(TOAST).first).to_contain_text(said["lost"])
    page.close()


# Last, for an app that is launched later takes over the folder for uploads of this process.
def test_who_comes_to_a_full_line_keeps_the_message_and_is_told_when_to_try_again(open_page, tmp_path):
    options = PageOptions(port=0, data_dir=str(tmp_path), queue_size=1)
    app = launch(FakePipeline(steps=2, pause=0.05), options, block=False, quiet=True)
    try:
        first, second = open_page(app.page.local_url), open_page(app.page.local_url, 390, 844)
        send(first, "hello")
        expect(first.locator("#chatbot")).to_contain_text("You said: hello")
        await_end(first)
        send(first, "many words")
        expect(first.locator("#chatbot")).to_contain_text("word2")
        send(second, "may I?")
        expect(second.locator(TOAST).first).to_contain_text("The server is busy")
        expect(second.locator(TOAST).first).to_contain_text("in about 1 s")
        expect(second.locator("#composer textarea")).to_have_value("may I?")
        first.locator("#stop").click()
        await_end(first)
    finally:
        app.close()
