"""Dialogues in words alone: small talk, what the assistant is and knows, and what is outside its world."""

from __future__ import annotations

from nextgpt_chat.picturebook.dialogues import answers, several
from nextgpt_chat.picturebook.dialogues.phrasing import a, say
from nextgpt_chat.picturebook.dialogues.requests import MAKE_AUDIO, MAKE_IMAGE, MAKE_VIDEO
from nextgpt_chat.picturebook.dialogues.talk import Talk
from nextgpt_chat.picturebook.dialogues.turns import MEDIA
from nextgpt_chat.picturebook.values import COLOURS, SILENT_THINGS, SOUNDING_THINGS, SOUNDS

GREETINGS = (
    "hello", "hi", "hey", "hi there", "hello there", "good morning", "good day", "good evening", "hey there",
    "hello!", "hi!", "greetings", "howdy", "hello mini", "hi bot", "hallo", "good afternoon", "yo",
)  # fmt: skip
HOW_ARE_YOU = (
    "how are you?",
    "how are you doing?",
    "are you ok?",
    "how do you do?",
    "are you fine?",
    "hi, how are you?",
    "what's up?",
    "how are you today?",
    "how is it going?",
)
THANKS = (
    "thanks", "thank you", "thank you very much", "thanks a lot", "many thanks", "thanks!", "ok, thanks",
    "thx", "cheers", "great, thank you", "thank you so much", "perfect, thanks", "nice, thanks",
)  # fmt: skip
PRAISE = (
    "nice", "great", "very nice", "well done", "beautiful", "cool", "lovely", "that is nice", "good job",
    "i like it", "wow", "how pretty", "that is great", "awesome", "perfect", "i love it", "good",
)  # fmt: skip
WHO_ARE_YOU = (
    "who are you?", "what are you?", "what is your name?", "who am i talking to?", "tell me who you are",
    "are you a robot?", "your name?", "what is nextgpt?", "are you human?", "introduce yourself",
    "are you a computer?", "who made you?",
)  # fmt: skip
WHAT_CAN_YOU_DO = (
    "what can you do?", "help", "how can you help me?", "what do you do?", "how does this work?",
    "what can i ask?", "help me", "tell me what you can do", "what are you good at?", "can you draw?",
    "can you make sounds?", "can you make videos?", "what now?", "can you hear?", "can you see pictures?",
)  # fmt: skip
GOODBYES = (
    "bye", "goodbye", "bye bye", "see you", "see you later", "good night", "i have to go", "that is all",
    "bye!", "ciao", "the end",
)  # fmt: skip

MAKES_A_SOUND = ("does {x} make a sound?", "can {x} make a noise?", "does {x} make any noise?")

OUTSIDE_THINGS = (
    "cat", "cow", "horse", "pig", "sheep", "lion", "tiger", "elephant", "giraffe", "monkey", "rabbit", "mouse",
    "snake", "spider", "dragon", "unicorn", "dinosaur", "castle", "bridge", "tower", "church", "mountain",
    "volcano", "river", "island", "rainbow", "planet", "rocket", "plane", "helicopter", "bicycle",
    "motorcycle", "truck", "tractor", "bus", "chair", "table", "bed", "lamp", "sofa", "bottle", "cup", "plate",
    "spoon", "knife", "apple", "banana", "pizza", "cake", "bread", "sandwich", "cheese", "robot", "computer",
    "guitar", "piano", "violin", "trumpet", "flute", "man", "woman", "girl", "boy", "king", "queen", "pirate",
    "wizard", "ghost", "monster", "shoe", "hat", "shirt", "book", "pencil", "key", "door", "window", "camera",
    "cactus", "mushroom", "penguin", "bear", "wolf", "fox", "chicken", "duck", "owl", "butterfly", "bee",
    "shark", "whale", "octopus", "hammer", "candle", "umbrella",
)  # fmt: skip
OUTSIDE_NAMES = (
    "paris", "london", "the eiffel tower", "my mother", "einstein", "god", "love", "the mona lisa",
    "a big city", "new york", "a football match", "batman", "two people dancing", "my family",
    "a logo for my company", "yourself",
)  # fmt: skip
OUTSIDE_QUESTIONS = (
    "what is the weather today?", "will it be cold tomorrow?", "what time is it?", "what day is today?",
    "what is 2 + 2?", "what is 7 times 8?", "how much is 12 + 30?", "solve x + 3 = 10", "write python code",
    "write a function that sorts a list", "fix my code", "what is the capital of france?",
    "who is the president?", "who won the game?", "tell me a joke", "tell me a story", "write a poem",
    "sing me a song", "translate this to german", "do you speak french?", "what is the meaning of life?",
    "how old are you?", "where do you live?", "what is love?", "what is the news?", "how do i cook rice?",
    "what should i eat?", "give me a recipe", "who was napoleon?", "when did the war end?",
    "how far is the moon?", "what is a black hole?", "why is the sky blue?", "can you book a flight?",
    "send an email", "buy me a coffee", "how do i lose weight?", "what is the stock price?",
    "recommend a movie", "play chess with me", "do my homework", "what is photosynthesis?",
    "explain quantum physics", "summarize this article", "search the web", "who wrote hamlet?",
    "how tall is mount everest?", "what is your favourite food?", "how many people live in china?",
    "what is a neural network?", "can you drive?", "are you married?", "do you like me?",
    "write an essay about history",
)  # fmt: skip
_ADJECTIVES = (
    "",
    "",
    "",
    "",
    *(f"{word} " for word in ("big", "small", "old", "happy", "flying", "funny", *COLOURS[:6])),
)
_DOING = ("", "", "", "", " on the grass", " at night", " on the left", " eating", " in the sea")


def greet(talk: Talk) -> None:
    if talk.rng.random() < 0.7:
        _say(talk, GREETINGS, answers.GREETING_TEXT)
    else:
        _say(talk, HOW_ARE_YOU, answers.WELL_TEXT)


def thank(talk: Talk) -> None:
    if talk.rng.random() < 0.6:
        _say(talk, THANKS, answers.WELCOME_TEXT)
    else:
        _say(talk, PRAISE, answers.GLAD_TEXT)


def say_goodbye(talk: Talk) -> None:
    _say(talk, GOODBYES, answers.GOODBYE_TEXT)


def identity(talk: Talk) -> None:
    _say(talk, WHO_ARE_YOU, answers.IDENTITY_TEXT)


def abilities(talk: Talk) -> None:
    _say(talk, WHAT_CAN_YOU_DO, answers.ABILITIES_TEXT)


def decline(talk: Talk) -> None:
    """Something outside the world: a thing to be made, or any other question."""
    if talk.rng.random() < 0.4:
        _say(talk, OUTSIDE_QUESTIONS, answers.UNKNOWN_TEXT)
        return
    if talk.rng.random() < 0.15:
        thing = talk.rng.choice(OUTSIDE_NAMES)
    else:
        thing = a(talk.rng.choice(_ADJECTIVES) + talk.rng.choice(OUTSIDE_THINGS)) + talk.rng.choice(_DOING)
    if talk.rng.random() < 0.2:
        kinds = several.in_some_order(talk.rng, talk.rng.sample(MEDIA, talk.rng.choice((2, 3))))
        talk.user(several.make_all(talk.rng, kinds, thing, {}), request=True)
    else:
        ask = talk.rng.choice(talk.rng.choice((MAKE_IMAGE, MAKE_IMAGE, MAKE_AUDIO, MAKE_VIDEO)))
        talk.user(ask.format(x=thing), request=True)
    talk.tell(answers.DECLINE_TEXT)


def knowledge(talk: Talk) -> None:
    """What the assistant knows of its world."""
    rng = talk.rng
    topic = rng.randrange(7)
    if topic == 0:
        thing = rng.choice(SOUNDING_THINGS)
        one = a(say(rng, "thing", thing))
        talk.user(rng.choice(MAKES_A_SOUND).format(x=one))
        talk.tell(f"Yes, {_lower(answers.makes_a_sound(thing))}", {"thing": thing})
    elif topic == 1:
        thing = rng.choice(SILENT_THINGS)
        one = a(say(rng, "thing", thing))
        talk.user(rng.choice(MAKES_A_SOUND).format(x=one))
        talk.tell(f"No, {_lower(answers.makes_no_sound(thing))}", {"thing": thing})
    elif topic == 2:
        source = rng.choice(SOUNDS)
        verb = "do" if source == "waves" else "does"
        talk.user(rng.choice((f"what {verb} {a(source)} do?", f"what {verb} {a(source)} say?")))
        talk.tell(answers.makes_a_sound(source), {"source": source})
    elif topic == 3:
        _say(talk, (
            "which things do you know?", "what can you draw?", "what is in your book?",
            "what things are there?", "what do you know?", "list your things", "what pictures can you make?",
        ), answers.KNOWN_THINGS_TEXT)  # fmt: skip
    elif topic == 4:
        _say(talk, (
            "which sounds do you know?", "what sounds can you make?", "what can i hear?", "list your sounds",
            "what can you play?",
        ),
             answers.KNOWN_SOUNDS_TEXT)  # fmt: skip
    elif topic == 5:
        _say(talk, (
            "which colours do you know?", "what colors are there?", "what colours can you paint?",
            "list your colours",
        ),
             answers.KNOWN_COLOURS_TEXT)  # fmt: skip
    elif rng.random() < 0.5:
        _say(
            talk,
            (
                "which places do you know?",
                "where can things be?",
                "what places are there?",
            ),
            answers.KNOWN_PLACES_TEXT,
        )
    else:
        _say(talk, (
            "how can things move?", "what motions do you know?", "what can things do in a clip?",
            "which movements are there?",
        ),
             answers.KNOWN_MOTIONS_TEXT)  # fmt: skip


def small_talk(talk: Talk) -> None:
    """A short conversation without media: two to four exchanges."""
    greet(talk)
    for _ in range(talk.rng.randrange(2)):
        talk.rng.choice((identity, abilities, knowledge, decline))(talk)
    talk.rng.choice((identity, abilities, knowledge, decline))(talk)
    if talk.rng.random() < 0.5:
        talk.rng.choice((thank, say_goodbye))(talk)


SINGLE = (greet, identity, abilities, knowledge, decline)
"""Those of one exchange that need nothing before them."""


def _say(talk: Talk, texts: tuple[str, ...], reply: str) -> None:
    talk.user(talk.rng.choice(texts))
    talk.tell(reply)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
