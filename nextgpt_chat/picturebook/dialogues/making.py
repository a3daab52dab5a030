"""Dialogues in which media are made: from words, several at once, across modalities, and changes of what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nextgpt_chat.picturebook.dialogues import answers, requests, several
from nextgpt_chat.picturebook.dialogues.defaults import ALLOWED, ATTRIBUTES, attributes, complete, random_attributes
from nextgpt_chat.picturebook.dialogues.phrasing import clip_phrase, plain_scene_phrase, sound_phrase
from nextgpt_chat.picturebook.dialogues.talk import Talk, some
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, kind_of
from nextgpt_chat.picturebook.values import SILENT_THINGS, SOUNDING_THINGS, SOUNDS, THINGS, WEATHER, Value


def make(talk: Talk, kind: str) -> None:
    """One medium from a full or partial description in words."""

    def attempt():
        named = some(talk.rng, kind, talk.value(kind))
        target = complete(kind, named)
        return (named, target), [target], []

    named, target = talk.search(attempt)
    talk.user(requests.make(talk.rng, kind, named), request=True)
    talk.make(target)


def make_of_one(talk: Talk, kinds: Sequence[str], things: Sequence[str] = SOUNDING_THINGS) -> None:
    """Two or three media of the same thing: "draw a bell and let me hear it"."""
    looks, moves, sounds = ("thing", *ATTRIBUTES["image"][1:]), ("motion",), ("pitch", "speed")
    ordered = several.in_some_order(talk.rng, kinds)
    wanted = looks * bool({"image", "video"} & set(kinds)) + moves * ("video" in kinds) + sounds * ("audio" in kinds)

    def attempt():
        shown = random_attributes(talk.rng, things)
        rest = [key for key in wanted if key != "thing"]
        kept = rest if talk.rng.random() < 0.2 else talk.rng.sample(rest, talk.rng.randrange(min(4, len(rest)) + 1))
        named = {key: shown[key] for key in wanted if key == "thing" or key in kept}
        targets = [complete(kind, named) for kind in ordered]
        return (named, targets), targets, []

    named, targets = talk.search(attempt)
    subject = plain_scene_phrase(talk.rng, named)
    rest = {key: named[key] for key in (*moves, *sounds) if key in named}
    talk.user(several.make_all(talk.rng, ordered, subject, rest), request=True)
    talk.make(*targets)


def make_pair(talk: Talk) -> None:
    """Two media of two things in one request: "draw a red ball and a blue star"."""
    pairs = (("image", "image"), ("image", "image"), ("audio", "audio"), ("image", "audio"), ("video", "video"))
    kinds = talk.rng.choice(pairs)

    def attempt():
        named = [some(talk.rng, kind, talk.value(kind), whole=0.2) for kind in kinds]
        targets = [complete(kind, one) for kind, one in zip(kinds, named, strict=True)]
        return (named, targets), targets, []

    (first, second), targets = talk.search(attempt)
    phrase = {"image": plain_scene_phrase, "audio": sound_phrase, "video": clip_phrase}
    one, two = phrase[kinds[0]](talk.rng, first), phrase[kinds[1]](talk.rng, second)
    if kinds == ("image", "audio"):
        texts = ("draw {0} and let me hear {1}", "a picture of {0} and the sound of {1}", "show me {0} and play {1}")
    elif kinds[0] == "image":
        texts = (
            "draw {0} and {1}", "draw {0} and then {1}", "two pictures: {0} and {1}",
            "paint {0}, then paint {1}", "make a picture of {0} and a picture of {1}", "show me {0} and {1}",
        )  # fmt: skip
    elif kinds[0] == "audio":
        texts = (
            "let me hear {0} and then {1}",
            "play {0} and {1}",
            "two sounds: {0} and {1}",
            "the sound of {0} and the sound of {1}",
        )
    else:
        texts = (
            "make a clip of {0} and a clip of {1}",
            "two clips: {0} and {1}",
            "make a video of {0}, then one of {1}",
        )
    talk.user(talk.rng.choice(texts).format(one.replace(". it", ", it"), two), request=True)
    talk.make(*targets)


def make_several(talk: Talk) -> None:
    """Any way to ask for more than one medium, also where one of them is not to be had."""
    way = talk.rng.random()
    if way < 0.3:
        make_pair(talk)
    elif way < 0.4 and not talk.held_out:
        _make_what_is_silent(talk)
    else:
        kinds = talk.rng.choice((("image", "audio"), ("image", "audio"), ("image", "video"), ("audio", "video"), MEDIA))
        make_of_one(talk, kinds, SOUNDING_THINGS if "audio" in kinds else THINGS)


def _make_what_is_silent(talk: Talk) -> None:
    value = talk.value("image", SILENT_THINGS)
    named = some(talk.rng, "image", value, whole=0.1)
    target = complete("image", named)
    talk.user(several.make_all(talk.rng, ("image", "audio"), plain_scene_phrase(talk.rng, named), {}), request=True)
    talk.make(target, last=answers.makes_no_sound(value.thing))


# Across modalities: (kind that is there, kind that is asked for) → texts that only make sense there.

_ACROSS = {
    ("image", "audio"): (
        "what does this sound like?", "what does it sound like?", "how does it sound?", "how does this sound?",
        "let me hear it", "what sound does it make?", "make the sound of this", "what sound does this make?",
        "can i hear it?", "play its sound", "let me hear what you see", "what noise does it make?",
        "the sound of this please", "give me its sound", "sound?",
    ),
    ("video", "audio"): (
        "what does this sound like?", "what does it sound like?", "let me hear it", "what sound does it make?",
        "add the sound", "make a sound for this clip", "make the sound for this video", "can i hear it?",
        "play its sound", "how does it sound?",
    ),
    ("audio", "image"): (
        "what does this look like?", "what does it look like?", "draw what makes this sound", "draw it",
        "draw what you hear", "show me what you hear", "show me who makes this sound",
        "make a picture of what you hear", "how does it look?", "paint it", "can i see it?",
        "make a picture for this sound", "who makes this sound? draw it", "a picture of it please",
    ),
    ("audio", "video"): (
        "make a clip of what you hear", "make a video of what makes this sound", "let it move",
        "show what makes this sound in a clip", "make a clip for this sound", "animate what you hear",
        "film what makes this sound", "make a video for this sound", "make a clip of it",
    ),
    ("image", "video"): (
        "let it move", "make it move", "animate this", "animate it", "make a clip of it",
        "make a clip of this picture", "let this move", "turn this into a video",
        "make a video of this picture", "bring it to life", "show me how it moves", "can it move?",
        "make this picture move", "a clip of it please", "bring this picture to life",
    ),
    ("video", "image"): (
        "make a picture of it", "draw it", "draw what you see in the clip", "paint it",
        "a picture of it please", "show it as a picture", "make a picture of this clip", "draw this",
        "a still picture of it please", "turn this into a picture", "draw a picture of it",
    ),
}  # fmt: skip
SUBJECTS = {
    "image": ("this", "it", "what you see", "what is in the picture", "the thing in the picture"),
    "audio": ("this", "it", "what you hear", "what makes this sound", "the thing that sounds like this"),
    "video": ("this", "it", "what you see", "what is in the clip", "the thing in the video"),
}
_OPEN = {"image": ("colour", "size", "position", "place"), "audio": ("pitch", "speed"), "video": ("motion",)}


def overrides(talk: Talk, kinds: Sequence[str], chance: float) -> dict[str, str]:
    """What a request names of the new media: mostly nothing, motion more often."""
    keys = [*(_OPEN["image"] if {"image", "video"} & set(kinds) else ())]
    named = {key: talk.rng.choice(ALLOWED[key]) for key in keys if talk.rng.random() < chance / 3}
    for kind in ("audio", "video"):
        if kind in kinds and talk.rng.random() < chance:
            named |= {key: talk.rng.choice(ALLOWED[key]) for key in _OPEN[kind][: talk.rng.choice((1, 2))]}
    return named


def without_still(known: Mapping[str, str]) -> dict[str, str]:
    """What is known, but for the motion "still": who asks for a clip of it wants it to move."""
    return {key: word for key, word in known.items() if word != "still"}


def across(talk: Talk, given: str, asked: str, upload: bool = True) -> bool:
    """From one medium to another of the same thing. ``upload``: it comes with the request, else it is the topic.

    False (and no turn) if nothing fits, which can only be where the topic is given and the result is to be held out.
    """
    chance = 0.7 if talk.held_out else 0.35
    things = SOUNDING_THINGS if talk.rng.random() < 0.6 else ()

    def attempt():
        base = talk.value(given, things) if upload else talk.media[-1]
        named = overrides(talk, [asked], chance)
        target = complete(asked, {**without_still(attributes(base) if upload else talk.topic), **named})
        if target is None:
            return None if talk.held_out else ((base, named, None), [], [base])
        return (base, named, target), [target], [base]

    found = talk.search(attempt)
    if found is None:
        return False
    base, named, target = found
    if named and target is not None:
        subject = talk.rng.choice(SUBJECTS[given]) if upload else "it"
        text = several.make_all(talk.rng, [asked], subject, named)
    else:
        text = talk.rng.choice(_ACROSS[given, asked])
    talk.user(text, *([base] if upload else []), request=True)
    if target is not None:
        talk.make(target)
    elif asked == "audio":
        talk.tell(answers.makes_no_sound(attributes(base)["thing"]))
    else:
        talk.tell(answers.has_no_picture(attributes(base)["thing"]))
    return True


def across_to(talk: Talk, asked: str) -> None:
    """Another modality of an upload, or of what has just been made from words."""
    given = talk.rng.choice([kind for kind in MEDIA if kind != asked])
    upload = talk.held_out or talk.rng.random() < 0.7
    if not upload:
        make(talk, given)
    across(talk, given, asked, upload)


NAMES = {
    "image": ("picture", "picture", "image", "drawing"),
    "audio": ("sound", "sound", "noise"),
    "video": ("clip", "clip", "video"),
}
_CHANGED = {
    "image": ("colour", "colour", "size", "position", "place", "place", "thing"),
    "audio": ("pitch", "pitch", "speed", "speed", "thing"),
    "video": ("motion", "motion", "colour", "size", "position", "place", "thing"),
}


def change_kind(talk: Talk, kind: str) -> None:
    """A change of a new medium: an upload, or one made from words."""
    _change(talk, kind, None, "it", upload=talk.rng.random() < 0.5)


def change_shown(talk: Talk, base: Value, subject: str = "it") -> bool:
    """A change of what was shown before. False (and no turn) if none fits."""
    return _change(talk, kind_of(base), base, subject, upload=False)


def change_one_of_several(talk: Talk) -> None:
    """Several media of one thing, then a change of one: of the only one that it can be said of ("make it blue", after a
    picture and a sound), or of the one that is named."""
    rng = talk.rng
    kinds = rng.choice((("image", "audio"), ("audio", "video"), ("image", "video"), MEDIA))
    make_of_one(talk, kinds, SOUNDING_THINGS if "audio" in kinds else THINGS)
    base = rng.choice(talk.media)
    kind = kind_of(base)
    others = {key for other in kinds if other != kind for key in ATTRIBUTES[other]}
    own = [key for key in _CHANGED[kind] if key not in others]
    if own and rng.random() < 0.65:
        _change(talk, kind, base, "it", upload=False, keys=own)
    else:
        _change(talk, kind, base, f"the {rng.choice(NAMES[kind])}", upload=False)


def _change(
    talk: Talk, kind: str, given: Value | None, subject: str, upload: bool, keys: Sequence[str] | None = None
) -> bool:
    """``keys``: of what is changed, one drawn of them (by default, of all that the kind has)."""
    among = keys or _CHANGED[kind]

    def attempt():
        named: dict[str, str] = {}
        if given is not None:
            base = given
        elif upload:
            base = talk.value(kind)
        else:
            named = some(talk.rng, kind, talk.value(kind))
            base = complete(kind, named)
        changed = [talk.rng.choice(among)]
        rest = [key for key in among if key != changed[0]]
        if rest and talk.rng.random() < 0.12:
            changed.append(talk.rng.choice(rest))
        before = attributes(base)
        pools = {**ALLOWED, "thing": SOUNDS if kind == "audio" else THINGS}
        after = {key: talk.rng.choice([word for word in pools[key] if word != before[key]]) for key in changed}
        target = complete(kind, {**before, **after})
        return (base, named, after, target), [target], [base]

    found = talk.search(attempt)
    if found is None:
        return False
    base, named, after, target = found
    if given is None and not upload:
        talk.user(requests.make(talk.rng, kind, named), request=True)
        talk.make(base)
    text = requests.change_all(talk.rng, kind, attributes(base), after, subject)
    talk.user(text, *([base] if upload else []), request=True)
    talk.make(target)
    return True


def no_sound_or_picture(talk: Talk) -> None:
    """A request in words for the sound of a silent thing, or for the looks of weather."""
    if talk.rng.random() < 0.5:
        thing = talk.rng.choice(SILENT_THINGS)
        talk.user(requests.make_unheard(talk.rng, thing), request=True)
        talk.tell(answers.makes_no_sound(thing))
    else:
        weather = talk.rng.choice(WEATHER)
        talk.user(requests.make(talk.rng, talk.rng.choice(("image", "video")), {"thing": weather}), request=True)
        talk.tell(answers.has_no_picture(weather))
