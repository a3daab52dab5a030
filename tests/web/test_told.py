"""Errors and notices in the browser's language: every sentence that is translated is one that the program says."""

import ast
import re
import string
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nextgpt_chat.checkpoints import UnknownMedia
from nextgpt_chat.config import GenerationSettings
from nextgpt_chat.content import Failed, Notice, TextPart, Turn
from nextgpt_chat.conversation import Conversation, find_generated
from nextgpt_chat.decoders.image import FlaggedImage
from nextgpt_chat.errors import BusyError, LimitError, NextGPTError
from nextgpt_chat.imagebind.preprocess import _check_aspect
from nextgpt_chat.media import Limits, read_media
from nextgpt_chat.media.decoding import _Decoder
from nextgpt_chat.pipeline.making import check_sizes, failure_message
from nextgpt_chat.serving import Runner, ServiceLimits, TalkStore
from nextgpt_chat.serving import Status as RunnerStatus
from nextgpt_chat.web.handlers.settings import Settings
from nextgpt_chat.web.handlers.status import Status
from nextgpt_chat.web.handlers.visits import tell
from nextgpt_chat.web.identity import COOKIE
from nextgpt_chat.web.languages import ENGLISH, languages, texts_in
from nextgpt_chat.web.messages import LiveReply, turn_message
from nextgpt_chat.web.routes import Routes
from nextgpt_chat.web.talk_list import talk_list
from nextgpt_chat.web.told import told

PACKAGE = Path(__file__).resolve().parents[2] / "nextgpt_chat"
MODULES = (
    "config.py",
    "checkpoints/manifest.py",
    *(f"conversation/{name}.py" for name in ("archive", "conversation", "remade")),
    *(f"decoders/{name}.py" for name in ("audio", "image")),
    "imagebind/preprocess.py",
    *(f"media/{name}.py" for name in ("decoding", "ffmpeg", "limits", "reading", "writing")),
    *(f"pipeline/{name}.py" for name in ("making", "pipeline", "remaking")),
    "prompting/layout.py",
    *sorted(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "serving").glob("*.py")),
    *(f"web/{name}.py" for name in ("routes", "zero_gpu")),
)
TRANSLATED = [texts for language, texts in sorted(languages().items()) if language != "en"]
GERMAN = texts_in("de")
BLANK = r"([^{}]{0,40}(?:\{\w+\})?[^{}]{0,40})"
"""What may stand in a template where the program fills something in: a placeholder, a few words chosen there, both."""

in_every_language = pytest.mark.parametrize("say", TRANSLATED, ids=lambda say: say.language)


def placeholders(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


# --- the templates ---------------------------------------------------------------------------------------------------


@in_every_language
def test_every_language_has_the_same_templates_with_the_same_placeholders(say):
    assert say.told.keys() == GERMAN.told.keys() and len(say.told) > 100
    for english, translated in say.told.items():
        assert placeholders(english) == placeholders(translated), english
        assert english != translated or english == "clip" or english == "clips", english


def tree(module):
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def constants():
    """Module-level names of strings, and of tables of strings → a pattern of what they hold."""
    found = {}
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                value = node.value
                held = value.values if isinstance(value, ast.Dict) else [value]
                if all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in held):
                    found[node.targets[0].id] = "(?:" + "|".join(re.escape(one.value) for one in held) + ")"
    return found


CONSTANTS = constants()


def pattern_of(node):
    """A regular expression for what a string or f-string of the program comes to; its groups are the blanks."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return "".join(BLANK if i % 2 else re.escape(s) for i, s in enumerate(re.split(r"\{(\w+)\}", node.value)))
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return pattern_of(node.value)
    if isinstance(node, ast.IfExp):
        return f"(?:{pattern_of(node.body)}|{pattern_of(node.orelse)})"
    name = node.value if isinstance(node, ast.Subscript) else node
    known = CONSTANTS.get(name.id) if isinstance(name, ast.Name) else None
    return rf"(?:{known}|(\{{our_\w+\}}))" if known else BLANK


def sentences():
    """The patterns of all that the modules may say."""
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                yield re.compile(pattern_of(node), re.DOTALL)


def says(pattern, template):
    """Whether a template is what the program's sentence comes to; at least half of its words must be the sentence's."""
    found = pattern.fullmatch(template)
    filled = sum(len(group or "") for group in found.groups()) if found else 0
    placed = sum(len(name) + 2 for name in re.findall(r"\{(\w+)\}", template))
    return found is not None and len(template) - filled >= (len(template) - placed) / 2


def test_every_template_is_a_sentence_of_the_program():
    patterns = set(sentences())
    never_said = [one for one in GERMAN.told if not any(says(pattern, one) for pattern in patterns)]
    assert not never_said, "\n".join(["the program does not say this (any more):", *never_said])


@pytest.mark.parametrize(
    ("template", "sentence", "said"),
    [
        ("{name} is empty. {our_next}", 'f"{label} is empty. {NEXT_STEP}"', True),
        ("{name} is empty. {our_next}", 'f"{label} is void. {NEXT_STEP}"', False),
        ("The oldest turn was left out.", "f\"The oldest {'turn was' if n == 1 else many} left out.\"", True),
        ("The oldest talk was left out.", "f\"The oldest {'turn was' if n == 1 else 'more'} left out.\"", False),
        ("Some words that are long", 'f"{a} {b}"', False),
    ],
)
def test_a_changed_sentence_would_be_noticed(template, sentence, said):
    assert says(re.compile(pattern_of(ast.parse(sentence, mode="eval").body)), template) is said


# --- real errors -----------------------------------------------------------------------------------------------------


def message_of(act, *given, **named):
    with pytest.raises((NextGPTError, ValueError)) as raised:
        act(*given, **named)
    return str(raised.value)


def real_messages(folder):
    """What a person at the page may be told, by the program itself."""
    odd = "{0} a+b (c) [d].*"
    note, limits, service, settings = folder / f"{odd}.png", Limits(), ServiceLimits(), GenerationSettings()
    note.write_text("these are words, not pixels")
    runner, store = Runner(lambda: None, capacity=0), TalkStore(folder / "talks")
    busy = [message_of(runner.check_room)]
    runner.pipeline = object()
    runner._took.append(7.0)
    busy.append(message_of(runner.check_room))
    runner.close()
    owner = store.owner_of(store.new_browser_id())
    broken = _Decoder(SimpleNamespace(path=odd, name=odd, output="", limits=limits, exact=False))._broken
    decoders = {"image": SimpleNamespace(vae_scale_factor=8)}
    yield from (
        *busy,
        message_of(runner.check_room),
        message_of(read_media, b"", name=odd),
        message_of(read_media, note),
        message_of(read_media, folder / "gone.wav"),
        *(str(broken(thing, "nothing to decode")) for thing in ("PNG picture", "clip", "sound", "clip or sound")),
        message_of(limits.check_bytes, odd, 30_000_000),
        message_of(limits.check_unpacked, odd, 30_000_000, 20_000_000),
        message_of(limits.check_size, odd, 9000, 8000),
        message_of(limits.check_size, odd, 20_000, 8),
        message_of(limits.check_sound, odd, 1, 400_000),
        message_of(limits.check_sound, odd, 700, 8000),
        message_of(limits.check_clip, odd, 70, 1),
        message_of(limits.check_clip, odd, 1, 5000),
        message_of(_check_aspect, "The picture", 2, 3000),
        message_of(Conversation().add_user),
        message_of(service.check, 0, "x" * 30_000, ()),
        message_of(service.check, 0, "x", ["file"] * 11),
        message_of(service.check, 400, "x", ()),
        message_of(settings.with_value, "image.steps", 999),
        message_of(settings.with_value, "audio.seconds", 99),
        message_of(settings.with_value, "video.width", 5000),
        message_of(settings.with_value, "seed", -1),
        message_of(check_sizes, settings.with_value("image.width", 33), decoders, ["image"]),
        message_of(find_generated, (), "none"),
        message_of(store.info, owner, "none"),
        message_of(store.share, owner, "none"),
        *(failure_message(kind, RuntimeError()) for kind in ("image", "audio", "video")),
        *(failure_message(kind, torch.OutOfMemoryError()) for kind in ("image", "audio", "video")),
        FlaggedImage.notice,
        UnknownMedia().message,
        UnknownMedia().larger,
    )
    store.close()


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return list(real_messages(tmp_path_factory.mktemp("told")))


@in_every_language
def test_what_the_program_really_says_is_translated_with_its_names_and_numbers(say, messages):
    for message in messages:
        translated = told(message, say)
        english = {"the", "is", "are", "has", "was", "most", "at", "Send", "Try", "with", "picture", "sound", "talk"}
        left = english & set(re.findall(r"[A-Za-z]+", translated))
        assert translated != message and not left, (translated, left)
        assert set(re.findall(r"\d+", translated)) == set(re.findall(r"\d+", message)), translated
        assert ("{0} a+b (c) [d].*" in translated) == ("{0} a+b (c) [d].*" in message)


def test_english_stays_english(messages):
    assert all(told(message, ENGLISH) == message for message in messages)


# --- what is filled in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["", "The moon is full.", "{name} is full", "a picture", "seconds is"])
def test_an_unknown_sentence_stays_as_it_is(message):
    assert told(message, GERMAN) == message


@pytest.mark.parametrize(
    "name", ["{seconds}", "{our_next}", "a\nb", "(.*", r"\1", "text", "x is empty (0 bytes). y", "sound, clip"]
)
def test_a_files_name_is_filled_in_as_it_is(name):
    assert told(f"{name} was not found. Check its path.", GERMAN) == f"{name} wurde nicht gefunden. Prüfe den Pfad."


def test_words_of_ours_within_a_sentence_are_translated_too():
    assert "PDF-Dokument" in told(
        "x.png is not a picture, sound or clip that can be read (it looks like a PDF document). Send it.", GERMAN
    )
    assert told("tiny cannot make clips; it makes words, pictures.", GERMAN).endswith(
        "keine Clips, sondern: Worte, Bilder."
    )
    full = "The server's disk is full: nothing more can be stored. Delete old talks."
    lost = f"This reply could not be stored and will be gone when the page is closed: {full}"
    assert told(lost, GERMAN).endswith(f": {told(full, GERMAN)}")


def test_of_several_templates_the_closest_is_taken():
    said = told("seconds is 99 seconds; choose a value from 0.5 to 30.0 seconds.", GERMAN)
    assert said == "Sekunden: 99 geht nicht; wähle einen Wert von 0.5 bis 30.0 Sekunden."


# --- where it is shown -----------------------------------------------------------------------------------------------

EMPTY = "<b>.png is empty (0 bytes). Send another."
LEER = "&lt;b&gt;.png ist leer (0 Byte). Send another."


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: said.append(text))
    return said


def test_a_warning_is_in_the_browsers_language_and_escaped(warnings):
    for language in ("de-AT", "en", "fr"):
        tell(LimitError(EMPTY), language)
    english = "&lt;b&gt;.png is empty (0 bytes). Send another."
    assert warnings == [LEER, english, english]


def test_a_setting_out_of_range_is_told_in_the_browsers_language(warnings):
    session = SimpleNamespace(language="de", settings=GenerationSettings())
    service = SimpleNamespace(set=lambda session, path, value: session.settings.with_value(path, value))
    Settings(SimpleNamespace(service=service, session=lambda *_: session)).set_value("image.steps", 999, None)
    assert warnings == ["Schritte: 999 geht nicht; wähle einen Wert von 1 bis 200."]


def words(message):
    return " | ".join(block["text"] for block in message["content"])


def test_notices_and_failures_are_told_in_the_pages_language_while_a_reply_is_made_and_later():
    live = LiveReply(str, GERMAN)
    live.add(Notice("This reply was stopped after 9 seconds, the longest allowed."))
    live.add(Failed("m", EMPTY))
    assert "nach 9 Sekunden angehalten" in words(live.message()) and LEER in words(live.last_message())
    turn = Turn("assistant", (TextPart("This talk was deleted."),))
    kept = words(turn_message(turn, str, [EMPTY], say=GERMAN))
    assert LEER in kept and "This talk was deleted." in kept  # what the model said stays what it said


def test_why_the_model_could_not_be_loaded_is_told_in_the_browsers_language():
    fault = "Something went wrong while the model was loaded; the server's log says more. Run the doctor command."
    runner = SimpleNamespace(status=RunnerStatus("failed", fault), pipeline=None)
    shown = Status(SimpleNamespace(runner=runner), "tiny").header(GERMAN)
    assert "Beim Laden des Modells ging etwas schief" in shown and "went wrong" not in shown


def test_addresses_of_our_own_answer_in_the_browsers_language(tmp_path):
    store = TalkStore(tmp_path)
    headers = {
        "accept-language": "es",
        "content-type": "application/zip",
        "cookie": f"{COOKIE}={store.new_browser_id()}",
    }
    client = TestClient(Starlette(routes=Routes(store, tmp_path).all()))
    taken = client.post("/talks/import?name=mine.zip", content=b"no zip", headers=headers)
    assert taken.status_code == 400 and taken.json()["error"].startswith("mine.zip no es una conversación guardada")
    assert client.get("/talks/none.zip", headers=headers).text == texts_in("es").not_here
    assert client.get("/talks/none.zip", headers={"cookie": headers["cookie"]}).text == ENGLISH.not_here
    store.close()


def test_a_list_that_cannot_be_read_says_so_in_the_browsers_language():
    def talks(*_):
        raise BusyError("Another process is using the talks. Try again in a moment.")

    session = SimpleNamespace(owner="x", language="zh-CN", search="", talk=SimpleNamespace(id=None))
    shown = talk_list(SimpleNamespace(store=SimpleNamespace(talks=talks)), session)
    assert "另一个进程正在使用对话" in shown and "Another process" not in shown
