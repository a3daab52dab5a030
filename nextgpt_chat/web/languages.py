"""The languages that the page speaks, and which of them a browser wants.

What stands on the page from the start is translated in the browser (``gr.I18n``); what the server says while it works,
in the language that the browser's request asks for first, which is the one that ``gr.I18n`` takes too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from .texts import Texts

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "languages"
ENGLISH = Texts()
SAID_IN_BROWSER = gr.I18n()
"""name → what a component is given, for the browser to put the words in."""


@cache
def languages() -> dict[str, Texts]:
    """Language → its sentences. Each file of assets/languages is one language, named by its code."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    return {"en": ENGLISH} | {language: Texts(language, said) for language, said in read.items()}


def texts_in(language: str) -> Texts:
    """The sentences in a language by its tag ("de", "zh-CN"); English where it is not spoken."""
    return languages().get(language.partition("-")[0].lower(), ENGLISH)


def language_of(request: Any) -> str:
    """The tag of the language that a browser's request (gradio's or starlette's) asks for first; "en" without one."""
    headers = getattr(request, "headers", None)
    wanted = headers.get("accept-language") if headers is not None else None
    return (wanted or "").partition(",")[0].partition(";")[0].strip() or "en"


def translations(composed: Mapping[str, Callable[[Texts], str]]) -> gr.I18n:
    """What the browser translates by: every plain sentence by its name, and what is ``composed`` of several."""
    tables = {}
    for language, texts in languages().items():
        plain = {name: said for name, said in texts.all().items() if isinstance(said, str)}
        tables[language] = plain | {name: compose(texts) for name, compose in composed.items()}
    return gr.I18n(**tables)
