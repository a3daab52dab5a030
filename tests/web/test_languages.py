"""The page's languages: complete, and chosen as the browser asks."""

import string
from types import SimpleNamespace

import pytest

from nextgpt_chat.web.languages import ENGLISH, language_of, languages, texts_in, translations
from nextgpt_chat.web.page import COMPOSED
from nextgpt_chat.web.texts import Texts

TRANSLATED = sorted(set(languages()) - {"en"})
SAME_EVERYWHERE = {"title", "clip", "clips", "top_p"}


def asking(header):
    return SimpleNamespace(headers={} if header is None else {"accept-language": header})


def blanks(sentence):
    """What is filled into a sentence, with its format."""
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(sentence) if name)


def test_german_chinese_and_spanish_are_spoken():
    assert {"de", "es", "zh"} <= set(TRANSLATED)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_is_complete_and_fills_in_the_same_things(language):
    said = languages()[language].all()
    for name, english in ENGLISH.all().items():
        if name == "told":  # sentences from below the page, English where they are made: see test_told.py
            continue
        pairs = {"": (english, said[name])}
        if isinstance(english, dict):
            assert said[name].keys() == english.keys()
            pairs = {key: (english[key], said[name][key]) for key in english}
        elif isinstance(english, list):
            assert len(said[name]) == len(english)
            pairs = dict(enumerate(zip(english, said[name], strict=True)))
        for key, (one, other) in pairs.items():
            assert blanks(one) == blanks(other), (name, key)
            assert one != other or name in SAME_EVERYWHERE or key in ("video", "error"), (name, key)


def test_a_sentence_that_the_page_never_says_cannot_be_translated():
    with pytest.raises(ValueError, match="'stopp'"):
        Texts("de", {"stopp": "Anhalten"})


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("zh-CN", "zh"),
        ("es;q=0.8", "es"),
        ("fr,de;q=0.9", "en"),  # as the browser's own script chooses
        ("", "en"),
        (None, "en"),
        ("<script>", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_wants_most(header, language):
    assert texts_in(language_of(asking(header))).language == language


def test_calls_from_within_the_program_are_answered_in_english():
    assert language_of(None) == "en"


def test_the_browser_gets_every_sentence_in_every_language():
    tables = translations(COMPOSED).translations_dict
    assert tables.keys() == languages().keys()
    assert all(table.keys() == tables["en"].keys() for table in tables.values())
    assert "Neues Gespräch" in tables["de"].values() and "Foto machen" in tables["de"]["camera"]
