"""The sentencepiece vocabulary with the added tokens: ids of texts, in both variants of the published code."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from nextgpt_chat.prompting import tokenise_v0
from nextgpt_chat.tokens import IMAGE_CLOSE, IMAGE_OPEN, PlainTokenizer

from .comparing import Case, Check, Rules
from .folder import GoldenFolder

FILE = "tokenizer.json"
OLD = "pre_2023_11_01_variant"


def find(golden: GoldenFolder) -> Iterator[Case]:
    """Ids of the added tokens, ids of texts, ids of texts before November 2023, and what must not be copied."""
    if not golden.has(FILE):
        return
    facts = golden.json(FILE)
    rules = Rules(facts, FILE)
    yield Case("tokenizer added tokens", functools.partial(_added, golden, facts))
    yield Case("tokenizer ids", functools.partial(_ids, golden, facts, facts["cases"], True), rules)
    if any(case.get("quirk") for case in facts["cases"]):
        yield Case("tokenizer typed control tokens", functools.partial(_typed, golden, facts))
    if OLD in facts:
        work = functools.partial(_ids, golden, facts, facts[OLD]["cases"], False)
        yield Case("tokenizer ids before 2023-11", work, rules)


def _added(golden: GoldenFolder, facts: dict[str, Any], check: Check) -> None:
    vocabulary = golden.tokenizer(facts["model"]).get_vocab()
    names = golden.signal_tokens.all_names()
    check.require(set(names) == set(facts["added"]), "the added tokens are not the published ones")
    for name, expected in facts["added"].items():
        check.compare(name, vocabulary.get(name, -1), expected)
    tokenizer = golden.tokenizer(facts["model"])
    check.compare("base vocabulary", len(tokenizer) - len(names), facts["base_vocab"])
    check.compare("padding", tokenizer.pad_token_id, facts["pad_id"])


def _ids(golden: GoldenFolder, facts: dict[str, Any], cases: list, marks: bool, check: Check) -> None:
    """``marks``: ``<Img>`` and ``</Img>`` are tokens."""
    tokenizer = golden.tokenizer(facts["model"])
    plain, vocabulary = PlainTokenizer(tokenizer), tokenizer.get_vocab()
    names = golden.signal_tokens.all_names()
    added = {name: vocabulary[name] for name in names if marks or name not in (IMAGE_OPEN, IMAGE_CLOSE)}
    # Longest first, as the original cuts.
    pattern = "|".join(map(re.escape, sorted(added, key=len, reverse=True)))
    for case in cases:
        if case.get("quirk"):
            continue
        pieces = re.split(f"({pattern})", case["text"])
        ids = tokenise_v0([added.get(piece, piece) for piece in pieces], plain)
        check.compare("cases.ids", list(ids), case["ids"], label=f"ids of {case['text']!r}")


def _typed(golden: GoldenFolder, facts: dict[str, Any], check: Check) -> None:
    """Typed control tokens stay words; in the original they become control tokens."""
    plain = PlainTokenizer(golden.tokenizer(facts["model"]))
    for text in (case["text"] for case in facts["cases"] if case.get("quirk")):
        ids = plain.encode_quoted(text)
        check.compare("control ids", len(plain.control_ids.intersection(ids)), 0, label=f"control ids in {text!r}")
        check.require(plain.decode(ids) == text, f"the words of {text!r} are not all there")
    check.notes.append("not compared: the original makes control tokens of typed ones")
