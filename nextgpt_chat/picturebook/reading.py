"""Reads a text for the attributes that it names: the judge of captions and answers.

It knows words and phrases, not grammar. The text is rewritten step by step: phrases first, then single words, become
marks such as ``@colour:red``; the rest of the text only matters to rules that drop marks (negation, "the blue sky").
"""

from __future__ import annotations

import re

from nextgpt_chat.picturebook.phrases import PHRASES
from nextgpt_chat.picturebook.synonyms import SINGLE_WORDS
from nextgpt_chat.picturebook.values import SOUNDING_THINGS, WEATHER

KEYS = ("thing", "colour", "size", "position", "place", "motion", "source", "pitch", "speed")

_WORD = re.compile(r"(?<![@:\w])[a-z]+")
_SINGLES = {
    word: f"@{key}:{value}"
    for key, rows in SINGLE_WORDS.items()
    for value, forms in rows.items()
    for word in forms.split()
}
_LOOK = r"@(?:colour|size):\w+ "
_PREPOSITION = r"(?:in|on|at|under|by|over|near|and|or|from|to|with|but|above|off|of|is)"
_PLACE_LOOK = re.compile(
    rf"{_LOOK}(?:(?:, |and )?{_LOOK})*(?:(?!{_PREPOSITION} )[a-z]+ )?(?=@place:(?:sky|night|grass|sea|sand))"
)
"""The look of a place, as in "the blue sky" and "a wide green meadow", is not the thing's."""
_PLACE_IS = re.compile(rf"((?:^ |[.,] |and |while |but )(?:the )?@place:\w+ (?:is|looks|was) ){_LOOK}")
_NEITHER = re.compile(r"neither (?:[a-z]+ ){0,3}@(size|pitch|speed|position):\w+ n?or (?:[a-z]+ ){0,3}@\1:\w+")
_BETWEEN = {"size": "medium", "pitch": "normal", "speed": "normal", "position": "middle"}


def parse(text: str) -> dict[str, str]:
    """The attributes that a text names, as canonical words under some of the keys `KEYS`.

    - A thing that sounds gives "thing" and "source", weather only "source", a silent thing only "thing". A sound's verb
      ("it barks") gives "source" if the text names no thing and no weather; "rings" fits two sources and gives none.
    - If a text names several values of a key, the first counts ("a red car, not a blue one"; "a bird or a dog").
    - What is negated is not named ("it is not red" gives no colour), except that "does not move" is motion "still" and
      "neither high nor low" is "normal".
    - "left" and "right" are a motion after a verb of moving ("drives to the right"), else a position.
    - The colour or size of a place is not the thing's ("a red car under a blue sky").
    """
    line = _normalise(text)
    for pattern, replacement in PHRASES:
        line = pattern.sub(replacement, line)
    line = _WORD.sub(lambda match: _SINGLES.get(match[0], match[0]), line)
    line = _PLACE_LOOK.sub("", line)
    line = _PLACE_IS.sub(r"\1", line)
    line = _NEITHER.sub(lambda match: f"@{match[1]}:{_BETWEEN[match[1]]}", line)
    return _collect(_without_negated(line.split()))


def _normalise(text: str) -> str:
    """Lower case, no hyphens, "n't" spelled out, a space around every word; "," "." and ":" stand for all marks."""
    line = text.lower().replace("’", "'").replace("`", "'")
    line = re.sub(r",\s*right\s*\?", " ", line)
    line = re.sub(r"\b(?:(ca|wo|sha)n't|cannot)\b", "can not", line)
    line = re.sub(r"(\w)n't\b|\b(do|does|did|is|are|was)nt\b", r"\1\2 not", line)
    line = re.sub(r"'(s|re|m|ll|ve|d)\b", r" \1", line)
    line = re.sub(r"[.!?\n]+", " . ", line)
    line = re.sub(r"[:=]+", " : ", line)
    line = re.sub(r"[,;()\"“”|/–—]+", " , ", line)
    return " " + " ".join(re.sub(r"[^a-z0-9,.:]+", " ", line).split()) + " "


def _collect(tokens: list[str]) -> dict[str, str]:
    first: dict[str, str] = {}
    source = None
    for token in tokens:
        if not token.startswith("@"):
            continue
        key, value = token[1:].split(":")
        first.setdefault(key, value.replace("_", " "))
        if source is None and (key == "source" or (key == "thing" and value in SOUNDING_THINGS)):
            source = value
    if source is None and "thing" not in first:
        source = first.get("verb")
    if source is not None:
        first["source"] = source
    if source in WEATHER and "thing" not in first:
        # Rain falls and wind rises without moving anywhere.
        first.pop("motion", None)
        first.pop("still", None)
    if "still" in first:
        first.setdefault("motion", "still")
    return {key: first[key] for key in KEYS if key in first}


_NEGATORS = frozenset({"not", "never", "neither", "nor", "without", "hardly", "non"})
_BOUNDARIES = frozenset(
    re.findall(
        r"\S+",
        ", . : but and it instead rather however though although because since so yet while then just only "
        "he she they this there",
    )
)
_AFTER_A_MARK = frozenset(
    re.findall(r"\w+", "on in at with to by under near over is are was moves which that who where")
)


def _without_negated(tokens: list[str]) -> list[str]:
    """Drop the marks from a negator to the end of what it negates."""
    kept = []
    negated = hit = False
    for number, token in enumerate(tokens):
        following = tokens[number + 1] if number + 1 < len(tokens) else "."
        if token in _NEGATORS or (
            token == "no" and (following.startswith("@") or following in ("sign", "longer", "sound"))
        ):
            negated, hit = True, False
        elif token in _BOUNDARIES or (hit and token in _AFTER_A_MARK):
            negated = False
        elif token.startswith("@"):
            if negated and hit and token.startswith("@motion"):
                negated = False
            elif negated:
                hit = True
                continue
        kept.append(token)
    return kept
