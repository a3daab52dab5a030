"""One whole turn: a picture and words in; ids, states and conditionings of picture, clip and sound out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch

from nextgpt_chat.config import TextSettings
from nextgpt_chat.content import MEDIA_KINDS, MediaPart, TextPart, Turn
from nextgpt_chat.language_model import Ended, SignalGroup, Step
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.prompting import MediaSegment, Prompt, make_template

from .comparing import Case, Check, Rules
from .folder import GoldenFolder
from .published import PublishedWeights

FILE = "generation"
DEMO = TextSettings(temperature=1.0, top_p=0.01, max_new_tokens=246)  # the original demo's: greedy in effect


def find(golden: GoldenFolder) -> Iterator[Case]:
    """What goes in (needs the picture), then the turn; the latter starts from the golden embeddings."""
    if not golden.has(f"{FILE}.json"):
        return
    facts = golden.json(f"{FILE}.json")
    rules = Rules(facts, f"{FILE}.json")
    model = functools.cache(lambda: _model(golden))
    yield Case("generation input", functools.partial(_run_input, golden, facts, model), rules)
    reply = functools.cache(lambda: reply_steps(golden, facts, model()))
    yield Case("generation ids and states", functools.partial(_run_ids, golden, facts, model, reply), rules)
    for kind in (kind for kind in MEDIA_KINDS if kind in facts["modalities"]):
        yield Case(f"generation {kind}", functools.partial(_run_kind, golden, model, reply, kind), rules)


def _model(golden: GoldenFolder) -> NextGPTModel:
    weights = PublishedWeights(golden)
    model = weights.model()
    model.language_model.add_adapter(**weights.lora)
    weights.load_lora(model.language_model)
    return model.eval()


def prompt_of(golden: GoldenFolder, facts: dict[str, Any], model: NextGPTModel) -> Prompt:
    """The turn in our template v0."""
    parts = (MediaPart(golden.image(facts["image"])), TextPart(facts["user_text"]))
    template = make_template("v0", model.language_model.text, model.language_model.signals)
    return Prompt(template.prompt([Turn("user", parts)]))


def _run_input(golden: GoldenFolder, facts: dict[str, Any], model_of, check: Check) -> None:
    model = model_of()
    prompt = prompt_of(golden, facts, model)
    model.imagebind = model.imagebind or PublishedWeights(golden).imagebind()
    media = [segment.media for segment in prompt.segments if isinstance(segment, MediaSegment)]
    with torch.no_grad():
        found = {
            "image_embedding": model.encode_media(media),
            "image_llama_embedding": model.embed_media(media),
            "input_embeds": model.embed_segments(prompt.segments),
        }
    for name, values in found.items():
        check.compare(name, values, golden.tensor(FILE, name))


def reply_steps(golden: GoldenFolder, facts: dict[str, Any], model: NextGPTModel) -> list[Step]:
    """Our reply to the golden input."""
    settings = TextSettings(DEMO.temperature, DEMO.top_p, max(DEMO.max_new_tokens, facts["n_new_tokens"]))
    embeds = golden.tensor(FILE, "input_embeds")
    return list(model.language_model.generate(embeds, settings, max_groups=len(facts["expected_new_ids"])))


def _run_ids(golden: GoldenFolder, facts: dict[str, Any], model_of, reply_of, check: Check) -> None:
    ended = reply_of()[-1]
    assert isinstance(ended, Ended)
    check.compare("expected_new_ids", list(ended.ids), facts["expected_new_ids"])
    # States at every step but the first: the inputs are the new tokens, the last one left out.
    language_model, embeds = model_of().language_model, golden.tensor(FILE, "input_embeds")
    with torch.no_grad():
        new = language_model.embed(facts["expected_new_ids"][:-1])[None]
        states = language_model.states(torch.cat([embeds, new], 1))[:, embeds.shape[1] :]
    check.compare("step_hidden", states, golden.tensor(FILE, "step_hidden"))


def _run_kind(golden: GoldenFolder, model_of, reply_of, kind: str, check: Check) -> None:
    groups = [step for step in reply_of() if isinstance(step, SignalGroup) and step.kind == kind]
    check.require(len(groups) >= 1, f"our reply has no {kind} signal tokens")
    for group in groups[:1]:  # the original makes one medium of a kind
        check.compare(f"{kind}_raw_hidden", group.hidden, golden.tensor(FILE, f"{kind}_raw_hidden"))
        check.compare(f"{kind}_prefix_embs", group.embeddings, golden.tensor(FILE, f"{kind}_prefix_embs"))
        check.compare(f"{kind}_cond", model_of().condition(group), golden.tensor(FILE, f"{kind}_cond"))
