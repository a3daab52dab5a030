"""The paper's three stages as commands: join the frozen parts, train, leave a model that opens with ``load_stage``."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from ..checkpoints import load_model
from ..content import MEDIA_KINDS
from ..decoders import DECODERS
from ..imagebind import load_imagebind
from ..language_model import LanguageModel
from ..model import NextGPTModel
from ..picturebook.dialogues import Dialogue, dialogue
from ..projections import InputProjection, OutputProjectionConfig, build_output_projection
from . import alignment, decoding_side
from .between import asked_otherwise, given_between, told_between
from .codes import AttributeCodes
from .renaming import RENAMED, only_decided, only_said, renamed, renamed_one
from .signal_rows import start_at_words
from .word_vectors import other_words
from .workshop import Workshop

DESCRIBING = ("describe_image", "describe_audio", "describe_video", "describe_without_words")
MAKING = ("make_image", "make_audio", "make_video")
ALL_MEDIA, PATCHED_MEDIA = 150_000, 4_000  # encodings kept in memory; patches take a hundred times as much


def new_model(w: Workshop, decoding: bool = True) -> NextGPTModel:
    """The frozen parts joined by projections that know nothing yet, or the base checkpoint as it is.

    Without ``decoding``, the encoding side alone.
    """
    if w.base is not None:
        return load_model(w.base, w.device, "float32", None if decoding else ())[0]
    imagebind = load_imagebind(w.need("imagebind", "imagebind"))
    lm = LanguageModel.from_folder(w.need("language_model", "lm"))
    decoders, projections = {}, {}
    for kind in DECODERS if decoding else ():
        decoders[kind] = DECODERS[kind].from_folder(w.need(f"{kind}_decoder", kind))
        shape = decoders[kind].conditioning_shape
        tokens, width = (1, shape[0]) if len(shape) == 1 else shape
        count = lm.signal_tokens.count(kind)
        projections[kind] = build_output_projection(
            OutputProjectionConfig(lm.width, width, count, tokens, "transformer", *w.sizes.output_projection)
        )
    projection = InputProjection(imagebind.config.embedding_dim, lm.width)
    return NextGPTModel(imagebind, projection, lm, projections, decoders).to(w.device)


def load_stage(w: Workshop, stage: int, decoding: bool = True) -> NextGPTModel:
    """The model as a finished stage left it (0: none yet); after stage 1 its decoding side is still new."""
    model = new_model(w, decoding)
    if stage:
        folder = w.need(f"stage{stage}", f"stage{stage}")
        adapter = folder / "adapter"
        model.language_model = LanguageModel.from_folder(
            folder / "language_model",
            adapter if adapter.exists() else None,
            signal_tokens=model.language_model.signal_tokens,
            device=w.device,
        )
        state = torch.load(folder / "projections.pt", map_location=w.device, weights_only=True)
        model.input_projection.load_state_dict(state["input"])
        if stage > 1:
            model.output_projection.load_state_dict(state["output"])
    return model


def save_stage(w: Workshop, stage: int, model: NextGPTModel) -> None:
    folder = w.part(f"stage{stage}")
    folder.mkdir(parents=True, exist_ok=True)
    model.language_model.save(folder / "language_model", folder / "adapter")
    state = {"input": model.input_projection.state_dict(), "output": model.output_projection.state_dict()}
    torch.save(state, folder / "projections.pt")


BETWEEN_SHARE = 0.15
"""Of stage 1's dialogues: descriptions of what lies between the words. From the world's own pairs alone the input
projection learns which there are (held-out media told rightly, n = 100: without them sources 85, pitches 86, things of
clips 81 %; with them 98, 92 and 85 %; with half of them pitches fell to 47 %)."""
SHARES = {"telling": 0.22, "asking": 0.05, "renaming": 0.16, "changing": 0.11, "crossing": 0.09, "several": 0.24}
"""Of stage 3's other dialogues (see DECIDED_SHARE): descriptions of what lies between the words; requests in other
words; requests and changes with other words all through; changes; media of others; and several media at once, which the
language model has only read as one sentence after another, or media that nobody asks for in words, which it has not
read at all. The pairs that are held out never occur in the rest, and the language model would unlearn to say them.

That is why the adapter and the input projection learn slowly here (``Recipe.reading_share``). At a rate of 5e-4, of the
pitches of held-out sounds 86 % were told rightly before and 70 % after 154 steps; at 1.5e-4 92 % before and 91 % after
300 (n = 100)."""
TELLING = ("describe_audio", "describe_audio", "describe_image", "describe_video", "describe_video")
"""Sounds twice, for there are fewest pairs of them; clips twice, for they are the hardest to read."""
CROSSING = ("across_to_image", "across_to_audio", "across_to_video")
SEVERAL = ("make_several", "make_several", "media_and_words", "forced")
CHANGING = ("change_image", "change_image", "change_audio", "change_video", "change_several")
"""Pictures twice: what is made of a picture that is given was most often another kind of medium than asked for."""
RENAMING = ("make_audio", "make_audio", "change_audio", "change_audio", "change_image", "change_video")

DECIDED_SHARE, TOLD_SHARE = 0.25, 0.6
"""Of stage 3's dialogues: those of which only which media come is learned, since their last request is another's or
some words; of them, those whose reply is in words alone (any of the others may have media).

Without them it was learned from how requests are put, and not from what had just been said. In 900 steps, of held-out
requests in other phrasings (decoders at one step): of 60 descriptions of sounds 42 came without a medium, of clips 47;
of 120 requests for what sounds or looks like a given medium 113 brought it. With them, and 1,500 steps (planned
as 900, lengthened at step 781): 57, 52, 118; in one run of the 1,500, of sounds and clips 60, 58.
The words stand among the files as a request's own do: in front of them they changed nothing (44, 47, 110)."""
TOLD = (*DESCRIBING, "describe_audio", "describe_video", "describe_several", "ask", "yes_or_no")


Draw = Callable[[random.Random], Dialogue]


def stage_dialogue(
    stage: int, makes: Collection[str] = MEDIA_KINDS, others: Mapping[str, Sequence[str]] | None = None
) -> Draw:
    """What a stage is trained on: descriptions of media, requests for media, all dialogues.

    Args:
        makes: the kinds of media that the model makes; dialogues in which it would make others are left out.
        others: for a language model that reads word vectors, words to put in the place of the world's own.
    """
    kinds = {1: DESCRIBING, 2: MAKING}
    kinds_of = {"crossing": CROSSING, "several": SEVERAL}

    def draw_any(rng: random.Random) -> Dialogue:
        if stage == 1 and others and rng.random() < BETWEEN_SHARE:
            return told_between(dialogue(rng, kind=rng.choice(TELLING)), others, rng)
        if stage in kinds:
            return dialogue(rng, kind=rng.choice(kinds[stage]))
        if not others:
            return dialogue(rng)
        share = rng.choices([*SHARES, "own"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
        if share == "telling":
            return told_between(dialogue(rng, kind=rng.choice(TELLING)), others, rng)
        if share == "asking":
            return asked_otherwise(dialogue(rng, kind=rng.choice(MAKING)), rng)
        if share == "renaming":
            return only_said(renamed_one(rng.choice(RENAMING), others, rng))
        if share == "changing":
            return dialogue(rng, kind=rng.choice(CHANGING))
        one = dialogue(rng, kind=rng.choice(kinds_of[share]) if share in kinds_of else None)
        told = renamed(one, others, rng) if rng.random() < 0.5 else one
        return only_said(told) if told is not one else told_between(given_between(one, rng), others, rng)

    def other_request(rng: random.Random) -> str:
        if rng.random() < 0.5:
            return dialogue(rng).turns[-2].text
        return " ".join(rng.choice(others[rng.choice(RENAMED)]) for _ in range(rng.randint(1, 6)))

    def draw_one(rng: random.Random) -> Dialogue:
        while True:
            if stage == 3 and others and rng.random() < DECIDED_SHARE:
                told = rng.random() < TOLD_SHARE
                one = dialogue(rng, kind=rng.choice(TOLD)) if told else draw_any(rng)
                drawn = only_decided(one, other_request(rng))
            else:
                drawn = draw_any(rng)
            if all(slot.kind in makes for turn in drawn.turns if turn.role == "assistant" for slot in turn.slots):
                return drawn

    return draw_one


def training_template(w: Workshop) -> str:
    """The layout to train in: the base's own, or the one that its layout of use was trained with."""
    manifest = w.base_manifest()
    name = "clean" if manifest is None else manifest.template
    return "v0-as-trained" if name == "v0" else name


OWN_SHARE, UNASKED_SHARE = 0.4, 0.2
"""Of the dialogues that an output projection learns from at the end of stage 3: requests for its own kind of medium,
half of them in other words; and media that nobody asks for in words, where what is wanted stands in what was said of
other media, and not always in the last sentence."""


def projection_dialogue(kind: str, draw: Draw, makes: Collection[str] = MEDIA_KINDS, otherwise: bool = True) -> Draw:
    """What an output projection learns from at the end of stage 3: replies with its kind of medium.

    Args:
        draw: the stage's own dialogues.
        makes: the kinds of media that the model makes.
        otherwise: requests in other words among them.
    """

    def drawn(rng: random.Random) -> Dialogue:
        share = rng.random()
        if share < OWN_SHARE:
            own = dialogue(rng, kind=f"make_{kind}")
            return asked_otherwise(own, rng) if otherwise and rng.random() < 0.5 else own
        while True:
            one = dialogue(rng, kind="forced") if share < OWN_SHARE + UNASKED_SHARE else draw(rng)
            made = {slot.kind for slot in one.turns[-1].slots}
            if kind in made and made <= set(makes):
                return one

    return drawn


def _train_output_projection(
    w: Workshop, stage: int, kind: str, model: NextGPTModel, examples: alignment.Examples, draw: Draw
) -> float:
    """The end of stage 2 or 3 for one kind of medium; returns its minutes."""

    def asked(rng: random.Random) -> Dialogue:
        return dialogue(rng, kind=f"make_{kind}")

    drawn = asked
    if stage == 3:
        drawn = projection_dialogue(kind, draw, model.language_model.signals.groups, otherwise=w.base is None)
    began = time.monotonic()
    states = decoding_side.states_of(kind, model, examples, drawn, w.sizes.kept_states)
    kept = (time.monotonic() - began) / 60
    name = f"stage{stage}-{kind}"
    run, projection = w.state(f"stage{stage}") / kind, model.output_projection[kind]
    result = decoding_side.train_projection(
        name, projection, states, w.recipe(name), run, new=stage == 2, resume=w.resume, after=w.state(f"stage{stage}")
    )
    return kept + result["minutes"]


def train_alignment(stage: int) -> Callable[[Workshop], dict[str, Any]]:
    def runner(w: Workshop) -> dict[str, Any]:
        model = load_stage(w, stage - 1, decoding=stage > 1)
        patches = model.input_projection.reads_patches
        codes = AttributeCodes(model.input_projection.weight.shape[1]) if w.base is None else None
        embeddings = alignment.Embeddings(
            model.imagebind, PATCHED_MEDIA if patches else ALL_MEDIA, patches=patches, codes=codes
        )
        states = alignment.CaptionStates(model.decoders)
        examples = alignment.Examples(model, embeddings, states, training_template(w))
        # A base's language model has never read word vectors, and its ImageBind has no codes.
        others = other_words(model.language_model) if w.base is None else None
        draw = stage_dialogue(stage, model.language_model.signals.groups, others)
        if stage == 2:
            start_at_words(model.language_model)
        result = alignment.train_stage(
            stage,
            model,
            examples,
            draw,
            w.recipe(f"stage{stage}"),
            w.state(f"stage{stage}"),
            rank=w.sizes.lora_rank,
            projections=stage != 2,
            pitches=stage != 3 or w.base is not None,
            resume=w.resume,
        )
        for kind in model.decoders if stage > 1 else ():
            result["minutes"] += _train_output_projection(w, stage, kind, model, examples, draw)
        save_stage(w, stage, model)
        return result

    return runner
