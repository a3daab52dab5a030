"""The talks' media: the same values after a restart, once on the disk, shown by browsers, cleaned by age and quota."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from nextgpt_chat.content import Audio, Finished, Image, MediaPart, MediaReady, Reply, TextDelta, TextPart, Turn, Video
from nextgpt_chat.errors import LimitError
from nextgpt_chat.media import read_media, read_metadata
from nextgpt_chat.serving import TalkStore
from tests.media_files import moving_square, ramp, tone

DAY = 86_400


def open_store(folder, **settings) -> TalkStore:
    return TalkStore(folder, **{"min_free_bytes": 0, **settings})


def talk_with(store: TalkStore, owner: str, *media: MediaPart, text: str = "Look") -> str:
    talk = store.create(owner)
    store.append_turn(owner, talk, Turn("user", (TextPart(text), *media)))
    return talk


def picture(seed: int, side: int = 24) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def age(folder, talk: str, days: float) -> None:
    with sqlite3.connect(folder / "talks.sqlite3") as connection:
        connection.execute("UPDATE talks SET updated = ? WHERE id = ?", (time.time() - days * DAY, talk))
    connection.close()


def media_files(folder) -> list[str]:
    return sorted(path.name for path in (folder / "media").rglob("*") if path.is_file())


def test_every_kind_comes_back_with_the_same_hash_after_a_restart(tmp_path):
    on_grid = Audio((np.round(tone() * 32767).astype(np.int16) / 32768).astype(np.float32), 16_000)
    off_grid = Audio(tone(), 44_100)
    clip = Video(moving_square(5, 33, 47), 7.123456789)  # odd sides; a rate that MP4 holds only nearly
    media = (Image(ramp(5, 7)), on_grid, off_grid, clip)
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    talk = talk_with(store, owner, *(MediaPart(one) for one in media))
    store.close()
    again = open_store(tmp_path)
    parts = again.load(owner, talk).turns[0].media
    assert [part.media.sha256 for part in parts] == [one.sha256 for one in media]
    assert parts[3].media.fps == clip.fps
    for path in (tmp_path / "media").rglob("*.*"):
        assert path.parent.name == path.name[:2] and not path.stat().st_mode & 0o077
    again.close()


def test_browsers_are_shown_files_that_they_can_play(tmp_path):
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    clip = Video(moving_square(4, 64, 64), 8.0)
    sound, small, large = Audio(tone(), 16_000), Image(ramp()), Image(ramp(20, 1600))
    parts = [MediaPart(one, generated=True) for one in (clip, sound, small, large)]
    talk = talk_with(store, owner, *parts)
    before = store.media_bytes()
    paths = [store.media_path(owner, part.media.sha256) for part in parts]
    assert [path.suffix for path in paths] == [".mp4", ".wav", ".png", ".png"]
    assert store.media_path(owner, clip.sha256) == paths[0]  # made once
    shown = read_media(paths[0])
    assert shown.frames.shape == (4, 256, 256, 3)
    assert b"avc1" in paths[0].read_bytes()
    assert np.abs(read_media(paths[1]).samples - sound.samples).max() < 1e-4
    assert read_media(paths[2]) == small
    assert read_media(paths[3]).pixels.shape[1] == 1536
    for path in paths:
        assert read_metadata(path)["comment"] == "AI-generated"
    assert store.media_bytes() > before
    assert store.media_bytes() == sum(path.stat().st_size for path in (tmp_path / "media").rglob("*.*"))
    store.delete(owner, talk)
    assert media_files(tmp_path) == [] and store.media_bytes() == 0
    store.close()


def test_one_content_is_stored_once_and_marked_as_soon_as_it_was_generated(tmp_path):
    store = open_store(tmp_path)
    mine, theirs = store.owner_of("b" * 30), store.owner_of("c" * 30)
    talk_with(store, mine, MediaPart(picture(1)), MediaPart(picture(1)))
    assert "comment" not in read_metadata(store.media_path(mine, picture(1).sha256))
    talk_with(store, theirs, MediaPart(picture(1), generated=True))
    talk_with(store, theirs, MediaPart(picture(1)))
    assert len(media_files(tmp_path)) == 1
    assert read_metadata(store.media_path(mine, picture(1).sha256))["comment"] == "AI-generated"
    store.close()


def test_a_damaged_or_missing_file_leaves_the_rest_of_the_talk_readable(tmp_path):
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    parts = [MediaPart(picture(seed), name=f"{seed}.png") for seed in range(4)]
    talk = talk_with(store, owner, *parts)
    paths = [store.media_path(owner, part.media.sha256) for part in parts]
    store.close()
    paths[0].write_bytes(b"not a picture")
    paths[1].unlink()
    paths[2].write_bytes(paths[3].read_bytes())  # a good picture, but another one
    again = open_store(tmp_path)
    turn = again.load(owner, talk).turns[0]
    assert [part.media for part in turn.media] == [picture(3)]
    assert turn.text == "Look [picture no longer kept: 0.png] [picture no longer kept: 1.png] " + (
        "[picture no longer kept: 2.png]"
    )
    again.close()


def test_a_full_disk_refuses_new_media_but_not_words(tmp_path):
    store = open_store(tmp_path, min_free_bytes=10**18)
    owner = store.owner_of("b" * 30)
    talk = store.create(owner)
    with pytest.raises(LimitError, match="disk is nearly full"):
        store.append_turn(owner, talk, Turn("user", (MediaPart(picture(1)),)))
    assert store.load(owner, talk).turns == () and media_files(tmp_path) == []
    store.append_turn(owner, talk, Turn("user", (TextPart("Draw"),)))
    writer = store.begin_reply(owner, talk, every=0)
    writer.feed(TextDelta("Here:"))
    part = MediaPart(picture(2), caption="a car", generated=True)
    with pytest.raises(LimitError, match="disk is nearly full"):
        writer.feed(MediaReady("m", part))
    writer.feed(TextDelta("Done"))
    writer.feed(Finished(Reply((TextPart("Here:"), part, TextPart("Done")), seed=1)))
    turn = store.load(owner, talk).turns[1]
    assert turn.text == "Here: [picture no longer kept: a car] Done" and not turn.cancelled
    store.close()


def test_media_that_still_fit_are_kept_when_a_later_one_does_not(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    talk = talk_with(store, owner)
    files = store._library._files
    write = files.write

    def too_large(media, generated):
        if media == picture(2):
            raise LimitError("no room")
        return write(media, generated)

    monkeypatch.setattr(files, "write", too_large)
    parts = tuple(MediaPart(picture(seed), generated=True) for seed in (1, 2, 3))
    writer = store.begin_reply(owner, talk)
    with pytest.raises(LimitError):
        writer.feed(Finished(Reply(parts, seed=1)))
    turn = store.load(owner, talk).turns[1]
    assert [part.media for part in turn.media] == [picture(1), picture(3)] and not turn.cancelled
    store.close()


def test_age_takes_media_of_old_talks_and_leaves_the_words(tmp_path):
    store = open_store(tmp_path, max_age_days=30)
    owner = store.owner_of("b" * 30)
    old = talk_with(store, owner, MediaPart(picture(1), caption="a car"), MediaPart(picture(2)), text="Old")
    talk_with(store, owner, MediaPart(picture(2)), text="New")
    age(tmp_path, old, 31)
    said = store.clean()
    assert (said.old, said.over_quota, said.left_over) == (1, 0, 0) and said.bytes > 0
    assert str(said).startswith("Removed 1 medium of talks unused for over 30 days (")
    turn = store.load(owner, old).turns[0]
    assert turn.text == "Old [picture no longer kept: a car]"
    assert [part.media for part in turn.media] == [picture(2)]  # a newer talk has it too
    assert media_files(tmp_path) == [f"{picture(2).sha256}.png"]
    assert str(store.clean()) == "There was nothing to remove."
    store.close()


def test_the_quota_takes_the_oldest_talks_media_first(tmp_path):
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    talks = [talk_with(store, owner, MediaPart(picture(seed)), text=str(seed)) for seed in range(4)]
    for days, talk in zip((1, 3, 2, 4), talks, strict=True):
        age(tmp_path, talk, days)
    writer = store.begin_reply(owner, talks[3])  # the oldest is in use: writing makes no difference to its age yet
    store.quota_bytes = store.media_bytes() // 2
    said = store.clean()
    assert said.over_quota == 2 and "to keep within" in str(said)
    left = [[part.media for part in store.load(owner, talk).turns[0].media] for talk in talks]
    assert left == [[picture(0)], [], [], [picture(3)]]
    assert store.media_bytes() <= store.quota_bytes
    writer.stop()
    store.close()


def test_clean_up_removes_empty_talks_and_only_files_that_belong_to_nothing(tmp_path):
    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    talk = talk_with(store, owner, MediaPart(picture(1)), MediaPart(Video(moving_square(3), 4.0)))
    store.media_path(owner, Video(moving_square(3), 4.0).sha256)
    before = media_files(tmp_path)
    empty, fresh = store.create(owner), store.create(owner)
    age(tmp_path, empty, 2)
    folder = tmp_path / "media" / "00"
    folder.mkdir(exist_ok=True)
    (folder / f"{'0' * 64}.png").write_bytes(b"x" * 100)  # a crash between file and row
    (tmp_path / "media" / ".old.tmp").write_bytes(b"y")
    os.utime(tmp_path / "media" / ".old.tmp", (time.time() - 2 * 3600,) * 2)
    (tmp_path / "media" / ".being-written.tmp").write_bytes(b"z")
    said = store.clean()
    assert (said.empty_talks, said.left_over, said.bytes) == (1, 2, 101)
    assert str(said) == "Removed 1 empty talk; 2 left-over files (0.0 MB freed)."
    assert media_files(tmp_path) == sorted([".being-written.tmp", *before])
    assert {info.id for info in store.talks(owner)} == {talk, fresh}
    store.close()


@pytest.mark.parametrize("call", ["mkdir", "replace", "disk_usage", "fsync"])
def test_a_disk_that_takes_no_file_is_a_limit_and_leaves_the_talk_as_it_was(tmp_path, monkeypatch, call):
    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    store = open_store(tmp_path)
    owner = store.owner_of("b" * 30)
    talk = talk_with(store, owner, MediaPart(picture(1)))
    with monkeypatch.context() as patch:
        patch.setattr({"mkdir": Path, "disk_usage": shutil}.get(call, os), call, refused)
        with pytest.raises(LimitError, match=r"Permission denied.*Check the server's disk"):
            store.append_turn(owner, talk, Turn("user", (MediaPart(picture(2)),)))
    assert len(store.load(owner, talk).turns) == 1 and len(media_files(tmp_path)) == 1
    store.close()
