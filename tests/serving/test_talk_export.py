"""Talks as files: the ZIP and back, refusals, and the HTML page on which everything that was said is inert."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest

from nextgpt_chat.content import Audio, Image, MediaPart, TextPart, Turn, Video
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import LimitError, MediaError, NextGPTError
from nextgpt_chat.media import read_media
from nextgpt_chat.serving import TalkStore, talk_export, talk_page
from tests.media_files import moving_square, tone

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;</style></title><!-- javascript:alert(1)"


@pytest.fixture
def store(tmp_path):
    store = TalkStore(tmp_path / "talks", min_free_bytes=0)
    yield store
    store.close()


@pytest.fixture
def owner(store):
    return store.owner_of("b" * 30)


def picture() -> Image:
    return Image(np.full((6, 8, 3), 9, np.uint8))


def a_talk(store: TalkStore, owner: str, *made: MediaPart) -> str:
    talk = store.create(owner)
    store.append_turn(owner, talk, Turn("user", (MediaPart(picture(), name="car.png"), TextPart("What is this?"))))
    store.append_turn(owner, talk, Turn("assistant", (TextPart("A car."), *made), cancelled=True))
    return talk


def sound_and_clip() -> tuple[MediaPart, MediaPart]:
    sound, clip = Audio(tone(seconds=0.1), 16_000), Video(moving_square(3), 4.0)
    return (
        MediaPart(clip, caption="a moving car", generated=True, details={"seed": 5}),
        MediaPart(sound, caption="a horn", generated=True),
    )


class Page(HTMLParser):
    """The elements of a page with their attributes, and its visible words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_talk_comes_back_from_its_zip_for_another_owner(store, owner, tmp_path):
    talk = a_talk(store, owner, *sound_and_clip())
    store.rename(owner, talk, "Cars & more")
    path = store.export_zip(owner, talk, tmp_path / "talk.zip")
    assert Conversation.load(path) == store.load(owner, talk)  # any program of ours reads it
    other = store.owner_of("c" * 30)
    imported = store.import_zip(other, path)
    assert imported != talk and store.info(other, imported).title == "Cars & more"
    assert store.load(other, imported).turns == store.load(owner, talk).turns
    assert store.media_path(other, picture().sha256).is_file()
    ids = [
        {part.id for turn in one.turns for part in turn.media}
        for one in (store.load(other, imported), store.load(owner, talk))
    ]
    assert not ids[0] & ids[1]


def test_a_conversation_saved_without_a_title_gets_one(store, owner, tmp_path):
    conversation = Conversation()
    conversation.add_user("Draw a boat")
    conversation.save(tmp_path / "saved.zip")
    assert store.info(owner, store.import_zip(owner, tmp_path / "saved.zip")).title == "Draw a boat"


def rewritten(source, target, change) -> None:
    """A copy of a ZIP with ``change(files)`` applied to its {name: bytes}."""
    with zipfile.ZipFile(source) as file:
        files = {name: file.read(name) for name in file.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)


def test_files_that_are_no_talks_or_reach_elsewhere_are_refused(store, owner, tmp_path):
    good = store.export_zip(owner, a_talk(store, owner), tmp_path / "good.zip")
    count = len(store.talks(owner))

    def traversal(files):
        document = json.loads(files["conversation.json"])
        document["turns"][0]["parts"][0]["sha256"] = "../../../secret"
        files["conversation.json"] = json.dumps(document).encode()

    def swapped(files):
        name = f"media/{picture().sha256}.png"
        files[name] = files[name][:-30]

    for change in (traversal, swapped, lambda files: files.pop("conversation.json")):
        rewritten(good, tmp_path / "bad.zip", change)
        with pytest.raises(MediaError):
            store.import_zip(owner, tmp_path / "bad.zip")
    (tmp_path / "text.zip").write_text("no zip at all")
    for name in ("text.zip", "missing.zip"):
        with pytest.raises(MediaError):
            store.import_zip(owner, tmp_path / name)
    assert len(store.talks(owner)) == count


def test_entries_elsewhere_are_never_unpacked_and_an_odd_title_is_left_out(store, owner, tmp_path):
    good = store.export_zip(owner, a_talk(store, owner), tmp_path / "good.zip")

    def change(files):
        files["../../escaped.txt"] = b"x"
        files["title.json"] = json.dumps({"title": ["not", "text"]}).encode()

    rewritten(good, tmp_path / "odd.zip", change)
    assert store.info(owner, store.import_zip(owner, tmp_path / "odd.zip")).title == "What is this?"
    assert not list(tmp_path.parent.rglob("escaped.txt"))


def test_bombs_and_talks_without_end_are_refused(store, owner, tmp_path, monkeypatch):
    good = store.export_zip(owner, a_talk(store, owner), tmp_path / "good.zip")
    rewritten(good, tmp_path / "words.zip", lambda files: files.update({"conversation.json": b" " * 5_000_000}))
    many = {f"media/{number}.png": b"" for number in range(600)}
    rewritten(good, tmp_path / "many.zip", lambda files: files.update(many))
    for name in ("words.zip", "many.zip"):
        assert (tmp_path / name).stat().st_size < 200_000
        with pytest.raises(LimitError, match="Export a shorter talk"):
            store.import_zip(owner, tmp_path / name)
    monkeypatch.setattr(talk_export, "_TURNS", 1)
    with pytest.raises(LimitError, match="2 turns"):
        store.import_zip(owner, good)
    monkeypatch.setattr(talk_export, "FILE_BYTES", 1000)
    with pytest.raises(LimitError, match="are taken"):
        store.import_zip(owner, good)


def test_the_page_needs_nothing_else_and_says_what_was_generated(store, owner):
    html = store.export_html(owner, a_talk(store, owner, *sound_and_clip()))
    page = Page(html)
    (image,), (video,), (audio,) = page.all("img"), page.all("video"), page.all("audio")
    assert image["alt"] == "car.png" and video["aria-label"] == "a moving car" and audio["aria-label"] == "a horn"
    sources = [image["src"], video["src"], audio["src"]]
    kinds = [read_media(base64.b64decode(source.partition("base64,")[2])).kind for source in sources]
    assert kinds == ["image", "video", "audio"]
    assert [source.partition(";")[0] for source in sources] == ["data:image/png", "data:video/mp4", "data:audio/wav"]
    assert not page.all("script") and not page.all("link") and not re.search(r"https?://", html)
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    labels = [attributes for attributes in page.all("span") if attributes.get("class") == "label"]
    assert len(labels) == 3  # the assistant's turn, its clip and its sound; not the user's picture
    for words in ("What is this?", "A car.", "a horn", "Seed: 5", "was stopped before its end", "AI-generated"):
        assert words in page.words


def test_what_the_page_tells_of_a_medium_is_in_its_language_and_nothing_internal(store, owner):
    details = {"seed": 5, "again_of": "9f3c0d", "steps": None}
    made = MediaPart(picture(), caption="a car", generated=True, details=details, took=1.26)
    say = talk_page.ENGLISH | {"details": "Einzelheiten", "seed": "Startwert", "took": "Gemacht in Sekunden"}
    html = store.export_html(owner, a_talk(store, owner, made), "de", say)
    assert "<summary>Einzelheiten</summary>Startwert: 5, Gemacht in Sekunden: 1.3<" in html


def test_what_was_said_is_inert_on_the_page(store, owner):
    talk = store.create(owner)
    parts = (
        TextPart(EVIL + "\x00\x1b\ud800"),
        MediaPart(picture(), name=EVIL),
        MediaPart(picture(), caption=EVIL, generated=True, details={"seed": EVIL, "steps": [EVIL]}),
    )
    store.append_turn(owner, talk, Turn("user", parts))
    store.rename(owner, talk, EVIL)
    html = store.export_html(owner, talk)
    page = Page(html)
    harmless = {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "article", "h2", "p", "figure", "img"),
        *("figcaption", "span", "details", "summary", "footer"),
    }
    assert {tag for tag, _ in page.elements} <= harmless
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert [image["alt"] for image in page.all("img")] == [EVIL, EVIL]
    assert page.words.count("<script>alert(1)</script>") >= 6  # it is all there, as words
    assert "\x00" not in html and "\x1b" not in html
    html.encode("utf-8")


def test_another_owner_cannot_export(store, owner, tmp_path):
    talk = a_talk(store, owner)
    stranger = store.owner_of("c" * 30)
    with pytest.raises(NextGPTError, match="not here"):
        store.export_zip(stranger, talk, tmp_path / "stolen.zip")
    with pytest.raises(NextGPTError, match="not here"):
        store.export_html(stranger, talk)
    assert not (tmp_path / "stolen.zip").exists()
