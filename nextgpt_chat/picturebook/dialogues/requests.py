"""The words of requests, questions and changes, in lower case; `phrasing.typed` puts on the rest."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from nextgpt_chat.picturebook.dialogues.phrasing import (
    PITCH_WORDS,
    PLACE_NOUNS,
    SPEED_WORDS,
    THINGS_SAID,
    a,
    clip_phrase,
    motion,
    one_of,
    plain_scene_phrase,
    say,
    scene_phrase,
    sound_phrase,
)
from nextgpt_chat.picturebook.values import SIZES

MAKE_IMAGE = (
    "draw {x}", "draw {x}", "draw me {x}", "paint {x}", "paint me {x}", "sketch {x}", "show me {x}", "show {x}",
    "make a picture of {x}", "make an image of {x}", "make a drawing of {x}", "show me a picture of {x}",
    "a picture of {x}", "picture of {x}", "an image of {x}", "a drawing of {x}", "give me a picture of {x}",
    "create an image of {x}", "create a picture of {x}", "generate an image of {x}", "generate a picture of {x}",
    "i want to see {x}", "i would like to see {x}", "i want a picture of {x}", "i would like a picture of {x}",
    "i need an image of {x}", "let me see {x}", "can you draw {x}?", "could you paint {x}?", "can i see {x}?",
    "can you make a picture of {x}?", "can you show me {x}?", "could i have a drawing of {x}?", "would you draw {x}?",
    "can you draw me {x}?", "draw a picture of {x}", "draw a picture with {x}", "picture: {x}", "illustrate {x}", "{x}",
)  # fmt: skip
MAKE_AUDIO = (
    "let me hear {x}", "let me hear {x}", "play {x}", "play me {x}", "i want to hear {x}", "i would like to hear {x}",
    "make the sound of {x}", "make a sound of {x}", "play the sound of {x}", "the sound of {x}", "sound of {x}",
    "give me the sound of {x}", "create the sound of {x}", "generate the sound of {x}", "can i hear {x}?",
    "can you play {x}?", "could you make the sound of {x}?", "can you let me hear {x}?", "what does {x} sound like?",
    "how does {x} sound?", "i want the sound of {x}", "i need the sound of {x}", "may i listen to {x}?",
    "i want to listen to {x}", "make the noise of {x}", "audio of {x}", "generate audio of {x}", "sound: {x}",
    "make a noise like {x}", "a recording of {x}",
)  # fmt: skip
MAKE_VIDEO = (
    "make a clip of {x}", "make a clip of {x}", "make a video of {x}", "make a film of {x}",
    "show me a clip of {x}", "show me a video of {x}", "a clip of {x}", "clip of {x}", "a video of {x}",
    "video of {x}", "animate {x}", "film {x}", "create a video of {x}", "generate a video of {x}",
    "generate a clip of {x}", "i want a clip of {x}", "i would like a video of {x}",
    "i want to see a video of {x}", "i need a clip of {x}", "give me a clip of {x}",
    "can you make a clip of {x}?", "could you make a video of {x}?", "can you animate {x}?",
    "can i see a clip of {x}?", "a movie of {x}", "make a short movie with {x}", "an animation of {x}",
    "make an animation of {x}", "a short film with {x}", "video: {x}", "i want to watch {x}", "let me watch {x}",
)  # fmt: skip
LET_MOVE = (
    "let {x} {do}", "let {x} {do}", "make {x} {do}", "show how {x} {does}", "show me how {x} {does}",
    "show me {x} {doing}", "i want to see {x} {doing}", "i want to see how {x} {does}", "can you let {x} {do}?",
    "can you show me {x} {doing}?", "make a clip where {x} {does}", "make a video where {x} {does}",
    "a video in which {x} {does}", "a clip in which {x} {does}", "can you make {x} {do}?", "have {x} {do}",
    "draw {x} {doing}", "{x} {doing}",
)  # fmt: skip
TO_MOVE = (("move", "moves", "moving"), ("move", "moves", "moving"), ("do something", "does something", "in motion"))

DESCRIBE = (
    "what is this?", "what is that?", "what is it?", "describe it", "describe this", "tell me about it",
    "what do you think this is?", "tell me what it is", "say what it is", "can you describe this?",
    "explain this", "what have we got here?", "what's this?",
)  # fmt: skip
DESCRIBE_KIND = {
    "image": (
        "what do you see?", "what is in this picture?", "what is in the picture?", "describe this picture",
        "describe the image", "what does the picture show?", "what can you see here?", "tell me what you see",
        "what is shown here?", "caption this image", "tell me about this picture", "what did i draw?",
        "what is in the image?", "what's in this photo?", "look at this picture",
    ),
    "audio": (
        "what do you hear?", "what is this sound?", "what can you hear?", "describe this sound",
        "describe the sound", "tell me what you hear", "what is that noise?", "listen to this",
        "what sound is it?", "what is in this recording?", "tell me about this sound",
        "what does it sound like to you?", "what is making this noise?", "what's this noise?",
    ),
    "video": (
        "what do you see?", "what happens in this clip?", "what is in this video?", "describe this clip",
        "describe the video", "what is going on here?", "what happens here?", "tell me what happens",
        "what does the clip show?", "what happens in the film?", "tell me about this video", "watch this",
        "what can you see in the video?", "what's happening?",
    ),
}  # fmt: skip
DESCRIBE_SEVERAL = (
    "what are these?", "describe them", "describe all of them", "what do you see and hear?",
    "tell me about them", "what are they?", "what is in these files?", "describe these", "say what they are",
    "tell me what i have here", "what did i send you?",
)  # fmt: skip

ASK = {
    "colour": (
        "what colour is {t}?", "what color is {t}?", "which colour is {t}?", "which color does {t} have?",
        "what is the colour of {t}?", "tell me the colour of {t}", "the color of {t}?", "what colour does {t} have?",
        "in what colour is {t}?", "can you tell me what color {t} is?",
    ),
    "size": (
        "how big is {t}?", "what size is {t}?", "is {t} big or small?", "how large is {t}?",
        "tell me the size of {t}", "is {t} small, medium or big?", "which size does {t} have?",
        "how small is {t}?",
    ),
    "position": (
        "on which side is {t}?", "is {t} on the left or on the right?", "which side is {t} on?",
        "is {t} left, right or in the middle?", "what is the position of {t}?", "at what position is {t}?",
    ),
    "place": (
        "what is the background of {t}?", "what is around {t}?", "what is behind {t}?", "in what place is {t}?",
        "what place is {t} in?", "in which place is {t}?",
    ),
    "where": (
        "where is {t}?", "where is {t}?", "where do you see {t}?", "where can i find {t}?",
        "tell me where {t} is",
    ),
    "motion": (
        "what does {t} do?", "how does {t} move?", "what is {t} doing?", "which way does {t} go?",
        "how is {t} moving?", "what happens to {t}?", "where does {t} go?", "what motion does {t} make?",
        "tell me how {t} moves",
    ),
    "pitch": (
        "how high is {t}?", "is {t} high or low?", "what pitch does {t} have?", "what is the pitch of {t}?",
        "how deep is {t}?", "at what pitch is {t}?", "tell me the pitch of {t}", "is {t} low, normal or high?",
    ),
    "speed": (
        "how fast is {t}?", "is {t} fast or slow?", "what speed does {t} have?", "what is the speed of {t}?",
        "how quick is {t}?", "at what speed is {t}?", "tell me the speed of {t}", "is {t} slow, normal or fast?",
    ),
}  # fmt: skip
ASK_THING = {
    "image": (
        "what thing is {t}?", "what kind of thing is {t}?", "which thing is {t}?", "what is {t} called?",
        "name the thing",
    ),
    "audio": (
        "what makes this sound?", "who makes this sound?", "what makes that noise?",
        "where does this sound come from?", "which thing sounds like this?", "what thing is {t}?",
        "who is that?", "what is the source of {t}?",
    ),
}  # fmt: skip
IS_IT = {
    "colour": ("is {t} {w}?", "is {t} {w}?", "is the colour of {t} {w}?", "does {t} look {w}?"),
    "size": ("is {t} {w}?",),
    "position": ("is {t} {w}?", "do you see {t} {w}?"),
    "place": ("is {t} {w}?", "do you see {t} {w}?"),
    "pitch": ("is {t} {w}?", "does {t} sound {w}?"),
    "speed": ("is {t} {w}?", "does {t} sound {w}?"),
}


def make(rng: random.Random, kind: str, named: Mapping[str, str]) -> str:
    """A request for one medium of what is named."""
    if kind == "image":
        return rng.choice(MAKE_IMAGE).format(x=scene_phrase(rng, named))
    if kind == "audio":
        text, phrase = rng.choice(MAKE_AUDIO), sound_phrase(rng, named)
        while "sound of" in phrase and re.search("sound|noise|audio|recording", text):
            text = rng.choice(MAKE_AUDIO)
        return text.format(x=phrase)
    if rng.random() < 0.5:
        return rng.choice(MAKE_VIDEO).format(x=clip_phrase(rng, named))
    do, does, doing = motion(rng, named["motion"]) if "motion" in named else rng.choice(TO_MOVE)
    if doing == "in motion":
        return f"show me {plain_scene_phrase(rng, named)} in motion"
    return rng.choice(LET_MOVE).format(x=plain_scene_phrase(rng, named), do=do, does=does, doing=doing)


def make_unheard(rng: random.Random, thing: str) -> str:
    """A request for the sound of a thing that has none."""
    return rng.choice(MAKE_AUDIO).format(x=a(say(rng, "thing", thing)))


_TO_COLOUR = (
    "make it {w}", "make it {w}", "make {t} {w}", "now in {w}", "paint it {w}", "color it {w}",
    "i want it {w}", "the same in {w}", "can it be {w}?", "can you make it {w}?", "change the colour to {w}",
    "{w} please", "and in {w}?", "it should be {w}", "turn it {w}", "i would like it in {w}",
    "make it {w} instead", "the colour should be {w}", "let it be {w}", "give it the colour {w}", "have it in {w}",
    "switch the colour to {w}", "once more in {w}",
)  # fmt: skip
_TO_SIZE = (
    "make it {w}",
    "make {t} {w}",
    "i want it {w}",
    "it should be {w}",
    "the same but {w}",
    "can you make it {w}?",
    "let it be {w}",
    "the size should be {w}",
    "set the size to {w}",
    "{w} instead",
    "once more but {w}",
)
_STEPS = {
    ("size", 1): (
        "bigger", "make it bigger", "make {t} bigger", "a bit bigger", "larger", "can it be bigger?",
        "it is too small",
    ),
    ("size", -1): (
        "smaller", "make it smaller", "make {t} smaller", "a bit smaller", "can it be smaller?",
        "it is too big",
    ),
    ("pitch", 1): (
        "higher", "make it higher", "a bit higher", "with a higher pitch", "can it be higher?",
        "it is too low",
    ),
    ("pitch", -1): (
        "lower", "make it lower", "deeper", "make it deeper", "a bit lower", "can it be lower?",
        "it is too high",
    ),
    ("speed", 1): (
        "faster", "make it faster", "a bit faster", "quicker", "can it be faster?", "speed it up",
        "it is too slow",
    ),
    ("speed", -1): (
        "slower", "make it slower", "a bit slower", "slow it down", "can it be slower?", "it is too fast",
    ),
}  # fmt: skip
_TO_WHERE = (
    "put it {w}", "put {t} {w}", "now {w}", "it should be {w}", "place it {w}", "i want it {w}",
    "the same {w}", "can you put it {w}?", "and now {w}", "the same thing {w}", "let it be {w}", "have it {w}",
    "i want to see it {w}", "{w} instead", "once more {w}", "the same but {w}", "move it until it is {w}",
    "move {t}, it should be {w}",
)  # fmt: skip
_TO_PLACE = (
    "change the background to {n}",
    "make the background {n}",
    "with {n} in the background",
    "the background should be {n}",
)
_TO_MOTION = (
    "let it {do}", "let it {do} instead", "now let it {do}", "it should {do}", "now it should {do}", "make it {do}",
    "let {t} {do}", "can it {do}?", "i want it to {do}", "{doing} instead", "can you make it {do}?", "have it {do}",
    "the same but {doing}", "i want to see how it {does}", "show {t} while it {does}", "once more, but it {does}",
)  # fmt: skip
_TO_THING = (
    "make it {one}", "now {one} instead", "the same with {one}", "do the same with {one}",
    "change {t} into {one}", "turn it into {one}", "replace {t} with {one}", "can it be {one}?",
    "i want {one} instead", "{one} instead", "it should be {one}", "let it be {one}", "swap {t} for {one}",
    "switch to {one}", "once more, but {one}",
)  # fmt: skip
_TO_LEVEL = (
    "make it {w}",
    "it should be {w}",
    "i want it {w}",
    "the same but {w}",
    "can you make it {w}?",
    "{w} please",
    "let it be {w}",
    "once more but {w}",
    "i want to hear it {w}",
)
_SAME_SOUND = (
    "now", "play it", "the same", "again", "let me hear it", "once more", "i want to hear it", "can you play it",
    "repeat it", "play that",
)  # fmt: skip
_ORDERS = {"size": SIZES, "pitch": ("low", "normal", "high"), "speed": ("slow", "normal", "fast")}


def step(key: str, before: str, after: str) -> int:
    """+1 or -1 if ``after`` is the next level up or down, else 0."""
    if key not in _ORDERS:
        return 0
    distance = _ORDERS[key].index(after) - _ORDERS[key].index(before)
    return distance if abs(distance) == 1 else 0


def change(rng: random.Random, kind: str, key: str, before: str, after: str, thing: str) -> str:
    """A request to change one attribute of what was made or uploaded."""
    t = f"the {one_of(rng, THINGS_SAID[thing])}"
    steps = step(key, before, after)
    if steps and rng.random() < 0.6:
        return rng.choice(_STEPS[key, steps]).format(t=t)
    if key == "thing":
        return rng.choice(_TO_THING).format(t=t, one=a(say(rng, "thing", after)))
    if key == "colour":
        return rng.choice(_TO_COLOUR).format(t=t, w=say(rng, "colour", after))
    if key == "size":
        return rng.choice(_TO_SIZE).format(t=t, w=say(rng, "size", after))
    if key == "motion":
        do, does, doing = motion(rng, after)
        return rng.choice(_TO_MOTION).format(t=t, do=do, does=does, doing=doing)
    if key in ("pitch", "speed"):
        words = {"pitch": PITCH_WORDS, "speed": SPEED_WORDS}[key][after]
        if rng.random() < 0.4:
            return f"{rng.choice(_SAME_SOUND)} {say(rng, key, after)}"
        return rng.choice(_TO_LEVEL).format(w=one_of(rng, words))
    if key == "place" and rng.random() < 0.25:
        return rng.choice(_TO_PLACE).format(n=rng.choice(PLACE_NOUNS[after]))
    if key == "position" and kind == "image" and rng.random() < 0.4:
        to = {"left": "to the left", "right": "to the right", "middle": "to the middle"}[after]
        return rng.choice(("move it {w}", "move {t} {w}", "can you move it {w}?", "shift it {w}")).format(t=t, w=to)
    return rng.choice(_TO_WHERE).format(t=t, w=say(rng, key, after))


def change_all(
    rng: random.Random, kind: str, before: Mapping[str, str], after: Mapping[str, str], subject: str = "it"
) -> str:
    """A request for one or two changes of the subject: "it", or the one that "the first one" and the like refers to."""
    if subject == "it":
        texts = [change(rng, kind, key, before[key], word, before["thing"]) for key, word in after.items()]
    else:
        texts = []
        for key, word in after.items():
            one = "it" if texts else subject
            if key == "thing":
                texts.append(f"{rng.choice(('change', 'turn'))} {one} into {a(say(rng, 'thing', word))}")
            elif key == "motion":
                texts.append(f"let {one} {motion(rng, word)[0]}")
            elif key in ("position", "place"):
                texts.append(f"put {one} {say(rng, key, word)}")
            elif (steps := step(key, before[key], word)) and rng.random() < 0.4:
                texts.append(f"make {one} {_STEPS[key, steps][0]}")
            else:
                words = {"pitch": PITCH_WORDS, "speed": SPEED_WORDS}.get(key)
                texts.append(f"make {one} {one_of(rng, words[word]) if words else say(rng, key, word)}")
    return texts[0] if len(texts) == 1 else " and ".join(text.removesuffix("?") for text in texts)
