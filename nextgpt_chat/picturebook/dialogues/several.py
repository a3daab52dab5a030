"""The words of requests for one or several media of one thing: "draw it and let me hear it"."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from nextgpt_chat.picturebook.dialogues.phrasing import SIZES_SAID, motion, say
from nextgpt_chat.picturebook.dialogues.turns import MEDIA

_CLAUSES = {
    "image": (
        "draw {x}",
        "paint {x}",
        "show me a picture of {x}",
        "make a picture of {x}",
        "give me an image of {x}",
    ),
    "audio": ("let me hear {x}", "play the sound of {x}", "make the sound of {x}"),
    "video": ("make a clip of {x}", "make a video of {x}", "animate {x}", "show me a clip of {x}"),
}
_CLAUSES_OF_IT = {
    "image": ("draw it", "paint it", "show me a picture of it", "make a picture of it", "let me see it"),
    "audio": ("let me hear it", "play its sound", "make its sound", "let me hear its sound", "let me listen to it"),
    "video": ("make a clip of it", "animate it", "show it moving", "let it move", "make a video of it"),
}
_NOUNS = {
    "image": ("a picture", "a picture", "an image", "a drawing"),
    "audio": ("the sound", "the sound", "audio", "the noise"),
    "video": ("a clip", "a video", "a film"),
}
_NOUNS_OF_IT = {
    "image": ("a picture of it", "its picture", "a drawing of it"),
    "audio": ("its sound", "its noise", "the sound of it", "the noise that it makes"),
    "video": ("a clip of it", "a video of it", "a film of it"),
}
_ONE_AFTER_ANOTHER = ("", "", "i want ", "i would like ", "give me ", "make ", "can i have ")
_BETWEEN = (" and ", " and ", ", and ", " with ", " plus ", ", then ")
_TOO = ("", "", "", " too", " as well")
_ASK_FOR_NOUNS = (
    "make {n} of {x}",
    "i want {n} of {x}",
    "give me {n} of {x}",
    "{n} of {x}",
    "can i have {n} of {x}?",
    "i would like {n} of {x}",
)


def in_some_order(rng: random.Random, kinds: Collection[str]) -> list[str]:
    """The order in which media are asked for, and so in which the reply gives them: mostly that of `MEDIA`."""
    ordered = [kind for kind in MEDIA if kind in kinds]
    if rng.random() < 0.4:
        rng.shuffle(ordered)
    return ordered


def make_all(rng: random.Random, kinds: Sequence[str], subject: str, named: Mapping[str, str]) -> str:
    """A request for one or several media of one subject (a noun phrase, or "it"), in the order of ``kinds``.

    ``named`` is what is asked of them beyond the subject: motion, pitch, speed, and changes of its looks.
    """
    how = [how_it_sounds(rng, named)] if "audio" in kinds else []
    if len(kinds) > 1 and rng.random() < 0.5 and not set(named) - {"pitch", "speed", "motion"}:
        text = _nouns(rng, kinds, subject)
        if "motion" in named and "video" in kinds:
            text = f"{text.removesuffix('?')}, it should {motion(rng, named['motion'])[0]}"
        return " ".join([text.removesuffix("?") if how[:1] != [""] else text, *how]).strip()
    clauses = []
    looks = looked_like(rng, named)
    for kind in kinds:
        if kind == "video" and "motion" in named and (clauses or rng.random() < 0.7):
            clause = f"let {'it' if clauses else subject} {motion(rng, named['motion'])[0]}"
        elif clauses:
            clause = rng.choice(_CLAUSES_OF_IT[kind])
        else:
            clause = rng.choice(_CLAUSES_OF_IT[kind] if subject == "it" else _CLAUSES[kind]).format(x=subject)
        if kind == "video" and "motion" in named and not clause.startswith("let "):
            clause += f" {motion(rng, named['motion'])[2]}"
        if looks and kind != "audio":
            clause, looks = f"{clause} {looks}", ""
        if kind == "audio" and how[0]:
            clause += f" {how[0]}"
        clauses.append(clause)
    joined = rng.choice((_joined(clauses), *(between.join(clauses) for between in (", ", ", then ", " and then "))))
    return f"{rng.choice(('can you', 'could you'))} {joined}?" if rng.random() < 0.12 else joined


def _nouns(rng: random.Random, asked: Sequence[str], subject: str) -> str:
    """ "i want a picture and a clip of a car", or "i want a picture of a car and a clip of it"."""
    if rng.random() < 0.5:
        nouns = _joined([rng.choice(_NOUNS[kind]) for kind in asked])
        return rng.choice(_ASK_FOR_NOUNS).format(n=nouns, x=subject)
    begin = rng.choice(_ONE_AFTER_ANOTHER)
    more = [rng.choice(_BETWEEN) + rng.choice(_NOUNS_OF_IT[kind]) for kind in asked[1:]]
    end = rng.choice(_TOO) + ("?" if begin.startswith("can") else "")
    return f"{begin}{rng.choice(_NOUNS[asked[0]])} of {subject}{''.join(more)}{end}"


def looked_like(rng: random.Random, named: Mapping[str, str]) -> str:
    """Looks after "draw it": in blue, big, on the left."""
    parts = [f"in {say(rng, 'colour', named['colour'])}"] if "colour" in named else []
    if "size" in named:
        parts.append("in medium size" if named["size"] == "medium" else SIZES_SAID[named["size"]][rng.randrange(2)])
    return " ".join(parts + [say(rng, key, named[key]) for key in ("position", "place") if key in named])


def how_it_sounds(rng: random.Random, named: Mapping[str, str]) -> str:
    """Pitch and speed after "let me hear it"."""
    return " and ".join(say(rng, key, named[key]) for key in ("pitch", "speed") if key in named)


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
