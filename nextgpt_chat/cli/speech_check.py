"""Does a language model speak? Two measures that tell gibberish, and what most probably causes it.

First, how likely the model finds a plain answer to a plain question: no sampling, no judgement of style. A model that
knows its language finds it far more likely than chance, and more likely than the same words backwards. Second, what it
answers itself. The first tells causes apart: it can be asked again with the vocabulary moved or the adapter off.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..config import TextSettings
from ..content import TextPart, Turn
from ..errors import CheckpointError
from ..language_model import Ended, TextPiece
from ..prompting import Prompt, make_template

QUESTION, ANSWER = "Show me a red ball.", "Here is a red ball."
# Nats a token as a share of ln(vocabulary), which guessing costs. A tiny model that knows the sentence has 0.01, random
# ones 1.0 to 4, and the damaged ones of the tests above 0.6 (tests/test_self_test.py measures them).
MOST_SURPRISE = 0.6
LONGEST = 64  # tokens of the reply that is read
COMMON = frozenset(
    re.findall(
        "[a-z]+",
        "a an and are as at be but by can do for from have here how i in is it me my no not of on or see show that "
        "the there these this to was we what with yes you your",
    )
)


@dataclass(frozen=True)
class Surprise:
    """Mean nats a token of the answer, and what guessing costs (``chance``); the rest is the same, asked otherwise.

    ``backwards``: its words in the opposite order. ``shifted``: every id moved by one, down or up, whichever is
    better. ``bare``: with the adapter off, None without one.
    """

    answer: float
    chance: float
    backwards: float
    shifted: float
    bare: float | None

    @property
    def knows(self) -> bool:
        """Whether the answer is far from chance, and its order matters."""
        return self.speaks(self.answer) and self.answer < self.backwards

    def speaks(self, value: float | None) -> bool:
        """Whether a surprise is that of a model that knows the language."""
        return value is not None and value <= MOST_SURPRISE * self.chance


def measure(pipeline: Any) -> Surprise:
    """Asks the pipeline's language model; nothing is sampled."""
    lm = pipeline.model.language_model
    backwards = " ".join(reversed(ANSWER.split()))
    adapted = hasattr(lm.network, "disable_adapter")
    return Surprise(
        answer=_surprise(pipeline, ANSWER),
        chance=math.log(lm.text.size),
        backwards=_surprise(pipeline, backwards),
        shifted=min(_surprise(pipeline, ANSWER, shift) for shift in (-1, 1)),
        bare=_surprise(pipeline, ANSWER, bare=True) if adapted else None,
    )


def explain(surprise: Surprise) -> str:
    """The most probable cause of gibberish, and what to do."""
    if surprise.speaks(surprise.shifted):
        return (
            "The vocabulary is shifted by one: every token's row is its neighbour's. The base model had a token of its "
            "own ([PAD]: 32,001 rows) in front of others, or another tokenizer is used. Import again with a base of "
            "exactly 32,000 rows and its own tokenizer."
        )
    if surprise.speaks(surprise.bare):
        return (
            "Without its adapter it speaks, with it it does not: the adapter was trained on another base. Use the base "
            "that the checkpoint was made for (Vicuna-7B v0, not v1.5 and not LLaMA-2)."
        )
    return (
        "The usual causes: another base language model than the checkpoint was trained on (Vicuna v1.5 or LLaMA-2 for "
        "Vicuna v0), token rows or a tokenizer that are not this model's, or weights that were never trained. Import "
        "again with the right base."
    )


def check_surprise(pipeline: Any) -> str:
    """A sentence for a model that knows its language. Raises CheckpointError that says what is wrong."""
    found = measure(pipeline)
    facts = f"a plain answer costs {found.answer:.2f} nats a token, guessing {found.chance:.2f}"
    if not math.isfinite(found.answer):
        raise CheckpointError("The language model's numbers overflow (NaN or infinity). Use bfloat16 or float32.")
    if found.knows:
        return f"{facts}, the words backwards {found.backwards:.2f}"
    raise CheckpointError(f"The language model talks gibberish: {facts}. {explain(found)}")


def check_reply(pipeline: Any) -> str:
    """A fixed question at a fixed seed is answered by words, and the answer ends. Raises CheckpointError."""
    prompt, stops = asked(pipeline)
    defaults = TextSettings(**pipeline.defaults["text"])
    said, reason = "", ""
    for step in pipeline.model.reply_steps(
        prompt,
        replace(defaults, max_new_tokens=LONGEST),
        generator=torch.Generator("cpu").manual_seed(0),
        modalities={"text"},
        stops=stops,
    ):
        if isinstance(step, TextPiece):
            said += step.text
        elif isinstance(step, Ended):
            reason = step.reason
    shown = _short(said)
    if complaint := gibberish(said):
        raise CheckpointError(
            f"To {QUESTION!r} it answers {shown}: {complaint}. What 'language' says above is the likely cause."
        )
    if reason == "length":
        raise CheckpointError(
            f"To {QUESTION!r} it answers {shown} and does not come to an end within {LONGEST} tokens. It speaks, but "
            "not as an assistant: the base is LLaMA itself without Vicuna's delta (--llm-delta when importing), or "
            "the adapter is missing."
        )
    return f"to {QUESTION!r} it answers {shown}"


def asked(pipeline: Any) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt of the fixed question in the checkpoint's template, and where an answer stops."""
    lm = pipeline.model.language_model
    template = make_template(pipeline.manifest.template, lm.text, lm.signals)
    return Prompt(template.prompt([Turn("user", (TextPart(QUESTION),))])), template.stops


def gibberish(text: str) -> str:
    """What is wrong with an answer to a plain English question; "" if it reads like words.

    Repetition, broken or foreign characters, and no common English word: a broken LLaMA strings pieces of code, names
    and other languages together. Nothing here judges sense.
    """
    if not text.strip():
        return "it says nothing"
    signs = [c for c in text if not c.isspace()]
    broken = sum(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") for c in signs)
    if broken > 0.1 * len(signs):
        return "broken characters"
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    if len(words) >= 8 and len(set(words)) <= 0.3 * len(words):
        return "the same words again and again"
    if sum(map(len, words)) < 0.5 * len(signs):
        return "hardly a letter in it"
    if sum(c.isalpha() and not c.isascii() for c in text) > 0.3 * len(signs):
        return "letters of other scripts"
    known = COMMON | set(re.findall(r"\w+", QUESTION.lower()))
    if sum(word in known for word in words) < 0.2 * len(words):
        return "no English words"
    return ""


@torch.no_grad()
def _surprise(pipeline: Any, answer: str, shift: int = 0, bare: bool = False) -> float:
    """Mean negative log-likelihood of the answer's ids after the question's prompt."""
    lm, (prompt, _) = pipeline.model.language_model, asked(pipeline)
    before, words = prompt.keys, lm.text.encode(answer)  # no media in it, so that all keys are ids
    rows = len(lm.causal.get_input_embeddings().weight)
    ids = torch.tensor([*before, *words]).add(shift).clamp(0, rows - 1).to(lm.device)
    off = lm.network.disable_adapter() if bare else contextlib.nullcontext()
    with off:
        states = lm.states(lm.embed(ids)[None])[0, len(before) - 1 : -1]
        scores = lm.logits(states).float().log_softmax(-1)
    return float(-scores.gather(1, ids[len(before) :, None]).mean())


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "…")
