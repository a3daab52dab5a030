"""What can be done with a message or a medium, as buttons in the message's HTML; assets/actions.js acts on presses.

Gradio's sanitiser lets names and values of buttons through, but no data attributes.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from ..content import MediaPart, TextPart, Turn
from ..conversation import REMADE
from . import texts

Rating = tuple[bool, str]
"""Whether a reply was liked, and why."""
SPOKEN = {
    "edit": texts.EDIT,
    "edit_about": texts.EDIT_ABOUT,
    "send": texts.SEND,
    "cancel": texts.CANCEL,
    "why": texts.WHY,
    "why_placeholder": texts.WHY_PLACEHOLDER,
    "reasons": texts.REASONS,
}
"""What the script says."""


def _act(name: str, value: object, words: str, about: str = "", chosen: bool = False) -> str:
    title = f' title="{_line(about)}"' if about else ""
    marked = "act chosen" if chosen else "act"
    return f'<button type="button" class="{marked}" name="{name}" value="{_line(value)}"{title}>{_line(words)}</button>'


def _line(text: object) -> str:
    """Escaped for HTML within Markdown, on one line."""
    return html.escape(" ".join(str(text).split()))


def edit_act(index: int, turn: Turn) -> str:
    """For a user's message: the button to change it, which carries its words exactly as they are."""
    words = "\n".join(part.text for part in turn.parts if isinstance(part, TextPart))
    kept = html.escape(words).replace("\r", "").replace("\n", "&#10;")
    button = _act("edit", index, texts.EDIT, texts.EDIT_ABOUT).replace("<button", f'<button placeholder="{kept}"', 1)
    return f'<span class="acts edit">{button}</span>'


def rating_acts(index: int, rating: Rating | None = None) -> str:
    """For a reply: is it good or bad, and why."""
    liked = None if rating is None else rating[0]
    why = f'<span class="why">{_line(rating[1])}</span>' if rating and rating[1] else ""
    good = _act("like", index, texts.GOOD, texts.LIKE, liked is True)
    bad = _act("dislike", index, texts.BAD, texts.DISLIKE, liked is False)
    return f'<span class="acts rate">{good}{bad}{why}</span>'


def medium_acts(part: MediaPart, again: bool = True) -> str:
    """For a generated medium: how it was made, and what to do with it. ``again``: whether it can be made again."""
    noun = texts.NOUNS[part.kind]
    use = _act("use", part.id, texts.USE, texts.USE_ABOUT.format(noun=noun))
    ways = ""
    if again:
        by_words = part.details.get("conditioning") == "caption"
        said = {
            "seed": texts.AGAIN_SEED,
            "steps": texts.AGAIN_STEPS,
            "settings": texts.AGAIN_SETTINGS,
            "conditioning": texts.AGAIN_SIGNAL if by_words else texts.AGAIN_CAPTION,
        }
        ways = "".join(_act(f"again-{way}", part.id, words) for way, words in said.items())
        ways = f'<span class="ways">{_line(texts.AGAIN)} {ways}</span>'
    return (
        f'{use}<details class="facts"><summary>{_line(texts.DETAILS)}</summary>{_facts(part.details)}{ways}</details>'
    )


def _facts(details: Mapping[str, Any]) -> str:
    known = {name: value for name, value in details.items() if name in texts.FACTS and value is not None}
    rows = "".join(f"<dt>{_line(texts.FACTS[name])}</dt><dd>{_line(value)}</dd>" for name, value in known.items())
    return f"<dl>{rows}</dl>"


def variant_of(part: MediaPart) -> str:
    """What tells a medium made again from its first; empty for a first one."""
    if not part.details.get(REMADE):
        return ""
    by_words = part.details.get("conditioning") == "caption"
    return texts.BY_CAPTION if by_words else texts.MADE_AGAIN
