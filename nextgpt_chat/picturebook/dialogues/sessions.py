"""Dialogues over several turns: references back to earlier media, and free conversations on a changing topic."""

from __future__ import annotations

from nextgpt_chat.picturebook.dialogues import chatting, making, requests, telling
from nextgpt_chat.picturebook.dialogues.defaults import attributes, complete
from nextgpt_chat.picturebook.dialogues.talk import MOST_EXCHANGES, Talk
from nextgpt_chat.picturebook.dialogues.turns import MEDIA, kind_of

_ORDINALS = ("first", "second", "third", "fourth")


def refer_back(talk: Talk) -> None:
    """Two or three media, one after the other or two in one turn; then something about one of them."""
    rng = talk.rng
    if rng.random() < 0.25:
        kind = rng.choice(MEDIA)
        values = [talk.value(kind), talk.value(kind)]
        talk.user(rng.choice(requests.DESCRIBE_SEVERAL) if rng.random() < 0.6 else "", *values)
        talk.describe(*values)
    else:
        only = rng.choice((*MEDIA, None, None))
        for _ in range(rng.choice((2, 2, 2, 3))):
            kind = only or rng.choice(MEDIA)
            if rng.random() < 0.35:
                telling.describe(talk, kind, words=rng.random() < 0.6)
            else:
                making.make(talk, kind)
    if rng.random() < 0.1:
        chatting.thank(talk)
    while not _about_one(talk):
        pass
    if rng.random() < 0.2:
        _about_one(talk)


def _reference(talk: Talk, index: int) -> str:
    """A name for one of the media shown that fits no other."""
    kinds = [kind_of(value) for value in talk.media]
    kind, last = kinds[index], len(kinds) - 1
    ways = [f"the {_ORDINALS[index]} one"] if index < len(_ORDINALS) else []
    name = talk.rng.choice(making.NAMES[kind])
    same = [number for number, one in enumerate(kinds) if one == kind]
    if len(same) == 1:
        ways += [f"the {name}"] * 2
    elif same.index(index) < len(_ORDINALS):
        ways += [f"the {_ORDINALS[same.index(index)]} {name}"] * 2
    if index == same[-1] and len(same) > 1:
        ways.append(f"the last {name}")
    if index == last:
        ways.append("the last one")
    return talk.rng.choice(ways)


def _about_one(talk: Talk) -> bool:
    """One exchange on an earlier medium, seldom the last. False (and no turn) if nothing fits."""
    rng = talk.rng
    index = rng.randrange(len(talk.media)) if rng.random() < 0.4 else rng.randrange(max(1, len(talk.media) - 1))
    value, which = talk.media[index], _reference(talk, index)
    kind = kind_of(value)
    way = rng.random()
    if way < 0.35:
        key = rng.choice(telling.question_keys(kind))
        telling.ask_about(talk, value, key, subject=which, past=rng.random() < 0.5)
    elif way < 0.5:
        texts = (
            "what was {t}?",
            "describe {t}",
            "describe {t} again",
            "what did {t} show?",
            "tell me about {t}",
            "what is {t}?",
        )
        if kind == "audio":
            texts = ("what was {t}?", "describe {t}", "describe {t} again", "tell me about {t}", "what is {t}?")
        talk.user(rng.choice(texts).format(t=which))
        talk.describe(value)
    elif way < 0.75:
        return making.change_shown(talk, value, which)
    elif way < 0.85:
        again = {"image": ("draw", "show me"), "audio": ("play", "let me hear"), "video": ("play", "show me")}[kind]
        talk.user(f"{rng.choice(again)} {which} again", request=True)
        talk.make(value)
    else:
        asked = rng.choice([one for one in MEDIA if one != kind])
        target = complete(asked, attributes(value))
        if target is None:
            return False
        if asked == "audio":
            texts = ("let me hear {t}", "what does {t} sound like?", "play the sound of {t}", "how does {t} sound?")
        elif asked == "image":
            texts = ("draw {t}", "make a picture of {t}", "paint {t}")
        else:
            texts = ("let {t} move", "make a clip of {t}", "animate {t}")
        talk.user(rng.choice(texts).format(t=which), request=True)
        talk.make(target)
    return True


def session(talk: Talk) -> None:
    """Two to six exchanges: something is made or shown, then questions, changes, other media of it, or new things."""
    rng = talk.rng
    length = rng.randrange(2, MOST_EXCHANGES + 1)
    if rng.random() < 0.25:
        chatting.greet(talk)
    _begin(talk)
    tries = 0
    while talk.exchanges < length and tries < 30:
        tries += 1
        _go_on(talk)
    if talk.exchanges < MOST_EXCHANGES and rng.random() < 0.1:
        chatting.say_goodbye(talk)


def _begin(talk: Talk) -> None:
    kind = talk.rng.choice(MEDIA)
    way = talk.rng.random()
    if way < 0.6:
        making.make(talk, kind)
    elif way < 0.7:
        making.make_of_one(talk, talk.rng.choice((("image", "audio"), ("audio", "video"), ("image", "video"))))
    else:
        telling.describe(talk, kind, words=talk.rng.random() < 0.6)


def _go_on(talk: Talk) -> None:
    rng, value = talk.rng, talk.media[-1]
    kind = kind_of(value)
    way = rng.random()
    if way < 0.3:
        making.change_shown(talk, value)
    elif way < 0.5:
        asked = rng.choice([one for one in MEDIA if one != kind])
        making.across(talk, kind, asked, upload=False)
    elif way < 0.62:
        telling.ask_about(talk, value, rng.choice(telling.question_keys(kind)))
    elif way < 0.68:
        telling.yes_or_no_about(talk, value)
    elif way < 0.74:
        now = {"audio": ("what do you hear now?", "describe it"), "image": ("what do you see now?", "describe it"),
               "video": ("what happens now?", "describe it")}  # fmt: skip
        talk.user(rng.choice(now[kind]))
        talk.describe(value)
    elif way < 0.88:
        _begin(talk)
    elif way < 0.95:
        chatting.thank(talk)
    else:
        rng.choice((chatting.decline, chatting.abilities, chatting.knowledge))(talk)
