"""Conversations: what is added, undone, saved, loaded and exchanged as messages."""

import base64
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import soundfile
from media_files import moving_square, ramp, tone

from nextgpt_chat.content import Audio, Image, MediaPart, TextPart, Turn, Video
from nextgpt_chat.conversation import Conversation, archive
from nextgpt_chat.errors import LimitError, MediaError, NextGPTError
from nextgpt_chat.media import Limits, read_metadata, write_image


@pytest.fixture
def talk() -> Conversation:
    conversation = Conversation()
    audio, video = Audio(tone(), 16_000), Video(moving_square(), 4.0)
    conversation.add_user("What are these?\n<Image>/etc/passwd</Image> é✓", files=[Image(ramp()), audio, video])
    made = MediaPart(
        Image(ramp()[::-1].copy()),
        "a red ramp",
        generated=True,
        details={"seed": np.int64(3), "scale": [np.float32(0.5)]},
        took=1.5,
    )
    conversation.add_assistant([TextPart("Here: "), made, TextPart(" done")], cancelled=True)
    conversation.add_user("thanks", files=[MediaPart(made.media, name="mine.png")])
    return conversation


def test_files_come_before_the_words_and_keep_their_names(tmp_path):
    path = tmp_path / "photo.png"
    write_image(Image(ramp()), path, False)
    conversation = Conversation()
    turn = conversation.add_user("what is it?", files=[path, path.read_bytes(), PIL.Image.open(path), Image(ramp())])
    assert [part.kind for part in turn.media] == ["image"] * 4
    assert [part.name for part in turn.media] == ["photo.png", "", "", ""]
    assert {part.media for part in turn.media} == {Image(ramp())}
    assert turn.parts[-1] == TextPart("what is it?")
    assert not any(part.generated for part in turn.media)
    assert conversation.turns == (turn,)
    assert conversation.add_user(files=str(path)).text == ""
    assert len(conversation) == 2


def test_nothing_is_added_when_one_file_is_bad_or_there_is_nothing():
    conversation = Conversation(limits=Limits(pixels=100))
    with pytest.raises(MediaError, match="looks like text"):
        conversation.add_user("look", files=[Audio(tone(), 16_000), b"some text"])
    with pytest.raises(LimitError):
        conversation.add_user("look", files=[PIL.Image.fromarray(ramp())])
    for empty in ("", "  \n"):
        with pytest.raises(NextGPTError, match="Write some words or attach a file"):
            conversation.add_user(empty)
    with pytest.raises(ValueError, match="None"):
        conversation.add_user(None)
    assert len(conversation) == 0
    assert conversation.turns == ()


def test_undo_takes_back_the_last_user_turn_and_its_reply(talk):
    assert talk.undo().text == "thanks"
    assert len(talk) == 2
    taken = talk.undo()
    assert taken.text.startswith("What are these?")
    assert len(talk) == 0
    assert talk.undo() is None
    again = talk.add_user(taken.text, files=taken.media)
    assert again == taken


def test_clear_and_copy_do_not_touch_the_other(talk):
    copy = talk.copy()
    assert copy == talk
    assert copy.id != talk.id
    copy.add_user("more")
    assert len(copy) == len(talk) + 1
    copy.clear()
    assert len(copy) == 0
    assert len(talk) == 3


def test_an_empty_conversation_is_still_one():
    conversation = Conversation()
    assert (conversation or None) is conversation


def test_json_round_trip(talk):
    data = json.loads(json.dumps(talk.to_dict()))
    back = Conversation.from_dict(data, talk.media())
    assert back == talk
    assert back.id == talk.id
    assert [part.id for turn in back.turns for part in turn.media] == [p.id for t in talk.turns for p in t.media]
    assert back.turns[1].media[0].details == {"seed": 3, "scale": [0.5]}
    assert [part.took for turn in back.turns for part in turn.media] == [None, None, None, 1.5, None]
    assert len(talk.media()) == 4  # the picture that stands in two turns is there once


@pytest.mark.parametrize(
    "change",
    [
        {"version": None},
        {"version": "1"},
        {"turns": {}},
        {"turns": [{"role": "system", "parts": []}]},
        {"turns": [{"role": "user"}]},
        {"turns": [{"role": "user", "parts": [{"type": "smell"}]}]},
        {"turns": [{"role": "user", "parts": [{"type": "text", "text": 5}]}]},
        {"turns": [3]},
    ],
)
def test_other_json_is_refused(talk, change):
    with pytest.raises(ValueError):
        Conversation.from_dict({**talk.to_dict(), **change}, talk.media())


def test_json_of_a_newer_version_or_without_its_media_says_so(talk):
    with pytest.raises(MediaError, match=r"version 2.*Update"):
        Conversation.from_dict({**talk.to_dict(), "version": 2}, talk.media())
    with pytest.raises(MediaError, match="not with it"):
        Conversation.from_dict(talk.to_dict(), {})


def test_save_and_load_lose_nothing(talk, tmp_path):
    talk.add_user(files=[Audio(tone() * np.float32(1.7), 8000), Video(moving_square(3, 31, 17), 29.97)])
    path = tmp_path / "talk.zip"
    talk.save(path)
    assert Conversation.load(path) == talk
    assert Conversation.load(str(path)).id == talk.id
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        made = talk.turns[1].media[0].media.sha256
        assert f"media/{made}.png" in names
        assert read_metadata(file.read(f"media/{made}.png"))["comment"] == "AI-generated"
        assert "comment" not in read_metadata(file.read(f"media/{Image(ramp()).sha256}.png"))
        assert file.testzip() is None
    assert list(tmp_path.iterdir()) == [path]
    assert Conversation.load(_saved(Conversation(), tmp_path)) == Conversation()


def _saved(conversation, folder):
    path = folder / "other.zip"
    conversation.save(path)
    return path


def _rewritten(path, changes):
    """The ZIP file with some entries replaced (None: left out)."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()} | changes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            if data is not None:
                file.writestr(name, data)
    return path


def test_a_file_that_is_no_saved_conversation(tmp_path):
    path = tmp_path / "talk.zip"
    with pytest.raises(MediaError, match=r"talk\.zip was not found"):
        Conversation.load(path)
    for content in (b"", b"some text", b"PK\x03\x04 nonsense"):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"talk\.zip is not a saved conversation"):
            Conversation.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(MediaError, match=r"conversation\.json"):
        Conversation.load(path)
    with pytest.raises(MediaError):
        Conversation.load(tmp_path)
    with pytest.raises(MediaError, match="Choose another place"):
        Conversation().save(tmp_path / "no folder" / "talk.zip")


def test_damaged_and_foreign_content_is_refused(talk, tmp_path):
    path = _saved(talk, tmp_path)
    whole = path.read_bytes()
    digest = Image(ramp()).sha256
    name, data = f"media/{digest}.png", talk.to_dict()

    def document(**part):
        changed = json.loads(json.dumps(data))
        changed["turns"][0]["parts"][0] |= part
        return {archive.DOCUMENT: json.dumps(changed)}

    for changes, message in (
        ({name: None}, "no item named|KeyError"),
        ({name: write_image(Image(ramp() // 2), None, False)}, "not what the conversation refers to"),
        ({name: b"text"}, "looks like text"),
        ({name: _form(ramp(), "JPEG")}, "looks like JPEG"),
        ({f"media/{Audio(tone(), 16_000).sha256}.wav": _flac(tone())}, "looks like flac"),
        ({archive.DOCUMENT: "{"}, "not a saved conversation"),
        ({archive.DOCUMENT: "[" * 100_000}, "not a saved conversation"),
        ({archive.DOCUMENT: json.dumps({**data, "version": 9})}, "version 9.*Update"),
        (document(sha256="../../etc/passwd"), "not a content hash"),
        (document(sha256="0" * 64), "no item named|KeyError"),
        (document(type="audio"), "KeyError|refers to"),
        (document(type="smell"), "smell"),
    ):
        path.write_bytes(whole)
        with pytest.raises(MediaError, match=message):
            Conversation.load(_rewritten(path, changes))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError):
        Conversation.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.zip"]


def _form(pixels, form):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def _flac(samples):
    """Silence is a thousand times smaller in it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="FLAC")
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(talk, tmp_path):
    path = _rewritten(_saved(talk, tmp_path), {archive.DOCUMENT: b" " * 40_000_000})
    with pytest.raises(LimitError, match=r"unpacks to .* MB or more"):
        Conversation.load(path)


def test_what_a_talk_unpacks_to_is_refused_before_it_is_in_memory(talk, tmp_path, monkeypatch):
    path = _saved(talk, tmp_path)
    taken, fromfile = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda file, dtype: taken.append(fromfile(file, dtype)) or taken[-1])
    monkeypatch.setattr(archive, "_TOTAL_BYTES", 100_000)  # the clip's file is small, its frames are not
    with pytest.raises(LimitError, match=r"other\.zip unpacks to 0 MB or more; .* at most 0 MB.*Save a shorter"):
        Conversation.load(path)
    assert 0 < sum(array.nbytes for array in taken) <= 100_000


def test_media_that_together_could_not_be_loaded_again_are_not_saved(talk, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_TOTAL_BYTES", 20_000)
    with pytest.raises(LimitError, match=r"This conversation unpacks to .* MB.*Save a shorter one"):
        talk.save(tmp_path / "talk.zip")
    assert not (tmp_path / "talk.zip").exists()


def test_words_that_could_not_be_loaded_again_are_not_saved(talk, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_DOCUMENT_BYTES", 100)
    with pytest.raises(LimitError, match="of it words"):
        talk.save(tmp_path / "talk.zip")


def test_text_and_names_that_are_no_unicode_are_said_saved_and_loaded(tmp_path):
    talk = Conversation()
    odd = "caf\udce9"
    talk.add_user(odd, MediaPart(Image(ramp()), caption=odd, name=f"{odd}.png", details={"scheduler": odd}))
    talk.save(tmp_path / "talk.zip")
    (turn,) = Conversation.load(tmp_path / "talk.zip").turns
    (part,) = turn.media
    assert (turn.text, part.caption, part.name, part.details) == ("caf?", "caf?", "caf?.png", {"scheduler": "caf?"})


def test_a_single_medium_that_is_too_large_is_named(talk, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_LIMITS", replace(archive._LIMITS, unpacked_bytes=20_000))
    sound = talk.turns[0].media[1].media.sha256
    with pytest.raises(LimitError, match=rf"other\.zip: media/{sound[:20]}.*\.wav takes 0\.0 MB of memory or more"):
        Conversation.load(_saved(talk, tmp_path))


def test_messages_round_trip(talk):
    messages = talk.to_messages()
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [block["type"] for block in messages[0]["content"]] == ["image", "audio", "video", "text"]
    assert np.array_equal(np.asarray(messages[0]["content"][0]["image"]), ramp())
    assert messages[0]["content"][1]["sampling_rate"] == 16_000
    assert messages[0]["content"][2]["fps"] == 4.0
    assert messages[1]["content"][1]["caption"] == "a red ramp"
    back = Conversation.from_messages(messages)
    assert [[_core(part) for part in turn.parts] for turn in back.turns] == [
        [_core(part) for part in turn.parts] for turn in talk.turns
    ]


def _core(part):
    return part if isinstance(part, TextPart) else (part.media, part.caption, part.generated)


def test_messages_may_hold_words_files_arrays_and_base64(tmp_path):
    path = tmp_path / "photo.png"
    write_image(Image(ramp()), path, False)
    coded = base64.b64encode(path.read_bytes()).decode()
    blocks = [
        {"type": "image", "path": str(path)},
        {"type": "image", "image": path.read_bytes()},
        {"type": "image", "base64": coded},
        {"type": "image", "image": ramp()},
        {"type": "audio", "audio": np.round(tone() * 32768).astype(np.int16), "sampling_rate": 16_000},
        {"type": "audio", "audio": np.round(tone() * 2**31).astype(np.int32), "sampling_rate": 16_000},
        {"type": "video", "video": [PIL.Image.fromarray(frame) for frame in moving_square(3)], "fps": 4},
    ]
    conversation = Conversation.from_messages(
        [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": blocks},
        ]
    )
    first, second, third = conversation.turns
    assert first == Turn("user", (TextPart("hello"),))
    assert second == Turn("assistant", ())
    assert {part.media for part in third.parts[:4]} == {Image(ramp())}
    assert all(np.abs(part.media.samples - tone()).max() < 1e-4 for part in third.parts[4:6])
    assert third.parts[6].media == Video(moving_square(3), 4.0)
    assert third.parts[0].name == "photo.png"


@pytest.mark.parametrize(
    ("message", "quoted"),
    [
        ({"role": "user", "content": [{"type": "smell", "smell": 1}]}, "'smell'"),
        ({"role": "system", "content": "be nice"}, "'system'"),
        ({"role": "user"}, "None"),
        ({"role": "user", "content": [{"type": "image", "url": "http://example.org/x.png"}]}, "url"),
        ({"role": "user", "content": [{"type": "text", "text": 7}]}, "7"),
        ({"role": "user", "content": [{"type": "audio", "audio": tone()}]}, "sampling_rate"),
        ({"role": "user", "content": [{"type": "video", "video": moving_square()}]}, "fps"),
        ({"role": "user", "content": [{"type": "image", "image": Audio(tone(), 16_000)}]}, "'audio'"),
        ({"role": "user", "content": [{"type": "image", "base64": "%%"}]}, "base64"),
    ],
)
def test_messages_that_make_no_sense_are_quoted(message, quoted):
    with pytest.raises(ValueError, match=quoted):
        Conversation.from_messages([message])


def test_samples_that_are_no_numbers_are_refused():
    broken = tone() * np.float32("nan")
    with pytest.raises(MediaError, match="no numbers"):
        Conversation().add_user("what is it?", files=[Audio(broken, 16_000)])
    block = {"type": "audio", "audio": broken, "sampling_rate": 16_000}
    with pytest.raises(MediaError, match="no numbers"):
        Conversation.from_messages([{"role": "user", "content": [block]}])
