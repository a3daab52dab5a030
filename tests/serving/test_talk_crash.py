"""What survives: kill -9 in the middle of a reply, a damaged database, the secret, older and newer formats."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nextgpt_chat.content import Finished, Image, MediaPart, Reply, TextPart, Turn
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.serving import TalkStore, talk_database

ROOT = Path(__file__).resolve().parents[2]
BROWSER = "b" * 30

REPLYING = """
import sys, time
import numpy as np
from nextgpt_chat.content import Image, MediaPart, MediaReady, TextDelta, TextPart, Turn
from nextgpt_chat.serving import TalkStore

assert "torch" not in sys.modules and "gradio" not in sys.modules
store = TalkStore(sys.argv[1], min_free_bytes=0)
owner = store.owner_of(sys.argv[2])
talk = store.create(owner)
store.append_turn(owner, talk, Turn("user", (TextPart("Draw a car"),)))
writer = store.begin_reply(owner, talk)
for word in ("Here ", "it ", "is: "):
    writer.feed(TextDelta(word))
part = MediaPart(Image(np.full((6, 8, 3), 77, np.uint8)), caption="a car", generated=True, details={"seed": 3})
writer.feed(MediaReady(part.id, part))
for word in ("and ", "a ", "boat "):
    writer.feed(TextDelta(word))
writer.flush()
print(talk, flush=True)
writer.feed(TextDelta("never shown"))
time.sleep(60)
"""


def database(folder: Path) -> Path:
    return folder / "talks.sqlite3"


def with_a_talk(folder: Path) -> str:
    store = TalkStore(folder, min_free_bytes=0)
    owner = store.owner_of(BROWSER)
    talk = store.create(owner)
    medium = MediaPart(Image(np.zeros((2, 2, 3), np.uint8)))
    store.append_turn(owner, talk, Turn("user", (TextPart("Hello"), medium)))
    store.close()
    return talk


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_reply_stands_as_a_cancelled_turn_with_all_that_was_shown(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", REPLYING, str(tmp_path), BROWSER], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        talk = process.stdout.readline().strip()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    store = TalkStore(tmp_path, min_free_bytes=0)
    owner = store.owner_of(BROWSER)
    question, reply = store.load(owner, talk).turns
    assert question == Turn("user", (TextPart("Draw a car"),))
    shown, picture, more = reply.parts
    assert reply.cancelled and shown == TextPart("Here it is: ") and more == TextPart("and a boat ")
    assert picture.media == Image(np.full((6, 8, 3), 77, np.uint8))
    assert picture.caption == "a car" and picture.generated and picture.details == {"seed": 3}
    assert store.media_path(owner, picture.media.sha256).is_file()
    store.append_turn(owner, talk, Turn("user", (TextPart("Go on"),)))  # and it goes on
    store.begin_reply(owner, talk).feed(Finished(Reply((TextPart("Sure."),), seed=1)))
    assert [turn.text for turn in store.load(owner, talk).turns][2:] == ["Go on", "Sure."]
    store.close()


@pytest.mark.parametrize("damage", ["not a database", "cut short", "overwritten inside"])
def test_a_damaged_database_is_told_and_left_as_it_is(tmp_path, damage):
    with_a_talk(tmp_path)
    data = database(tmp_path).read_bytes()
    middle = len(data) // 2
    broken = {
        "not a database": b"these are no talks" * 100,
        "cut short": data[:middle],
        "overwritten inside": data[:4096] + b"\xff" * (len(data) - 4096),
    }[damage]
    database(tmp_path).write_bytes(broken)
    before = contents(tmp_path)
    with pytest.raises(NextGPTError, match=r"talks\.sqlite3 is damaged .*put a backup in its place"):
        TalkStore(tmp_path)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_a_database_that_vanished_does_not_take_its_media_along(tmp_path):
    with_a_talk(tmp_path)
    for action in (lambda: database(tmp_path).write_bytes(b""), lambda: database(tmp_path).unlink()):
        action()
        before = contents(tmp_path)
        with pytest.raises(NextGPTError, match="missing or empty"):
            TalkStore(tmp_path)
        assert contents(tmp_path) == before


def test_the_secret_is_the_servers_own_and_survives(tmp_path):
    folder = tmp_path / "new" / "talks"
    talk = with_a_talk(folder)
    secret = folder / "secret"
    kept = secret.read_bytes()
    assert secret.stat().st_mode & 0o777 == 0o600 and len(kept) >= 32
    assert folder.stat().st_mode & 0o777 == 0o700 and database(folder).stat().st_mode & 0o777 == 0o600
    secret.chmod(0o644)
    store = TalkStore(folder)
    assert store.load(store.owner_of(BROWSER), talk).turns[0].text.startswith("Hello")
    store.close()
    assert secret.read_bytes() == kept and secret.stat().st_mode & 0o777 == 0o600
    other = TalkStore(tmp_path / "other")
    assert other.owner_of(BROWSER) != store.owner_of(BROWSER)
    other.close()


def test_a_lost_or_wrong_secret_is_told_and_not_replaced(tmp_path):
    with_a_talk(tmp_path)
    secret = tmp_path / "secret"
    kept = secret.read_bytes()
    for wrong in (b"0" * 64, b"", b"short"):
        secret.write_bytes(wrong)
        with pytest.raises(NextGPTError, match="Put the right one back"):
            TalkStore(tmp_path)
        assert secret.read_bytes() == wrong
    secret.unlink()
    with pytest.raises(NextGPTError, match=r"secret .*is missing"):
        TalkStore(tmp_path)
    assert not secret.exists()
    secret.write_bytes(kept)
    TalkStore(tmp_path).close()


def test_an_older_database_is_brought_up_to_date_and_a_newer_one_is_refused(tmp_path, monkeypatch):
    talk = with_a_talk(tmp_path)
    added = ("ALTER TABLE talks ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",)
    with monkeypatch.context() as patch:
        patch.setattr(talk_database, "MIGRATIONS", (*talk_database.MIGRATIONS, added))
        store = TalkStore(tmp_path)
        assert store._database.rows("SELECT id, colour FROM talks")[0]["colour"] == "red"
        assert store.load(store.owner_of(BROWSER), talk).turns[0].text == "Hello"
        store.close()
    with pytest.raises(NextGPTError, match="newer version"):
        TalkStore(tmp_path)


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    with_a_talk(tmp_path)
    broken = ("ALTER TABLE talks ADD COLUMN colour TEXT", "ALTER TABLE nothing ADD COLUMN colour TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(talk_database, "MIGRATIONS", (*talk_database.MIGRATIONS, broken))
        with pytest.raises(NextGPTError, match="could not be read or written"):
            TalkStore(tmp_path)
    with sqlite3.connect(database(tmp_path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(talks)")]
    connection.close()
    assert "colour" not in columns
    TalkStore(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NextGPTError, match="cannot be used"):
        TalkStore(tmp_path / "file")


def test_a_copy_of_the_folder_is_the_same_talks(tmp_path):
    talk = with_a_talk(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    store = TalkStore(tmp_path / "two")
    assert store.load(store.owner_of(BROWSER), talk).turns[0].media[0].media.pixels.shape == (2, 2, 3)
    store.close()
