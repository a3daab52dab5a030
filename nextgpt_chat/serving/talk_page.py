"""A talk as one HTML page, to save or to share.

What is in a talk came from anyone: on the page everything is escaped, and the page forbids itself scripts and
connections.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from ..content import MediaPart, Part, TextPart, Turn, storable
from ..conversation import Conversation
from ..errors import NextGPTError

MIME = {".png": "image/png", ".wav": "audio/wav", ".mp4": "video/mp4"}
FACTS = {
    "seed": "Seed",
    "steps": "Steps",
    "guidance_scale": "Guidance",
    "scheduler": "Scheduler",
    "conditioning": "Conditioned by",
    "seconds": "Length in seconds",
    "took": "Made in seconds",
}
"""What is told of how a medium was made."""
ENGLISH = {
    "untitled": "A talk",
    "user": "User",
    "assistant": "Assistant",
    "generated": "AI-generated",
    "stopped": "This reply was stopped before its end.",
    "undescribed": "Without a description",
    "gone": "It is no longer kept.",
    "details": "Details",
    "footer": "A talk with NExT-GPT chat. The assistant's words and what is marked “AI-generated” were made by a model "
    "and may be wrong.",
}
"""The page's own words, by what they are for."""

Source = Callable[[str], str]
"""The address of a medium by its sha256, for ``src``. Raises NextGPTError or OSError where it is not there."""


def within(path_of: Callable[[str], Path]) -> Source:
    """Media as part of the page itself; ``path_of`` gives a medium's file by its sha256."""

    def source(sha256: str) -> str:
        path = path_of(sha256)
        return f"data:{MIME[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"

    return source


def page(
    conversation: Conversation,
    title: str,
    source: Source,
    media_from: str = "data:",
    language: str = "en",
    say: Mapping[str, str] = ENGLISH,
) -> str:
    """One HTML page with its style sheet within, no scripts. With ``source`` of :func:`within` it needs nothing else.

    ``media_from``: where the page lets its media come from (a source of a content security policy). ``say``: the page's
    own words in ``language``.

    Generated media and the assistant's turns are labelled; media carry their caption as their description.
    """
    heading = _text(title) or _text(say["untitled"])
    turns = "\n".join(_turn(turn, source, say) for turn in conversation.turns)
    return f"""<!DOCTYPE html>
<html lang="{escape(language, quote=True)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(media=media_from)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{heading}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1 dir="auto">{heading}</h1>
{turns}
</main>
<footer>{_text(say["footer"])}</footer>
</body>
</html>
"""


def _turn(turn: Turn, source: Source, say: Mapping[str, str]) -> str:
    assistant = turn.role == "assistant"
    name = f"{_text(say['assistant'])} {_label(say)}" if assistant else _text(say["user"])
    parts = "\n".join(_part(part, source, say) for part in turn.parts)
    stopped = f'\n<p class="note">{_text(say["stopped"])}</p>' if turn.cancelled else ""
    return f'<article class="{turn.role}">\n<h2>{name}</h2>\n{parts}{stopped}\n</article>'


def _part(part: Part, source: Source, say: Mapping[str, str]) -> str:
    if isinstance(part, TextPart):
        return f'<p class="words" dir="auto">{_text(part.text)}</p>'
    about = _text(part.caption or part.name) or _text(say["undescribed"])
    label = f"{_label(say)} " if part.generated else ""
    known = part.details if part.took is None else {**part.details, "took": round(part.took, 1)}
    named = [(say.get(name, english), known[name]) for name, english in FACTS.items() if known.get(name) is not None]
    facts = ", ".join(f"{_text(name)}: {_text(_value(value))}" for name, value in named)
    details = f"\n<details><summary>{_text(say['details'])}</summary>{facts}</details>" if facts else ""
    caption = f'<figcaption>{label}<span dir="auto">{about}</span>{details}</figcaption>'
    return f"<figure>\n{_player(part, about, source, say)}\n{caption}\n</figure>"


def _player(part: MediaPart, about: str, source: Source, say: Mapping[str, str]) -> str:
    try:
        address = escape(source(part.media.sha256), quote=True)
    except (NextGPTError, OSError):  # deleted meanwhile
        return f'<p class="note">{_text(say["gone"])}</p>'
    if part.kind == "image":
        return f'<img src="{address}" alt="{about}">'
    tag = part.kind
    return f'<{tag} controls preload="metadata" aria-label="{about}" src="{address}"></{tag}>'


def _label(say: Mapping[str, str]) -> str:
    return f'<span class="label">{_text(say["generated"])}</span>'


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    """Escaped for content and for quoted attributes; control characters, which HTML forbids, left out."""
    kept = "".join(letter for letter in storable(text) if letter in "\t\n" or (letter >= " " and letter != "\x7f"))
    return escape(kept, quote=True)


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src {media}; media-src {media}; base-uri 'none'; "
    "form-action 'none'"
)
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --words: #1c1c22; --user: #e9effc; --soft: #565660; --line: #c9c9d2 }
@media (prefers-color-scheme: dark) {
  :root { --page: #17171c; --words: #ececf1; --user: #243352; --soft: #b4b4c0; --line: #44444f }
}
body { margin: 0; background: var(--page); color: var(--words); font: 16px/1.5 system-ui, sans-serif }
main, footer { max-width: 46rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: .9rem; margin: 0 0 .3rem; color: var(--soft) }
article { margin: 1rem 0; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .8rem }
article.user { background: var(--user); margin-inline-start: 10% }
.words { white-space: pre-wrap; margin: .3rem 0 } .note, footer, details { color: var(--soft); font-size: .9rem }
figure { margin: .6rem 0 } img, video { max-width: 100%; border-radius: .5rem } audio { width: 100% }
.label { font-size: .75rem; font-weight: 600; border: 1px solid var(--line); border-radius: .4rem; padding: 0 .35rem }
"""
