"""Our own addresses: media, exports, imports and shared talks belong to the browser whose talks they are."""

import io
import zipfile

import httpx
import numpy as np
import pytest

from nextgpt_chat.content import Image, MediaPart, TextPart, Turn
from nextgpt_chat.web import PageOptions, launch
from nextgpt_chat.web.identity import COOKIE
from tests.fake_pipeline import FakePipeline


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    options = PageOptions(port=0, data_dir=str(tmp_path_factory.mktemp("data")), allow_sharing=True)
    app = launch(FakePipeline(steps=2, pause=0), options, block=False, quiet=True)
    yield app
    app.close()


@pytest.fixture
def browsers(app):
    """Two browsers that have opened the page once."""
    with (
        httpx.Client(base_url=app.page.local_url) as one,
        httpx.Client(base_url=app.page.local_url) as other,
    ):
        for browser in (one, other):
            browser.get("/")
        yield one, other


@pytest.fixture
def talk(app, browsers):
    """(id, id of its picture) of a talk of the first browser's."""
    owner = app.store.owner_of(browsers[0].cookies[COOKIE])
    talk_id = app.store.create(owner)
    part = MediaPart(Image(np.full((9, 12, 3), 40, np.uint8)), "<b>a car</b>", generated=True, details={"seed": 3})
    said = Turn("assistant", (TextPart("Here <script>it</script> is."), part))
    app.store.replace_from(owner, talk_id, 0, (Turn("user", (TextPart("Draw a car"),)), said))
    return talk_id, part.media.sha256


def test_a_browser_gets_an_id_that_no_script_reads_and_keeps_it(app):
    with httpx.Client(base_url=app.page.local_url) as browser:
        first = browser.get("/").headers["set-cookie"]
        given = browser.cookies[COOKIE]
        browser.get("/")
        assert browser.cookies[COOKIE] == given and "HttpOnly" in first and "SameSite=Lax" in first
    with httpx.Client(base_url=app.page.local_url, cookies={COOKIE: "x' OR 1=1"}) as forger:
        assert "x' OR 1=1" not in forger.get("/").headers["set-cookie"]


def test_a_picture_is_shown_to_its_owner_only(browsers, talk, app):
    one, other = browsers
    _, picture = talk
    shown = one.get(f"/media/{picture}")
    assert shown.status_code == 200 and shown.headers["content-type"] == "image/png"
    assert "inline" in shown.headers["content-disposition"] and "private" in shown.headers["cache-control"]
    assert (
        shown.headers["x-content-type-options"] == "nosniff" and "sandbox" in shown.headers["content-security-policy"]
    )
    assert "attachment" in one.get(f"/media/{picture}?download").headers["content-disposition"]
    refused = [other.get(f"/media/{picture}"), httpx.get(f"{app.page.local_url}media/{picture}")]
    assert {answer.status_code for answer in refused} == {404}


@pytest.mark.parametrize("name", ["0" * 64, "..%2Fsecret", "..%2F..%2Ftalks.sqlite3", "secret", "%00"])
def test_what_is_no_medium_of_the_browsers_is_not_there(browsers, talk, name):
    assert browsers[0].get(f"/media/{name}").status_code == 404
    assert browsers[0].get(f"/media/{'a' * 22}/{name}").status_code == 404


@pytest.mark.parametrize("suffix", ["zip", "html"])
def test_an_export_is_its_owners_only(browsers, talk, suffix):
    one, other = browsers
    assert other.get(f"/talks/{talk[0]}.{suffix}").status_code == 404
    saved = one.get(f"/talks/{talk[0]}.{suffix}")
    assert saved.status_code == 200 and "attachment" in saved.headers["content-disposition"]
    if suffix == "zip":
        assert f"media/{talk[1]}.png" in zipfile.ZipFile(io.BytesIO(saved.content)).namelist()
    else:
        assert "&lt;script&gt;it" in saved.text and "<script" not in saved.text and "data:image/png" in saved.text


def test_pages_of_talks_speak_the_language_of_who_asks_for_them(browsers, talk, app):
    one, other = browsers
    owner = app.store.owner_of(one.cookies[COOKIE])
    for who, at in ((one, f"/talks/{talk[0]}.html"), (other, f"/shared/{app.store.share(owner, talk[0])}")):
        english, german = (who.get(at, headers={"Accept-Language": tag}).text for tag in ("en", "de-AT"))
        assert '<html lang="en">' in english and "AI-generated" in english and "KI-erzeugt" not in english
        assert '<html lang="de">' in german and "KI-erzeugt" in german and "AI-generated" not in german
        assert "Draw a car" in german


def test_a_saved_talk_is_opened_again_by_another_browser_as_its_own(browsers, talk, app):
    one, other = browsers
    saved = one.get(f"/talks/{talk[0]}.zip").content
    answer = other.post("/talks/import?name=car.zip", content=saved, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 200
    assert other.get(f"/media/{talk[1]}").status_code == 200
    owner = app.store.owner_of(other.cookies[COOKIE])
    assert app.store.load(owner, answer.json()["id"]).turns[1].text == "Here <script>it</script> is."


def test_what_is_no_saved_talk_is_named_in_words(browsers, app):
    one, _ = browsers
    zipped = {"Content-Type": "application/zip"}
    bad = one.post("/talks/import?name=..%2Fholiday.zip", content=b"PK nothing", headers=zipped)
    assert bad.status_code == 400 and "holiday.zip" in bad.json()["error"] and "/" not in bad.json()["error"]
    assert one.post("/talks/import", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    nobody = httpx.post(f"{app.page.local_url}talks/import", content=b"x", headers=zipped)
    assert nobody.status_code == 403 and "cookies" in nobody.json()["error"]
    german = one.post("/talks/import", content=b"x", headers={"Content-Type": "text/plain", "Accept-Language": "de-DE"})
    assert "ZIP-Datei" in german.json()["error"]


def test_a_shared_talk_is_read_by_anyone_with_its_link_until_it_is_taken_back(browsers, talk, app):
    owner = app.store.owner_of(browsers[0].cookies[COOKIE])
    token = app.store.share(owner, talk[0])
    assert len(token) >= 20
    with httpx.Client(base_url=app.page.local_url) as stranger:
        page = stranger.get(f"/shared/{token}")
        assert page.status_code == 200 and "Draw a car" in page.text and "noindex" in page.headers["x-robots-tag"]
        assert "<script" not in page.text and "&lt;b&gt;a car" in page.text
        assert stranger.get(f"/shared/{token}/{talk[1]}").status_code == 200
        assert stranger.get(f"/media/{talk[1]}").status_code == 404
        assert stranger.get(f"/shared/{'a' * len(token)}").status_code == 404
        app.store.unshare(owner, talk[0])
        assert stranger.get(f"/shared/{token}").status_code == 404
        assert stranger.get(f"/shared/{token}/{talk[1]}").status_code == 404


def test_without_leave_no_talk_is_shared(tmp_path):
    app = launch(FakePipeline(), PageOptions(port=0, data_dir=str(tmp_path)), block=False, quiet=True)
    try:
        with httpx.Client(base_url=app.page.local_url) as browser:
            browser.get("/")
            owner = app.store.owner_of(browser.cookies[COOKIE])
            talk_id = app.store.create(owner)
            app.store.replace_from(owner, talk_id, 0, (Turn("user", (TextPart("hello"),)),))
            with pytest.raises(Exception, match="Sharing is switched off"):
                app.store.share(owner, talk_id)
    finally:
        app.close()


def press(app, browser, handler, **data):
    """Posts a press of a button in the list of talks, past the page; returns what the page would be told."""
    index = next(i for i, fn in app.page.fns.items() if getattr(fn.fn, "__name__", "") == handler)
    body = {"data": [None], "fn_index": index, "session_hash": f"forged-{handler}", "event_data": data}
    assert browser.post("/gradio_api/queue/join", json=body).status_code == 200
    with browser.stream(
        "GET", "/gradio_api/queue/data", params={"session_hash": f"forged-{handler}"}, timeout=20
    ) as told:
        return "".join(told.iter_lines())


@pytest.mark.parametrize("handler", ["pick", "rename", "remove", "share"])
def test_a_press_that_names_anothers_talk_does_nothing(app, browsers, talk, handler):
    owner, (talk_id, picture) = app.store.owner_of(browsers[0].cookies[COOKIE]), talk
    before = app.store.info(owner, talk_id)
    told = press(app, browsers[1], handler, id=talk_id, title="mine now")
    assert "Draw a car" not in told and picture not in told
    assert app.store.info(owner, talk_id) == before and len(app.store.load(owner, talk_id)) == 2


def test_its_owners_own_press_opens_it(app, browsers, talk):
    told = press(app, browsers[0], "pick", id=talk[0])
    assert "Draw a car" in told and talk[1] in told
