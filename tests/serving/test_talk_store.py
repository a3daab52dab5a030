"""Talks that are kept: owners, the list, what was said, replies as they stream, links."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from nextgpt_chat.content import (
    Failed,
    Finished,
    Image,
    MediaPart,
    MediaReady,
    Notice,
    Reply,
    TextDelta,
    TextPart,
    Turn,
)
from nextgpt_chat.errors import BusyError, LimitError, NextGPTError
from nextgpt_chat.serving import TalkStore


@pytest.fixture
def store(tmp_path):
    store = TalkStore(tmp_path / "talks", min_free_bytes=0, sharing=True)
    yield store
    store.close()


@pytest.fixture
def owner(store):
    return store.owner_of(store.new_browser_id())


@pytest.fixture
def stranger(store):
    return store.owner_of(store.new_browser_id())


def picture(colour: int = 200) -> Image:
    return Image(np.full((6, 8, 3), colour, np.uint8))


def user(text: str = "", *media: MediaPart) -> Turn:
    return Turn("user", (*media, *([TextPart(text)] if text else [])))


def said(text: str, *media: MediaPart) -> Turn:
    return Turn("assistant", (TextPart(text), *media))


def made(colour: int = 100) -> MediaPart:
    return MediaPart(picture(colour), caption="a red car", generated=True, details={"seed": 7, "steps": 20})


def files_of(store: TalkStore) -> set[str]:
    return {path.name for path in store._library._files.root.rglob("*.*")}


def test_a_talk_is_the_same_after_a_restart(tmp_path):
    turns = (user("Draw a car", MediaPart(picture(), name="car.png")), said("Here it is.", made()))
    with_id = TalkStore.new_browser_id()
    store = TalkStore(tmp_path)
    owner = store.owner_of(with_id)
    talk = store.create(owner)
    assert [store.append_turn(owner, talk, turn) for turn in turns] == [0, 1]
    store.close()

    again = TalkStore(tmp_path)
    assert again.owner_of(with_id) == owner
    loaded = again.load(owner, talk)
    assert loaded.turns == turns and loaded.id == talk
    assert [part.id for turn in loaded.turns for part in turn.media] == [p.id for turn in turns for p in turn.media]
    again.close()


def test_only_a_hash_of_the_browser_id_is_stored(tmp_path):
    store = TalkStore(tmp_path)
    browser = store.new_browser_id()
    store.append_turn(store.owner_of(browser), store.create(store.owner_of(browser)), user("hello there"))
    store.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hello there" in stored and browser.encode() not in stored


@pytest.mark.parametrize("browser_id", ["", "short", "x" * 200, "with spaces in it, and so on", None, "ü" * 30])
def test_an_id_that_others_could_guess_is_refused(store, browser_id):
    with pytest.raises(NextGPTError, match="Reload the page"):
        store.owner_of(browser_id)


def test_a_strangers_talk_and_one_that_never_was_are_told_alike(store, owner, stranger):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("secret plans", MediaPart(picture())))
    digest = picture().sha256
    actions = {
        "load": lambda who, which: store.load(who, which),
        "info": lambda who, which: store.info(who, which),
        "notices": lambda who, which: store.notices(who, which),
        "rename": lambda who, which: store.rename(who, which, "mine"),
        "delete": lambda who, which: store.delete(who, which),
        "append": lambda who, which: store.append_turn(who, which, user("x")),
        "replace": lambda who, which: store.replace_from(who, which, 0),
        "reply": lambda who, which: store.begin_reply(who, which),
        "share": lambda who, which: store.share(who, which),
        "unshare": lambda who, which: store.unshare(who, which),
        "zip": lambda who, which: store.export_zip(who, which, "never.zip"),
        "html": lambda who, which: store.export_html(who, which),
    }
    for name, action in actions.items():
        words = set()
        for which in (talk, "never-was", "", "\ud800", None, ["list"]):
            with pytest.raises(NextGPTError) as refusal:
                action(stranger, which)
            words.add(str(refusal.value))
        assert len(words) == 1 and "This talk is not here" in words.pop(), name
    refusals = set()
    for media_id in (digest, "0" * 64, "../secret", None):
        with pytest.raises(NextGPTError) as refusal:
            store.media_path(stranger, media_id)
        refusals.add(str(refusal.value))
    assert len(refusals) == 1
    assert store.talks(stranger) == [] and store.talks(stranger, "secret") == []
    assert store.load(owner, talk).turns[0].text == "secret plans"
    assert store.media_path(owner, digest).is_file()


def test_the_list_has_titles_from_the_first_message_and_the_last_used_first(store, owner):
    first, second, third = (store.create(owner) for _ in range(3))
    store.append_turn(owner, first, user("Draw  a\nred car " + "on a very long road " * 9))
    store.append_turn(owner, second, user("", MediaPart(picture(), name="holiday.png"), MediaPart(picture(3))))
    store.append_turn(owner, first, said("ok"))
    listed = store.talks(owner)
    assert [talk.id for talk in listed] == [first, second, third]
    assert [talk.turns for talk in listed] == [2, 1, 0]
    assert listed[0].title.startswith("Draw a red car on a very long road") and len(listed[0].title) <= 60
    assert listed[0].title.endswith("…")
    assert [talk.title for talk in listed[1:]] == ["holiday.png, Picture", ""]
    assert listed[0].created <= listed[0].updated <= time.time()
    assert len({first, second, third}) == 3 and min(map(len, (first, second))) >= 20


def test_a_given_title_stays_and_an_empty_one_brings_the_first_message_back(store, owner):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("Draw a car"))
    assert store.rename(owner, talk, "  My\x00 cars ") == "My cars"
    store.replace_from(owner, talk, 0, [user("Draw a boat")])
    assert store.info(owner, talk).title == "My cars"
    assert store.rename(owner, talk, "") == "Draw a boat"
    store.replace_from(owner, talk, 0, [user("Draw a house")])
    assert store.info(owner, talk).title == "Draw a house"


def test_search_finds_all_words_in_titles_texts_and_captions(store, owner):
    cars, birds = store.create(owner), store.create(owner)
    store.append_turn(owner, cars, user("Zeichne 100% ÄPFEL"))
    store.append_turn(owner, cars, said("Bitte.", made()))
    store.append_turn(owner, birds, user("What sings?"))
    store.rename(owner, birds, "Ornithology")

    def found(words: str) -> list[str]:
        return [talk.id for talk in store.talks(owner, words)]

    assert found("äpfel") == found("bitte RED") == found("100%") == [cars]
    assert found("ORNITH") == found("sings") == [birds]
    assert found("äpfel sings") == found("100_") == found("' OR 1=1 --") == found("x\ud800") == []
    assert set(found("  ")) == {cars, birds}


def test_odd_characters_are_kept_as_they_are(store, owner):
    text = "\ud800 \x00 \U0001f600 <b>'\"; DROP TABLE talks"
    talk = store.create(owner)
    store.append_turn(owner, talk, user(text))
    assert store.load(owner, talk).turns == (user(text),)
    assert store.talks(owner, "drop table")[0].id == talk


def test_replacing_takes_later_turns_out_and_keeps_media_that_are_still_used(store, owner):
    talk = store.create(owner)
    kept = MediaPart(picture(1))
    for turn in (user("one", kept), said("two", made(2)), user("three"), said("four", made(3))):
        store.append_turn(owner, talk, turn)
    assert store.replace_from(owner, talk, 1) == 0
    assert store.load(owner, talk).turns == (user("one", kept),)
    assert files_of(store) == {f"{picture(1).sha256}.png"}
    assert store.replace_from(owner, talk, 0, [user("other words", kept)]) == 0
    assert store.load(owner, talk).turns == (user("other words", kept),)
    assert store.replace_from(owner, talk, 0) == -1 and files_of(store) == set()
    for index in (1, -1):
        with pytest.raises(NextGPTError, match="not in the talk any more"):
            store.replace_from(owner, talk, index)


def test_deleting_a_talk_removes_only_media_that_no_other_talk_has(store, owner, stranger):
    mine, theirs = store.create(owner), store.create(stranger)
    store.append_turn(owner, mine, user("a", MediaPart(picture(1)), MediaPart(picture(2))))
    store.append_turn(stranger, theirs, user("b", MediaPart(picture(2))))
    store.delete(owner, mine)
    assert files_of(store) == {f"{picture(2).sha256}.png"}
    assert store.talks(owner) == []
    with pytest.raises(NextGPTError):
        store.media_path(owner, picture(2).sha256)
    assert store.media_path(stranger, picture(2).sha256).is_file()


def test_too_many_talks_are_refused(tmp_path):
    store = TalkStore(tmp_path, talks_per_owner=2)
    owner = store.owner_of("b" * 30)
    store.create(owner), store.create(owner)
    with pytest.raises(LimitError, match="2 talks"):
        store.create(owner)
    store.create(store.owner_of("c" * 30))
    store.close()


def test_a_reply_is_stored_as_it_streams(store, owner):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("Draw"))
    writer = store.begin_reply(owner, talk, every=60)
    assert store.load(owner, talk).turns[-1] == Turn("assistant", (), cancelled=True)
    assert writer.feed(TextDelta("Here"))  # the first words at once
    assert not writer.feed(TextDelta(" it"))  # the next with the next batch
    assert store.load(owner, talk).turns[-1] == Turn("assistant", (TextPart("Here"),), cancelled=True)
    writer.flush()
    assert store.load(owner, talk).turns[-1].text == "Here it"
    part = made()
    writer.feed(TextDelta(" is:"))
    assert writer.feed(MediaReady(part.id, part))
    writer.feed(TextDelta("Enjoy"))
    writer.feed(Notice("The oldest turns were left out."))
    writer.feed(Failed("x", "The sound could not be made."))
    now = Turn("assistant", (TextPart("Here it is:"), part, TextPart("Enjoy")), cancelled=True)
    assert store.load(owner, talk).turns[-1] == now
    assert store.media_path(owner, part.media.sha256).is_file()
    parts = (TextPart("Here it is:"), part, TextPart("Enjoy!"))
    assert writer.feed(Finished(Reply(parts, seed=7, notices=("The oldest turns were left out.",))))
    assert store.load(owner, talk).turns[-1] == Turn("assistant", parts)
    assert store.notices(owner, talk) == {1: ("The oldest turns were left out.", "The sound could not be made.")}
    assert not writer.open and writer.feed(TextDelta("late")) and len(store.load(owner, talk)) == 2


def test_words_are_stored_soon_even_if_nothing_follows(store, owner):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("Hello"))
    writer = store.begin_reply(owner, talk, every=0.05)
    writer.feed(TextDelta("Hello"))
    writer.feed(TextDelta(" world"))
    until = time.monotonic() + 10
    while store.load(owner, talk).turns[-1].text != "Hello world" and time.monotonic() < until:
        time.sleep(0.01)
    assert store.load(owner, talk).turns[-1].text == "Hello world"


def test_a_stopped_reply_keeps_its_words_and_an_abandoned_one_goes(store, owner):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("Hello"))
    with store.begin_reply(owner, talk, every=60) as writer:
        writer.feed(TextDelta("a"))
        writer.feed(TextDelta("b"))
    assert store.load(owner, talk).turns[-1] == Turn("assistant", (TextPart("ab"),), cancelled=True)
    store.replace_from(owner, talk, 1)
    writer = store.begin_reply(owner, talk)
    writer.feed(MediaReady("m", made()))
    writer.abandon()
    assert store.load(owner, talk).turns == (user("Hello"),) and files_of(store) == set()


def test_nothing_else_happens_to_a_talk_while_its_reply_is_written(store, owner):
    talk = store.create(owner)
    with pytest.raises(NextGPTError, match="no message to answer"):
        store.begin_reply(owner, talk)
    store.append_turn(owner, talk, user("Hello"))
    writer = store.begin_reply(owner, talk)
    for action in (
        lambda: store.append_turn(owner, talk, user("again", MediaPart(picture(9)))),
        lambda: store.replace_from(owner, talk, 0),
        lambda: store.begin_reply(owner, talk),
    ):
        with pytest.raises(BusyError):
            action()
    assert files_of(store) == set()  # the refused medium left nothing behind
    writer.stop()
    store.append_turn(owner, talk, user("again"))
    assert len(store.load(owner, talk)) == 3


def test_a_reply_to_a_talk_deleted_meanwhile_is_dropped(store, owner):
    talk = store.create(owner)
    store.append_turn(owner, talk, user("Hello"))
    writer = store.begin_reply(owner, talk, every=0)
    writer.feed(TextDelta("a"))
    store.delete(owner, talk)
    writer.feed(MediaReady("m", made()))
    assert not writer.open and files_of(store) == set() and store.talks(owner) == []


def test_threads_write_at_once_and_nothing_is_lost(store):
    owners = [store.owner_of(letter * 30) for letter in "ab"]
    talks = [store.create(owner) for owner in owners]
    troubles = []

    def write(owner: str, talk: str, mine: int) -> None:
        try:
            for round_ in range(6):
                store.append_turn(owner, talk, user(f"{round_}", MediaPart(picture(round_))))
                with store.begin_reply(owner, talk, every=0.001) as writer:
                    for word in "abcdef":
                        writer.feed(TextDelta(word))
                    writer.feed(MediaReady("m", MediaPart(picture(50 + mine), generated=True)))
                side = store.create(owner)  # media come and go in other talks meanwhile
                store.append_turn(owner, side, user("", MediaPart(picture(round_))))
                store.delete(owner, side)
                store.clean()
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(*who, n)) for n, who in enumerate(zip(owners, talks, strict=True))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not troubles
    for n, (owner, talk) in enumerate(zip(owners, talks, strict=True)):
        turns = store.load(owner, talk).turns
        assert [turn.text for turn in turns] == [w for i in range(6) for w in (str(i), "abcdef")]
        assert [turn.media[0].media for turn in turns[1::2]] == [picture(50 + n)] * 6
    assert files_of(store) == {f"{picture(colour).sha256}.png" for colour in (*range(6), 50, 51)}


def test_a_link_shows_one_talk_until_it_is_taken_back(store, owner):
    talk, other = store.create(owner), store.create(owner)
    store.append_turn(owner, talk, user("Hello", MediaPart(picture(1))))
    store.append_turn(owner, other, user("Private", MediaPart(picture(2))))
    token = store.share(owner, talk)
    assert store.share(owner, talk) == token and len(token) >= 30 and store.info(owner, talk).shared
    shown = store.shared(token)
    assert shown.title == "Hello" and shown.conversation.turns == store.load(owner, talk).turns
    shown.conversation.clear()
    assert len(store.shared(token).conversation) == 1
    assert store.shared_media_path(token, picture(1).sha256).is_file()
    with pytest.raises(NextGPTError):
        store.shared_media_path(token, picture(2).sha256)
    store.unshare(owner, talk)
    for unknown in (token, "", talk, None):
        with pytest.raises(NextGPTError, match="no talk at this link"):
            store.shared(unknown)
    assert store.share(owner, talk) != token


def test_sharing_is_off_unless_asked_for(tmp_path):
    on = TalkStore(tmp_path, sharing=True)
    owner = on.owner_of("b" * 30)
    talk = on.create(owner)
    token = on.share(owner, talk)
    on.close()
    off = TalkStore(tmp_path)
    with pytest.raises(NextGPTError, match="switched off"):
        off.share(owner, talk)
    for action in (lambda: off.shared(token), lambda: off.shared_media_path(token, "0" * 64)):
        with pytest.raises(NextGPTError, match="no talk at this link"):
            action()
    off.close()
