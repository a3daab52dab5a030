"""Dialogues in which the reply is words about media: descriptions, questions, guesses, comparisons."""

from __future__ import annotations

from nextgpt_chat.picturebook.dialogues import answers, requests
from nextgpt_chat.picturebook.dialogues.defaults import ALLOWED, ATTRIBUTES, attributes, complete
from nextgpt_chat.picturebook.dialogues.phrasing import (
    MOTIONS_SAID,
    PITCH_WORDS,
    SPEED_WORDS,
    THINGS_SAID,
    a,
    one_of,
    say,
)
from nextgpt_chat.picturebook.dialogues.talk import Talk
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, kind_of
from nextgpt_chat.picturebook.values import SOUNDING_THINGS, SOUNDS, THINGS, WEATHER, Value, is_held_out


def describe(talk: Talk, kind: str, words: bool = True) -> None:
    """One medium, with a request in words or with none."""
    value = talk.value(kind)
    texts = requests.DESCRIBE if talk.rng.random() < 0.3 else requests.DESCRIBE_KIND[kind]
    talk.user(talk.rng.choice(texts) if words else "", value)
    talk.describe(value)


def describe_several(talk: Talk, words: bool | None = None) -> None:
    """Two or three media in one turn."""
    number = talk.rng.choice((2, 2, 3))
    kinds = sorted((talk.rng.choice(MEDIA) for _ in range(number)), key=MEDIA.index)
    values = [talk.value(kind) for kind in kinds]
    if words is None:
        words = talk.rng.random() < 0.7
    talk.user(talk.rng.choice(requests.DESCRIBE_SEVERAL) if words else "", *values)
    talk.describe(*values)


def question_keys(kind: str) -> tuple[str, ...]:
    """What can be asked about a kind of medium."""
    return (*ATTRIBUTES[kind], "where") if kind != "audio" else ATTRIBUTES[kind]


def _subject(talk: Talk, value: Value, key: str) -> str:
    thing = attributes(value)["thing"]
    if key == "thing":
        return talk.rng.choice(("it", "this", "that"))
    if kind_of(value) == "audio":
        named = "sound" if thing == "waves" else thing if thing in WEATHER else one_of(talk.rng, THINGS_SAID[thing])
        return talk.rng.choice(("it", "it", "this", "the sound", "this sound", f"the {named}"))
    return talk.rng.choice(("it", "it", "this", "the thing", *[f"the {one_of(talk.rng, THINGS_SAID[thing])}"] * 3))


def question(talk: Talk, key: str, value: Value, subject: str | None = None, past: bool = False) -> str:
    """The words of a question about one attribute (or "where")."""
    kind = kind_of(value)
    if key == "thing":
        text = talk.rng.choice(requests.ASK_THING["audio" if kind == "audio" else "image"])
        if subject is not None:
            text = talk.rng.choice(("what thing is {t}?", "what is {t} called?"))
    else:
        text = talk.rng.choice(requests.ASK[key])
    text = text.format(t=subject or _subject(talk, value, key))
    return text.replace(" is ", " was ").replace(" does ", " did ") if past else text


def ask(talk: Talk, kind: str) -> None:
    """A question about an upload, or seldom about what has just been made."""
    value = talk.value(kind)
    key = talk.rng.choice(question_keys(kind))
    if talk.rng.random() < 0.2:
        talk.user(requests.make(talk.rng, kind, attributes(value)), request=True)
        talk.make(value)
        ask_about(talk, value, key)
    else:
        ask_about(talk, value, key, upload=True)


def ask_about(
    talk: Talk, value: Value, key: str, upload: bool = False, subject: str | None = None, past: bool = False
) -> None:
    """One exchange: the question, and its answer with the attributes to expect."""
    talk.user(question(talk, key, value, subject, past), *([value] if upload else []))
    talk.tell(answers.answer(value, key), _expected(value, key))


def _expected(value: Value, key: str) -> dict[str, str]:
    keys = {"where": ("position", "place"), "thing": ("source",) if kind_of(value) == "audio" else ("thing",)}
    return answers.expected([value], keys.get(key, (key,)))


def yes_or_no(talk: Talk, kind: str) -> None:
    """ "Is it red?" on an upload: right or wrong by equal chances.

    The reply says what is there, without a Yes or No: a model of this size does not learn to compare. With them in
    front it had 54 of 120 held-out questions right, and then named what was asked for; behind what is there ("…, so
    no."), after 500 steps of LoRA with 0.4 of such dialogues, 68 of 150.
    """
    value = talk.value(kind)
    yes_or_no_about(talk, value, upload=True)


def yes_or_no_about(talk: Talk, value: Value, upload: bool = False) -> None:
    """One exchange. For training, a wrong guess makes no held-out pair either."""
    kind, named = kind_of(value), attributes(value)
    key = talk.rng.choice(ATTRIBUTES[kind])
    guess = named[key]
    if talk.rng.random() < 0.5:
        pool = {**ALLOWED, "thing": SOUNDS if kind == "audio" else THINGS}[key]
        others = [word for word in pool if word != guess]
        if not talk.held_out:
            others = [word for word in others if not is_held_out(complete(kind, {**named, key: word}))]
        guess = talk.rng.choice(others)
    subject = _subject(talk, value, key)
    talk.user(_guess(talk, kind, key, guess, subject), *([value] if upload else []))
    talk.tell(answers.answer(value, key), _expected(value, key))


def _guess(talk: Talk, kind: str, key: str, guess: str, subject: str) -> str:
    rng = talk.rng
    if key == "thing":
        one = a(say(rng, "thing", guess))
        verb = "hear" if kind == "audio" else "see"
        return rng.choice(
            (
                f"is it {one}?",
                f"is this {one}?",
                f"do you {verb} {one}?",
                f"can you {verb} {one}?",
                f"is that {one}?",
            )
        )
    if key == "motion":
        do, _, doing = one_of(rng, MOTIONS_SAID[guess])
        return rng.choice((f"does {subject} {do}?", f"is {subject} {doing}?"))
    single = {"pitch": PITCH_WORDS, "speed": SPEED_WORDS}
    word = one_of(rng, single[key][guess]) if key in single else say(rng, key, guess)
    return rng.choice(requests.IS_IT[key]).format(t=subject, w=word)


def compare(talk: Talk) -> None:
    """Does a sound belong to a picture or clip? The reply says what each is, as in :func:`yes_or_no`."""
    kind = talk.rng.choice(("image", "video"))
    same = talk.rng.random() < 0.5

    def attempt():
        seen = talk.value(kind, SOUNDING_THINGS)
        heard = talk.value("audio", [attributes(seen)["thing"]] if same else SOUNDS)
        if not same and attributes(heard)["thing"] == attributes(seen)["thing"]:
            return None
        return (seen, heard), [], [seen, heard]

    seen, heard = talk.search(attempt)
    name = answers.KIND_NAMES[kind]
    texts = (
        f"does the sound belong to the {name}?", "do they belong together?", f"does the sound fit the {name}?",
        "do these match?", f"do the {name} and the sound match?", "are they the same thing?", "do they fit?",
    )  # fmt: skip
    talk.user(talk.rng.choice(texts), *sorted((seen, heard), key=lambda value: MEDIA.index(kind_of(value))))
    first, second = answers.answer(seen, "thing"), answers.answer(heard, "thing")
    talk.tell(f"{first[:-1]} and {second}", answers.expected([seen], ["thing"]))
