"""What a checkpoint can do in the picture-book world, asked in words and judged by programs.

Only combinations that no training target has shown are asked for, case i has seed ``seed + i``, and nothing is asked
twice to choose the better answer. Everything goes through the public interface of the pipeline.

>>> rows = evaluate(pipe, limit=200)            # {row: {"n", "distinct", "correct", "rate", "low95", "ceiling"}}
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from ..config import GenerationSettings
from ..content import Audio, Image, Media, MediaPart, Reply, Video
from ..conversation import Conversation
from ..decoders.mel import log_mel
from ..picturebook import CLIP_FPS, SAMPLE_RATE, parse, values
from ..picturebook.values import Clip, Scene, Sound, Value
from . import gates, requests
from .cases import ATTRIBUTES, NAMES, attributes, choose, judged, pool, render
from .gates import judge_medium
from .tally import Row, Tally

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of)."""

TOLD = {**ATTRIBUTES, "video": ("thing", "colour", "place", "size", "motion")}
"""What is asked of the words about each kind of medium."""
_CHANGED = ("image", "image", "audio", "uploaded image", "image", "audio", "video", "uploaded image")
"""What is changed, in turn. Clips come once in eight cases: they take longest."""


def medium_of(value: Value, seed: int) -> Media:
    """A true rendering as a medium that can be uploaded."""
    array = render(value, seed)
    if isinstance(value, Scene):
        return Image(array)
    return Audio(array, SAMPLE_RATE) if isinstance(value, Sound) else Video(array, CLIP_FPS)


def produced(reply: Reply) -> list[str]:
    """Kinds of media in a reply, sorted."""
    return sorted(part.kind for part in reply.parts if isinstance(part, MediaPart))


def seen_in(reply: Reply, kind: str) -> dict[str, str]:
    """What the judge sees in the reply's first medium of a kind; nothing if there is none."""
    media = (part.media for part in reply.parts if isinstance(part, MediaPart) and part.kind == kind)
    return next((judge_medium(medium) for medium in media), {})


class _Evaluation:
    """One run: the pipeline, the counts so far, and how to ask."""

    def __init__(
        self, pipeline: Any, limit: int, seed: int, settings: GenerationSettings | None, progress: Progress | None
    ) -> None:
        self.pipeline, self.limit, self.seed, self.settings = pipeline, limit, seed, settings
        self.progress, self.tally = progress, Tally()

    def ask(self, talk: Conversation, text: str, case: int, *files: Media) -> Reply:
        talk.add_user(text, files=files)
        return self.pipeline.reply(talk, settings=self.settings, seed=self.seed + case)

    def cases(self, what: str, kind: str) -> Any:
        """Yields (case, held-out value, random generator)."""
        for case, value in enumerate(choose(kind, self.limit, self.seed)):
            yield case, value, random.Random(f"{what} {self.seed + case}")
            if self.progress:
                self.progress(what, case + 1, self.limit)

    def modalities(self, reply: Reply, asked: Sequence[str], value: Any) -> None:
        self.tally.add("modalities", produced(reply) == sorted(asked), (tuple(asked), value))

    def make(self, kind: str) -> None:
        name = NAMES[kind]
        for case, value, rng in self.cases(name, kind):
            reply = self.ask(Conversation(), requests.make(kind, value, rng), case)
            self.tally.add_attributes(name, judged(kind, value), seen_in(reply, kind), value)
            self.modalities(reply, [kind], value)

    def describe(self, kind: str) -> None:
        name = f"words from {NAMES[kind]}"
        for case, value, rng in self.cases(name, kind):
            talk = Conversation()
            reply = self.ask(talk, requests.describe(kind, rng), case, medium_of(value, self.seed + case))
            self.modalities(reply, [], value)
            said = parse(reply.text)
            wanted = {key: word for key, word in attributes(value).items() if key in TOLD[kind]}
            # Who gets a description that leaves something out asks for it.
            for key in (key for key in wanted if key not in said):
                answer = parse(self.ask(talk, requests.QUESTIONS[key], case).text)
                said |= {key: answer[key]} if key in answer else {}
            self.tally.add_attributes(name, wanted, said, value)

    def change(self) -> None:
        for case in range(self.limit):
            rng = random.Random(f"change {self.seed + case}")
            source = _CHANGED[case % len(_CHANGED)]
            kind = source.split()[-1]
            before, attribute, after = change_case(kind, rng)
            talk = Conversation()
            if kind == source:
                first = seen_in(self.ask(talk, requests.make(kind, before, rng), case), kind)
                files = []
            else:
                first, files = judged(kind, before), [medium_of(before, self.seed + case)]
            word = attributes(after)[attribute]
            reply = self.ask(talk, requests.change(attribute, word, rng), case, *files)
            got = seen_in(reply, kind)
            self.modalities(reply, [kind], after)
            self.tally.add("change/changed", got.get(attribute) == word, after)
            # What is kept is what was made, even where that was not quite what was asked for.
            kept = [got.get(key) is not None and got.get(key) == first.get(key) for key in ATTRIBUTES[kind]]
            others = [right for key, right in zip(ATTRIBUTES[kind], kept, strict=True) if key != attribute]
            for right in others:
                self.tally.add("change/kept", right, after)
            self.tally.add("change/all kept", all(others), after)
            if self.progress:
                self.progress("change", case + 1, self.limit)

    def cross(self) -> None:
        pictures = [scene for scene in choose("image", len(pool("image")), self.seed) if scene.thing in values.SOUNDS]
        sounds = [sound for sound in choose("audio", len(pool("audio")), self.seed) if sound.source in values.THINGS]
        for case in range(self.limit):
            rng = random.Random(f"cross {self.seed + case}")
            scene, sound = pictures[case % len(pictures)], sounds[case % len(sounds)]
            for value, thing, given, asked, key in (
                (scene, scene.thing, "image", "audio", "source"),
                (sound, sound.source, "audio", "image", "thing"),
            ):
                files = [medium_of(value, self.seed + case)]
                reply = self.ask(Conversation(), requests.cross(given, asked, rng), case, *files)
                row = f"cross/{NAMES[given]} to {NAMES[asked]}"
                self.tally.add(row, seen_in(reply, asked).get(key) == thing, value)
                self.modalities(reply, [asked], value)
            if self.progress:
                self.progress("cross", case + 1, self.limit)

    def several(self) -> None:
        """More requests for the row "modalities": several media at once, or none."""
        scenes = [scene for scene in choose("image", len(pool("image")), self.seed) if scene.thing in values.SOUNDS]
        count = max(1, self.limit // 5)
        for case in range(count):
            rng = random.Random(f"several {self.seed + case}")
            kinds, scene = requests.SEVERAL[case % len(requests.SEVERAL)], scenes[case % len(scenes)]
            self.modalities(self.ask(Conversation(), requests.several(kinds, scene, rng), case), kinds, scene)
            if self.progress:
                self.progress("several at once", case + 1, count)


def change_case(kind: str, rng: random.Random) -> tuple[Value, str, Value]:
    """(value before, attribute, value after): the second is held out and differs from the first in that attribute."""
    allowed = {
        "thing": values.THINGS,
        "colour": values.COLOURS,
        "size": values.SIZES,
        "position": values.POSITIONS,
        "place": values.PLACES,
        "pitch": values.PITCHES,
        "speed": values.SPEEDS,
        "motion": values.MOTIONS,
    }
    attribute = rng.choice([key for key in ATTRIBUTES[kind] if key != "source"])
    after = rng.choice(pool(kind))
    word = rng.choice([word for word in allowed[attribute] if word != attributes(after)[attribute]])
    if isinstance(after, Clip) and attribute != "motion":
        return replace(after, scene=replace(after.scene, **{attribute: word})), attribute, after
    return replace(after, **{attribute: word}), attribute, after


@dataclass
class Measured:
    """What one part of the evaluation counted: answers, rates of the decoders alone, rows of single components."""

    tally: Tally = field(default_factory=Tally)
    ceilings: dict[str, Row] = field(default_factory=dict)
    alone: dict[str, Row] = field(default_factory=dict)


ASKED = (*NAMES.values(), *(f"words from {name}" for name in NAMES.values()), "change", "cross", "several")
"""Parts that ask the whole pipeline, in the order of the table."""
CEILINGS = tuple(f"ceiling of {name}s" for name in NAMES.values())
PARTS = (*ASKED, *CEILINGS, "components")
"""All parts of the evaluation; any may be measured by itself."""


def measure(
    pipeline: Any,
    part: str,
    limit: int = 200,
    seed: int = 0,
    settings: GenerationSettings | None = None,
    progress: Progress | None = None,
) -> Measured:
    """One of `PARTS`; ``limit`` and the rest as in `evaluate`."""
    kinds = {name: kind for kind, name in NAMES.items()}
    if part in CEILINGS:
        kind = kinds[part.removeprefix("ceiling of ").removesuffix("s")]
        return Measured(ceilings=ceilings(pipeline, kind, limit, seed, settings, progress))
    if part == "components":
        return Measured(alone=reconstructions(pipeline, limit, seed))
    run = _Evaluation(pipeline, limit, seed, settings, progress)
    if part in kinds:
        run.make(kinds[part])
    elif part.startswith("words from "):
        run.describe(kinds[part.removeprefix("words from ")])
    else:
        {"change": run.change, "cross": run.cross, "several": run.several}[part]()
    return Measured(run.tally)


def rows_of(measured: Iterable[Measured]) -> dict[str, Row]:
    """The table of all parts together."""
    tally, highest, alone = Tally(), {}, {}
    for one in measured:
        tally.join(one.tally)
        highest |= one.ceilings
        alone |= one.alone
    return tally.rows(highest) | alone


def ceilings(
    pipeline: Any, kind: str, limit: int, seed: int, settings: GenerationSettings | None, progress: Progress | None
) -> dict[str, Row]:
    """Rows "picture/thing" …: a decoder fed by its own text encoder on the true caption."""
    decoder = pipeline.model.decoders.get(kind)
    if decoder is None:
        return {}
    own = getattr((settings or GenerationSettings()).resolved(getattr(pipeline, "defaults", {})), kind)
    always = {"steps": own.steps, "guidance_scale": own.guidance_scale}
    the_pipelines = {name: value for name, value in asdict(own).items() if value is not None}
    return gates.ceiling_gate(decoder, kind, limit, seed=seed, progress=progress, **always | the_pipelines)


def reconstructions(pipeline: Any, limit: int, seed: int) -> dict[str, Row]:
    """Rows "autoencoder/…" and "vocoder/…": true renderings through these parts of the decoders alone."""
    decoders = pipeline.model.decoders
    rows: dict[str, Row] = {}
    for kind in ("image", "video"):
        if kind in decoders:
            rows |= gates.autoencoder_gate(decoders[kind].vae, limit, kind, seed=seed)
    if "audio" in decoders:
        audio = decoders["audio"]

        def to_mel(samples: Any) -> torch.Tensor:
            return log_mel(torch.as_tensor(samples))

        rows |= gates.mel_gate(audio.vae, to_mel, audio.vocode, limit, seed=seed)
        rows |= gates.vocoder_gate(to_mel, audio.vocode, limit, seed=seed)
    return rows


def evaluate(
    pipeline: Any,
    limit: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    settings: GenerationSettings | None = None,
    with_ceilings: bool = True,
) -> dict[str, Row]:
    """Rows ``{"n", "distinct", "correct", "rate", "low95", "ceiling"}`` for everything that a checkpoint must show.

    ``limit``: cases of each part (rows of several judgements a case, such as "change/kept", count more); ``low95``:
    lower end of Wilson's interval; ``ceiling``: the rate of the same decoder fed by its own text encoder, None where
    that means nothing. ``progress(what, done, of)`` is called after every case. With ``with_ceilings=False`` the
    ceilings and the rows "autoencoder/…" and "vocoder/…" are left out. Raises ValueError if ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    parts = PARTS if with_ceilings else ASKED
    return rows_of(measure(pipeline, part, limit, seed, settings, progress) for part in parts)
