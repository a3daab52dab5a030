"""What can be done with a message or a medium, as buttons in the message's HTML; assets/actions.js acts on presses.

Gradio's sanitiser lets names and values of buttons through, but no data attributes.
"""

from __future__ import annotations

import html
import json
from typing import Any

from ..content import MediaPart, TextPart, Turn
from ..conversation import REMADE
from .languages import ENGLISH
from .texts import Texts

Rating = tuple[bool, str]
"""Whether a reply was liked, and why."""
_SPOKEN = ("edit", "edit_about", "send", "cancel", "why", "why_placeholder", "reasons", "toasts")


def spoken(say: Texts) -> str:
    """What the script says, for it to read from the page."""
    words = json.dumps({name: getattr(say, name) for name in _SPOKEN} | {"gradios": Texts.toasts})
    return f'<div lang="{say.language}" data-spoken="{html.escape(words)}"></div>'


def _act(name: str, value: object, words: str, about: str = "", chosen: bool = False) -> str:
    title = f' title="{one_line(about)}"' if about else ""
    marked = "act chosen" if chosen else "act"
    said, sent = one_line(words), one_line(value)
    return f'<button type="button" class="{marked}" name="{name}" value="{sent}"{title}>{said}</button>'


def one_line(text: object) -> str:
    """Escaped for HTML within Markdown, on one line."""
    return html.escape(" ".join(str(text).split()))


def words_of(turn: Turn) -> str:
    """The user's own words in a turn, exactly as they are, for giving them back."""
    return "\n".join(part.text for part in turn.parts if isinstance(part, TextPart))


def edit_act(index: int, turn: Turn, say: Texts = ENGLISH) -> str:
    """For a user's message: the button to change it, which carries its words exactly as they are."""
    kept = html.escape(words_of(turn)).replace("\r", "").replace("\n", "&#10;")
    button = _act("edit", index, say.edit, say.edit_about).replace("<button", f'<button placeholder="{kept}"', 1)
    return f'<span class="acts edit">{button}</span>'


def rating_acts(index: int, turn: Turn, rating: Rating | None = None, say: Texts = ENGLISH) -> str:
    """For a reply: is it good or bad, and why; and where it has media, all of them once more beside the first."""
    liked = None if rating is None else rating[0]
    why = f'<span class="why">{one_line(rating[1])}</span>' if rating and rating[1] else ""
    good = _act("like", index, say.good, say.like, liked is True)
    bad = _act("dislike", index, say.bad, say.dislike, liked is False)
    return f'<div class="acts rate">{good}{bad}{why}{_compare_acts(index, turn, say)}</div>'


def _compare_acts(index: int, turn: Turn, say: Texts) -> str:
    if not any(part.generated for part in turn.media):
        return ""
    ways = {"conditioning": say.compare_caption, "settings": say.compare_settings}
    buttons = "".join(_act(f"compare-{way}", index, words) for way, words in ways.items())
    return f'<details class="facts"><summary>{one_line(say.compare)}</summary>{buttons}</details>'


def medium_acts(part: MediaPart, say: Texts = ENGLISH, again: bool = True) -> str:
    """For a generated medium: how it was made, and what to do with it. ``again``: whether it can be made again."""
    use = _act("use", part.id, say.use, say.use_about[part.kind])
    ways = ""
    if again:
        by_words = part.details.get("conditioning") == "caption"
        said = {
            "seed": say.again_seed,
            "steps": say.again_steps,
            "settings": say.again_settings,
            "conditioning": say.again_signal if by_words else say.again_caption,
        }
        ways = "".join(_act(f"again-{way}", part.id, words) for way, words in said.items())
        ways = f'<span class="ways">{one_line(say.again)} {ways}</span>'
    made = f"<summary>{one_line(say.details)}</summary>{_facts(part, say)}{ways}"
    return f'{use}<details class="facts">{made}</details>'


def _facts(part: MediaPart, say: Texts) -> str:
    facts: dict[str, Any] = {**part.details, "took": None if part.took is None else round(part.took, 1)}
    known = {name: value for name, value in facts.items() if name in say.facts and value is not None}
    rows = "".join(f"<dt>{one_line(say.facts[name])}</dt><dd>{one_line(value)}</dd>" for name, value in known.items())
    return f"<dl>{rows}</dl>"


def is_variant(part: MediaPart) -> bool:
    """Whether a medium was made again, to be seen beside its first."""
    return bool(part.details.get(REMADE))


def variant_of(part: MediaPart, say: Texts = ENGLISH) -> str:
    """What tells a medium made again from its first; empty for a first one."""
    if not is_variant(part):
        return ""
    by_words = part.details.get("conditioning") == "caption"
    return say.by_caption if by_words else say.made_again
