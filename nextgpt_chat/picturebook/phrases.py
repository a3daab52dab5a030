"""The phrases that name an attribute in more than one word, or that only seem to name one, for `reading.py`.

A text as they see it is lower case, has no hyphens and a space around every word; "," "." and ":" count as words.
"""

from __future__ import annotations

import re

from nextgpt_chat.picturebook.synonyms import any_of, verb_forms

_COLOUR = any_of("colour")
_THING = any_of("thing")

# Parts of patterns.

_MOVE_VERBS = """move go drive slide drift travel glide roll float fly sail swim head run walk shift race hop jump
wander steam cruise ride cross speed zoom scoot march crawl push come pass hurry proceed journey chug scroll progress
advance turn leap bounce pan rush bob slip"""
_MOVE_PAST = "went gone came ran flew flown drove driven rode slid swam sped swept"
_MOVE = "(?:" + "|".join((verb_forms(*_MOVE_VERBS.split()) + " " + _MOVE_PAST).split()) + ")"
_ADVERBS = r"(?:(?:\w+ly|off|away|over|straight|fast|back|along|across|further|it|all the way|a bit|a little) ){0,3}"
_TO = r"(?:to|towards?|toward) (?:the |its |your )?(?:far |very |outer )?"
_BETWEEN = r"((?:(?!and |that |which |is |from |sits |stands |stays |but |or |to |who )[a-z]+ ){0,5}?)"
_OF_PICTURE = r"(?: of (?:the |this )?(?:picture|image|frame|screen|clip|scene|video|page))?"
_SIDE = rf"(?: (?:hand )?(?:side|edge|part|half|third|corner|hand|border|end){_OF_PICTURE})?"
_BACKGROUND = r"(?:back ?ground|backdrop|page|paper|wall|surface|canvas)"
_PLAIN = r"(?:plain|simple|solid|uniform|neutral|flat|clean|empty|blank|bare|single)"
_MIDDLE = r"(?:the )?(?:middle|center|centre)"
_ENDINGS = r"(?:s|es|ing|ed|ting)?"
_GRADUALLY = r"(?:ever |steadily |much |slowly |gradually |quickly |a bit )*"

_PITCH = r"(?:pitch|pitched|pitches|tone|toned|tones|note|notes|register|voice|voiced|frequency|octave|sounding)"
_SPEED = r"(?:speed|speeds|tempo|tempos|pace|paced|rate|rhythm|velocity)"
_NORMAL = (
    r"(?:normal|medium|regular|usual|average|ordinary|middle|mid|moderate|standard|natural|neutral|middling|normally)"
)
_COPULA = r"(?:is|are|was|were|s|sounds|seems|stays|remains|being|:)"
_QUITE = r"(?:(?:very|quite|rather|fairly|a|at|of|both|also|really|so|bit|pretty|too) )*"
_LEVELS = {
    "pitch": {
        "low": r"(?:low|lower|lowest|deep|deeper|bass|lowish)",
        "normal": _NORMAL,
        "high": r"(?:high|highly|higher|highest|shrill|treble|squeaky|highish)",
    },
    "speed": {
        "slow": r"(?:slow|slower|slowest|low|slowly|sluggish|leisurely|lazy|half)",
        "normal": _NORMAL,
        "fast": r"(?:fast|faster|fastest|high|quick|quicker|rapid|swift|brisk|double|full|top|quickly|great|breakneck)",
    },
}

Rules = list[tuple[str, ...]]
"""What the words become, then patterns of the words."""

_LOOKALIKES: Rules = [
    (
        "",
        r"(?:that|this|you|all|quite|absolutely|exactly|yes ,|yes) (?:(?:is|are|s|re) )?right(?= [.,]| $)",
        r"all right|right (?=now|away|here|there|after|before|in the (?:middle|cent))",
        r"(?:what|who|which|has|have) (?:s |is )?left|left (?:the|over|behind)\b",
        r"good (?:night|evening)|at home|home page|(?:sound|shock) waves?|sea (?:star|shell)s?|star fish(?:es)?",
        r"a little (?=bit|more|less|faster|slower|higher|lower|bigger|smaller|larger|too|to the|further)",
        r"still (?=image|picture|photo|frame|life|shot)",
        r"(?:at|in|on) (?=the (?:cent\w+|middle) of the night)",
        rf"(?:reddish|bluish|greenish|yellowish|whitish|blackish|purplish|pinkish|brownish|orangey) (?={_COLOUR}\b)",
        r"(?:sky|navy|sea|ocean|night|midnight|royal|baby) (?=blue)|(?:sea|grass|forest|lime|lawn) (?=green)",
        r"(?:jet|night|coal) (?=black)|snow (?=white)|rose (?=gold|red)|(?:sand|desert) colou?red",
        r"(?:cherry|lime|lemon|plum|olive|chestnut|hazel) (?=tree|blossom)",
        rf"mid (?={_COLOUR}\b)|(?:sea|ocean|water) (?=waves?\b)",
        rf"deep (?={_COLOUR}\b|sea|ocean|water|night|in |into|down)",
    ),
    ("not", r"(?:instead of|rather than|other than|anything but|no longer)"),
    ("at @place:night", r"the (?:middle|cent\w+) of the night|(?:in the )?middle of night"),
    ("@thing:ball", r"beach balls?"),
    ("@thing:bird", r"(?:sea|song) (?:bird|gull)s?"),
    ("@thing:train", r"(?:steam (?:train|engine)|railway train)s?"),
    ("@thing:boat", r"(?:house|sailing|fishing) boats?"),
    ("@thing:house", r"(?:dog|bird|tree|boat) houses?"),
    ("@thing:clock", r"alarm clocks?"),
    ("@thing:drum", r"(?:bass|snare) drums?"),
    # A rose is a flower after an article or a colour; otherwise something rose.
    (
        "@thing:flower",
        r"(?<=the )rose(?= [.,]| $| (?:is|in|on|at)\b)|(?<=a )rose|(?<=(?:red|ink|ite|low) )rose|roses",
    ),
    ("@verb:boat", r"blow\w* (?:its|a|the|her) horn"),
    ("@verb:phone", r"ring ring|rrring"),
    ("@verb:dog", r"bow wow"),
    (
        "@source:waves",
        r"(?:sounds?|noise|noises|roar|song) of (?:the |an )?(?:sea|ocean)(?! (?:bird|gull))",
        r"(?:sea|ocean) (?:sounds?|noises?)",
    ),
    (
        "@place:sea",
        r"(?:in|on|over|through|across|upon|among) (?:the )?waves(?! (?:crash|break|roll|at|with))",
    ),
]

_PLACES: Rules = [
    (
        "@place:night",
        r"(?:night(?:time)?|dark|black|pitch black|starry|moonlit|midnight|star filled|starlit) sk(?:y|ies)",
        r"(?:under|beneath|below|among|by) (?:the )?(?:stars|moon|starlight|moonlight)",
        rf"(?:after|in the|in) dark(?:ness)?(?! {_COLOUR}\b)|night time|starry",
    ),
    ("@place:sky", r"mid air"),
    (
        "@place:plain",
        rf"(?:{_PLAIN}|{_COLOUR}) (?:(?:{_COLOUR}|{_PLAIN}|colou?r|colou?red|and) )*{_BACKGROUND}",
        r"no (?:particular )?(?:background|backdrop|scenery|setting)|without (?:a |any )?(?:background|scenery)",
        r"nothing (?:else )?(?:behind|around)(?: (?:it|him|her|them))?|nothing (?:else )?in the back ?ground",
        r"(?:back ?ground|backdrop|place) (?:(?:is|s|:) )?(?:plain|empty|blank|bare|white)",
        rf"plain(?! (?:{_COLOUR} |old )*{_THING}\b)",
    ),
]

_MOTIONS: Rules = [
    # To be somewhere up in the air is no motion.
    (r"\1\2 ", r"(float|fly|flie|hover|drift)(s|ing) (?:high )?up (?=in the (?:sky|air|clouds))"),
    (
        "@motion:still",
        r"(?:(?:does|do|is|are|did|has|was|will) )?(?:not|never|hardly|nt) (?:really |even |actually |at all )?"
        r"(?:move|moving|moves|moved|budge|in motion|go anywhere|going anywhere|change|do anything|doing anything)"
        r"(?! (?:to|towards?|right|left|up(?! in)|down|upward|downward|\w+wards|fast|quickly|slowly)\b)(?: at all)?",
        r"(?:without|no) (?:any )?(?:moving|motion|movement)(?: at all)?",
        r"does nothing|nothing (?:moves|is moving|happens)|at rest|in one place",
        r"(?:stay|stand|keep|remain|hold|sit|lie|hover|float|wait)(?:s|es|ing|ed)? "
        r"(?:(?:completely|perfectly|absolutely|quite|very|itself|totally|just) )*"
        r"(?:still|put|in place|where it is|motionless|fixed|in the same (?:place|spot))",
    ),
    (
        "@motion:spins",
        rf"(?:turn|go|move|circle|roll|fly){_ENDINGS} (?:itself )?(?:around|round|about|over and over|continuously"
        r"|in (?:a )?circles?|on the spot|on its axis|counterclockwise|clockwise|anticlockwise)"
        r"(?: (?:and (?:a)?round|itself|in (?:a )?circles?|its axis))?",
        r"(?:turns|turning)(?= [.,]| $| (?:and|on the|in the|at)\b)",
        r"(?:is |in )?(?:a )?spin(?= of| around)",
    ),
    ("@still:yes", r"rests|in place|on the spot"),
    (
        "@motion:grows",
        rf"(?:get|become|grow|turn){_ENDINGS} {_GRADUALLY}(?:bigger|larger|huge)(?: and (?:bigger|larger))?",
        r"bigger and bigger|larger and larger|got bigger|became bigger",
        r"(?:increas\w+|gain\w*|go\w* up) in size|scal\w+ up",
    ),
    (
        "@motion:shrinks",
        rf"(?:get|become|grow|turn){_ENDINGS} {_GRADUALLY}(?:smaller|tinier|tiny)(?: and (?:smaller|tinier))?",
        r"smaller and smaller|tinier and tinier|got smaller|became smaller",
        r"(?:decreas\w+|reduc\w+|los\w+|go\w* down) in size|scal\w+ down",
    ),
    (
        "@motion:blinks",
        rf"(?:(?:turn|switch|go|flash|blink){_ENDINGS} )?on and off",
        rf"(?:appear|vanish|disappear|come){_ENDINGS} and (?:then )?(?:re ?)?(?:disappear|appear|vanish|go){_ENDINGS}",
    ),
]


def _level_rules() -> Rules:
    """Words such as "normal" or "high" beside what they are a level of."""
    every = "|".join(level for row in _LEVELS.values() for level in row.values())
    no_level = rf"(?! (?:is |: )?(?:{every})\b)"
    rules: Rules = [
        ("@pitch:high @speed:fast", r"high pitch and speed"),
        ("@pitch:low @speed:slow", r"low pitch and speed"),
        (
            "@pitch:normal @speed:normal",
            rf"{_NORMAL} (?:in )?(?:both )?{_PITCH} and (?:in |normal )?{_SPEED}{no_level}",
            rf"{_NORMAL} (?:in )?(?:both )?{_SPEED} and (?:in |normal )?{_PITCH}{no_level}",
            rf"{_PITCH} and (?:the |its )?{_SPEED} (?:are |is )?(?:both )?{_NORMAL}",
            rf"{_SPEED} and (?:the |its )?{_PITCH} (?:are |is )?(?:both )?{_NORMAL}",
        ),
    ]
    levels = [
        (f"@{key}:{value}", _PITCH if key == "pitch" else _SPEED, level)
        for key, row in _LEVELS.items()
        for value, level in row.items()
    ]
    alone = rf"(?! (?:in |of )?(?:{_PITCH}|{_SPEED})\b)"
    rules += [(mark, rf"{noun} (?:of \w+ )?{_COPULA} {_QUITE}{level}\b{alone}") for mark, noun, level in levels]
    rules += [(mark, rf"{level} (?:in |of |its )?{noun}") for mark, noun, level in levels]
    rules += [(mark, rf"{noun} {_QUITE}{level}\b{alone}") for mark, noun, level in levels]
    rules += [
        ("@speed:slow", r"in slow motion|(?:slows|slowing)(?: down)?|slow down"),
        ("@speed:fast", r"(?:speeds|speed|speeding) up|faster and faster|(?:speeds|speeding) (?=along|past)"),
        ("@speed:fast", r"(?:at|in) (?:a )?(?:hurry|rush)"),
        (
            "@size:medium",
            rf"{_NORMAL} ?siz(?:e|ed)|{_NORMAL} in size|(?:of|in) {_NORMAL} size|size (?:is |: )?{_NORMAL}",
        ),
        # High up is no pitch.
        (
            "",
            r"(?:high|low|higher|lower)(?= (?:in|up|above|over|on|down|tide|grass|quality|resolution|contrast)\b)",
        ),
        (r"\1\2", rf"({_MOVE}) high|((?:rise|rising|soar|climb|ascend)\w*) high(?:er)?"),
    ]
    return rules


def _direction_rules() -> Rules:
    rules: Rules = []
    for side, other in (("right", "left"), ("left", "right")):
        rules.append(
            (
                f"@motion:moves_{side}",
                rf"(?:{_MOVE} {_ADVERBS})?(?:from )?(?:the )?{other}{_SIDE} (?:over )?(?:on)?to (?:the )?{side}{_SIDE}",
                rf"{_MOVE} (?:in )?{_ADVERBS}from (?:the )?{other}{_SIDE}",
            )
        )
    for side in ("right", "left"):
        mark = f"@motion:moves_{side}"
        rules += [
            (
                mark,
                rf"{_MOVE} {_ADVERBS}(?:{_TO})?{side}(?:wards?)?\b(?! hand){_SIDE}",
                rf"{_MOVE} {_ADVERBS}in (?:the |a )?{side}(?:wards?)? direction",
                rf"(?:motion|movement|direction) (?:(?:is|:) )?(?:{_TO})?{side}(?:wards?)?",
            ),
            (rf"{mark} \1", rf"{_MOVE} {_BETWEEN}{_TO}{side}(?:wards?)?{_SIDE}", rf"{_MOVE} {_BETWEEN}{side}wards?"),
        ]
    rules += [
        ("@motion:rises", rf"{_MOVE} {_ADVERBS}(?:up(?:wards?)?|higher(?: and higher)?|to the top)"),
        ("@motion:rises", r"takes? off|taking off|lift(?:s|ing|ed) off"),
        ("@motion:falls", rf"{_MOVE} {_ADVERBS}(?:down(?:wards?)?|lower(?: and lower)?|to the (?:bottom|ground))"),
        ("@position:left", rf"(?:(?:to|in|on|at) the )?left (?:of|from) {_MIDDLE}"),
        ("@position:right", rf"(?:(?:to|in|on|at) the )?right (?:of|from) {_MIDDLE}"),
        ("", rf"still(?= (?:{_COLOUR}|{any_of('size')}|a|the|an|there is)\b)"),
        ("@still:yes", r"still"),
    ]
    return rules


PHRASES = [
    (re.compile(rf"(?<![@:\w])(?:{pattern})(?:(?<= )|(?!\w))"), mark)
    for mark, *patterns in (*_LOOKALIKES, *_PLACES, *_level_rules(), *_MOTIONS, *_direction_rules())
    for pattern in patterns
]
"""Pairs of a pattern and what it becomes, in order: an earlier one takes its words away from the later ones."""
