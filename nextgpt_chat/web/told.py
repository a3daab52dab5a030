"""Sentences that come from below the page, errors and notices, in the language of a browser.

Where they are raised, stored and logged they are English; a language's ``told`` has them as templates.
"""

from __future__ import annotations

import re
import string
from functools import cache

from .texts import Texts

OURS = "our_"
"""What the name of a placeholder begins with that stands for words of ours: they are translated too, by themselves.
What any other one stands for (a file's name, a number, another program's words) is filled in as it is."""


def told(message: str, say: Texts) -> str:
    """``message`` in the language of ``say``; as it is where that has no template for it."""
    for template, translated in _templates(say):
        if found := template.fullmatch(message):
            words = found.groupdict()
            return translated.format_map(
                {name: _ours(said, say) if name.startswith(OURS) else said for name, said in words.items()}
            )
    return message


def _ours(words: str, say: Texts) -> str:
    """A phrase of ours, or several with commas between."""
    whole = told(words, say)
    return whole if whole != words else ", ".join(told(phrase, say) for phrase in words.split(", "))


@cache
def _templates(say: Texts) -> list[tuple[re.Pattern[str], str]]:
    """Those with the most words of their own first, for of several that match they say most exactly what is meant."""
    found = []
    for english, translated in say.told.items():
        pieces = [(words, name) for words, name, _, _ in string.Formatter().parse(english)]
        pattern = "".join(re.escape(words) + (f"(?P<{name}>.*)" if name else "") for words, name in pieces)
        found.append((sum(len(words) for words, _ in pieces), re.compile(pattern, re.DOTALL), translated))
    return [(pattern, translated) for _, pattern, translated in sorted(found, key=lambda one: -one[0])]
