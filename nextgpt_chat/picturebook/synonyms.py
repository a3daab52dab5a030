"""The single words that name an attribute, with their forms, for `reading.py`."""

from __future__ import annotations

import re


def verb_forms(*stems: str) -> str:
    """All forms of regular verbs: "move" also gives moves, moved, moving; "spin" also spinning."""
    forms = []
    for stem in stems:
        forms += [stem, stem + ("es" if re.search(r"(s|sh|ch|o|x)$", stem) else "s")]
        if stem.endswith("e"):
            forms += [stem + "d", stem[:-1] + "ing"]
        elif stem.endswith("y") and stem[-2] not in "aeiou":
            forms += [stem[:-1] + "ies", stem[:-1] + "ied", stem + "ing"]
        else:
            forms += [stem + "ed", stem + "ing"]
            if re.search(r"[^aeiou][aeiou][bdgmnpt]$", stem):
                forms += [stem + stem[-1] + "ed", stem + stem[-1] + "ing"]
    return " ".join(forms)


def noun_forms(*stems: str) -> str:
    """Singular and plural."""
    return " ".join(f"{stem} {stem}{'es' if re.search(r'(s|sh|ch|x)$', stem) else 's'}" for stem in stems)


def adjective_forms(*stems: str) -> str:
    """With comparative and superlative."""
    forms = []
    for stem in stems:
        short = stem[:-1] + "i" if stem.endswith("y") else stem.removesuffix("e")
        if re.fullmatch(r"[^aeiou]+[aeiou][gdtm]", stem):
            short += stem[-1]
        forms += [stem, short + "er", short + "est"]
    return " ".join(forms)


SINGLE_WORDS: dict[str, dict[str, str]] = {
    "thing": {
        "bird": noun_forms(
            "bird", "birdie", "songbird", "sparrow", "robin", "seagull", "gull", "canary", "finch", "parrot"
        )
        + " canaries bluebird blackbird birdy",
        "bell": noun_forms("bell", "doorbell", "handbell"),
        "car": noun_forms("car", "auto", "automobile", "vehicle", "taxi", "cab", "motorcar", "sedan", "jeep"),
        "boat": noun_forms("boat", "ship", "sailboat", "vessel", "yacht", "steamboat", "rowboat", "motorboat", "dinghy")
        + " ferry ferries",
        "clock": noun_forms("clock", "timepiece", "wristwatch"),
        "drum": noun_forms("drum", "snare", "bongo", "drumbeat"),
        "train": noun_forms("train", "locomotive", "railway"),
        "dog": noun_forms("dog", "hound", "doggy", "pup", "pooch", "doggie") + " puppy puppies canine",
        "frog": noun_forms("frog", "toad", "froggy", "bullfrog", "froggie"),
        "phone": noun_forms("phone", "telephone", "smartphone", "cellphone", "mobile", "handset", "landline"),
        "ball": noun_forms("ball", "sphere", "football", "basketball", "orb"),
        "star": noun_forms("star"),
        "heart": noun_forms("heart"),
        "house": noun_forms("house", "cottage", "hut", "cabin", "villa", "home", "building", "bungalow"),
        "tree": noun_forms("tree", "oak", "pine", "fir", "conifer"),
        "flower": noun_forms("flower", "blossom", "daisy", "tulip", "sunflower", "bloom") + " daisies poppy poppies",
        "fish": "fish fishes goldfish fishie fishy",
    },
    "source": {
        "rain": "rain raining rains raindrop raindrops rainfall rainy drizzle drizzling downpour rainstorm",
        "wind": "wind winds windy breeze breezes breezy gust gusts gusty gale storm",
        "waves": "waves wave surf breakers",
    },
    "verb": {
        "bird": verb_forms("chirp", "tweet", "sing", "cheep", "twitter", "warble") + " chirpy birdsong",
        "bell": verb_forms("chime", "toll", "jingle", "tinkle", "clang") + " ding dong gong",
        "car": verb_forms("honk", "vroom") + " engine motor",
        "boat": verb_forms("hoot") + " horn foghorn",
        "clock": verb_forms("tick", "tock") + " ticktock",
        "drum": "drumming drummed " + verb_forms("thump", "boom", "bang", "beat") + " percussion",
        "train": verb_forms("whistle", "toot") + " choo chug chugging",
        "dog": verb_forms("bark", "woof", "yap", "yelp") + " arf bowwow",
        "frog": verb_forms("croak", "ribbit"),
        "phone": "ringtone ringtones",
        "rain": verb_forms("patter", "drip", "pour", "splatter") + " pitter",
        "wind": verb_forms("blow", "whoosh", "swoosh"),
        "waves": verb_forms("splash", "crash"),
    },
    "colour": {
        "red": "red crimson scarlet ruby reddish cherry vermilion redder",
        "orange": "orange tangerine amber orangey",
        "yellow": "yellow golden gold lemon yellowish mustard",
        "green": "green emerald lime olive greenish",
        "blue": "blue azure navy sapphire cobalt bluish cyan turquoise indigo",
        "purple": "purple violet lilac lavender mauve plum purplish magenta",
        "pink": "pink rosy fuchsia salmon pinkish",
        "brown": "brown chocolate chestnut tan beige brownish hazel",
        "white": "white ivory whitish snowy",
        "black": "black ebony blackish jet",
    },
    "size": {
        "small": adjective_forms("small", "tiny", "teeny", "wee") + " little mini miniature petite minuscule itty",
        "medium": "medium midsize midsized",
        "big": adjective_forms("big", "large", "huge", "tall")
        + " giant enormous gigantic massive vast immense oversized jumbo",
    },
    "position": {
        "left": "left leftmost lefthand",
        "middle": "middle center centre centered centred central centrally mid halfway",
        "right": "right rightmost righthand",
    },
    "place": {
        "sky": "sky skies heaven heavens cloud clouds air",
        "night": "night nighttime midnight nights nightfall moonlight moonlit darkness moon nocturnal starry evening",
        "grass": "grass grassy meadow meadows lawn field fields pasture turf garden",
        "sea": "sea seas ocean oceans water underwater seawater",
        "sand": "sand sandy beach beaches desert dune dunes shore seaside seashore coast",
        "plain": "empty blank bare backgroundless",
    },
    "motion": {
        "still": "motionless stationary immobile unmoving static parked",
        "moves_right": "rightward rightwards",
        "moves_left": "leftward leftwards",
        "rises": verb_forms("rise", "ascend", "climb", "soar", "lift") + " rose risen upward upwards",
        "falls": verb_forms("fall", "descend", "sink", "drop", "tumble", "plunge", "plummet")
        + " fell fallen sank sunk downward downwards",
        "grows": verb_forms("grow", "enlarge", "expand", "swell", "inflate") + " grew grown growth",
        "shrinks": verb_forms("shrink", "contract", "dwindle", "deflate") + " shrank shrunk shrunken",
        "spins": verb_forms("spin", "rotate", "twirl", "whirl", "revolve", "swivel", "pirouette") + " spun rotation",
        "blinks": verb_forms("blink", "flash", "flicker", "twinkle", "wink") + " flashy",
    },
    "still": {"yes": "frozen resting"},
    "pitch": {
        "low": adjective_forms("low", "deep") + " bass",
        "high": adjective_forms("high", "shrill", "squeaky") + " piercing treble soprano",
    },
    "speed": {
        "slow": adjective_forms("slow") + " slowly sluggish sluggishly leisurely unhurried lazily",
        "fast": adjective_forms("fast", "quick", "speedy", "swift")
        + " quickly rapid rapidly swiftly speedily brisk briskly hurried hurriedly hasty hastily hectic frantic",
        "normal": "moderately",
    },
}
"""Key → canonical word → the single words that name it. "verb" names a source weakly, "still" a motion weakly."""


def any_of(key: str, value: str | None = None) -> str:
    """A pattern for every single word of a key."""
    rows = SINGLE_WORDS[key]
    chosen = [rows[value]] if value else rows.values()
    return "(?:" + "|".join(sorted({word for forms in chosen for word in forms.split()}, key=len, reverse=True)) + ")"
