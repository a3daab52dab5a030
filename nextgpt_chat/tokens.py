"""Signal tokens and plain text: which ids mean what, and text to ids without any added token.

Knows vocabularies only; how ids are laid out in a conversation is ``prompting``'s business.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import MEDIA_KINDS
from .errors import CheckpointError

IMAGE_OPEN, IMAGE_CLOSE = "<Img>", "</Img>"
# The published checkpoint added its tokens in this order, so the order fixes their ids.
_PREFIXES = {"image": "IMG", "video": "VID", "audio": "AUD"}
ROLE_MARK = "###"
# A Unicode noncharacter stands for a broken-up '#' between `quote` and `encode`; it never occurs in real text.
_BROKEN_HASH = "\ufdd0"


@dataclass(frozen=True)
class SignalTokens:
    """How many modality signal tokens each medium has (NExT-GPT, section 3: 4, 8 and 24). 0 = no such output."""

    image: int = 4
    audio: int = 8
    video: int = 24

    def count(self, kind: str) -> int:
        """Number of signal tokens of ``kind`` (image, audio or video)."""
        if kind not in MEDIA_KINDS:
            raise ValueError(f"kind must be one of {', '.join(MEDIA_KINDS)}, not {kind!r}")
        return getattr(self, kind)

    def names(self, kind: str) -> tuple[str, ...]:
        """``[IMG0]`` … of one kind, in order."""
        return tuple(f"[{_PREFIXES[kind]}{i}]" for i in range(self.count(kind)))

    def all_names(self) -> tuple[str, ...]:
        """Every added token in the order of its id: ``<Img>``, ``</Img>``, image, video, audio."""
        return (IMAGE_OPEN, IMAGE_CLOSE, *(name for kind in _PREFIXES for name in self.names(kind)))

    def names_of_2024(self, kind: str) -> tuple[str, ...]:
        """``<image_00>`` … of one kind, in order: how the published code of 2024 spells them."""
        return tuple(f"<{kind}_{i:02d}>" for i in range(self.count(kind)))

    def all_names_of_2024(self) -> tuple[str, ...]:
        """Every token that the code of 2024 adds, in the order of its id; it has no ``<Img>``."""
        return tuple(name for kind in _PREFIXES for name in self.names_of_2024(kind))

    def lookup(self, tokenizer: Any) -> SignalIds:
        """The ids that ``tokenizer`` gives them. Raises CheckpointError if a signal token is missing.

        A vocabulary with the signal tokens of the code of 2024 (and without the usual ones) gives that code's runs,
        which have a space piece between two tokens.
        """
        vocabulary = tokenizer.get_vocab()
        later = self.all_names_of_2024()
        if later and vocabulary.keys() >= set(later) and vocabulary.keys().isdisjoint(self.all_names()):
            joiner = vocabulary.get("▁", vocabulary.get("Ġ"))
            ids = {k: [vocabulary[name] for name in self.names_of_2024(k)] for k in MEDIA_KINDS if self.count(k)}
            return SignalIds(None, None, {kind: _interleaved(run, joiner) for kind, run in ids.items()}, joiner)
        missing = [name for kind in _PREFIXES for name in self.names(kind) if name not in vocabulary]
        if missing:
            raise CheckpointError(
                f"The tokenizer has no {missing[0]} ({len(missing)} signal tokens are missing). Use the tokenizer "
                "that was saved with this checkpoint, or import the checkpoint again."
            )
        groups = {k: tuple(vocabulary[name] for name in self.names(k)) for k in MEDIA_KINDS if self.count(k)}
        return SignalIds(vocabulary.get(IMAGE_OPEN), vocabulary.get(IMAGE_CLOSE), groups)


@dataclass(frozen=True)
class SignalIds:
    """Ids of the added tokens in one vocabulary.

    ``open`` and ``close`` stand around a media embedding (of any kind); None where the vocabulary has no such
    token (checkpoints from before November 2023 spell them as ordinary text). ``groups``: kind → its ids in order.
    ``joiner``: an ordinary piece that stands between any two of a group's tokens (the code of 2024), else None.
    """

    open: int | None
    close: int | None
    groups: Mapping[str, tuple[int, ...]]
    joiner: int | None = None

    def kind_started_by(self, token: int) -> str | None:
        """The kind whose group begins with this id, else None."""
        return next((kind for kind, ids in self.groups.items() if ids[0] == token), None)

    def kind_of(self, token: int) -> str | None:
        """The kind in whose group this id is, else None."""
        return next((kind for kind, ids in self.groups.items() if token in ids and token != self.joiner), None)

    @property
    def all(self) -> frozenset[int]:
        """Every added token; the joiner is none of them."""
        ids = {i for group in self.groups.values() for i in group} - {self.joiner}
        return frozenset(ids | {i for i in (self.open, self.close) if i is not None})


def _interleaved(ids: Sequence[int], joiner: int | None) -> tuple[int, ...]:
    if joiner is None:
        return tuple(ids)
    return tuple(one for i in ids for one in (i, joiner))[:-1]


class PlainTokenizer:
    """Text ↔ ids over the base vocabulary only: nothing in a string can become an added or control token.

    ``encode`` puts a word boundary in front, as sentencepiece's dummy prefix does; ``extend`` does not.
    ``bos``, ``eos`` and ``pad`` are the wrapped tokenizer's ids (None where it has none).
    Raises CheckpointError for a tokenizer that is not backed by the ``tokenizers`` library.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        if not hasattr(tokenizer, "backend_tokenizer"):
            raise CheckpointError(
                f"{type(tokenizer).__name__} is not backed by the tokenizers library; save it as tokenizer.json first."
            )
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        self._metaspace = _without_added_tokens(spec)
        self._backend = Tokenizer.from_str(json.dumps(spec))
        self.bos, self.eos, self.pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self.control_ids = frozenset(tokenizer.all_special_ids) | frozenset(tokenizer.added_tokens_decoder)
        self.size = len(tokenizer)
        self._mark_forms = {self._ids(" " + ROLE_MARK), self._ids(ROLE_MARK), self._ids("\n" + ROLE_MARK)}
        self._hashes = self._broken_hashes()

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text that starts anew (a word boundary before its first word). ``""`` gives no ids."""
        return self.extend(" " + text) if text else ()

    def extend(self, text: str) -> tuple[int, ...]:
        """Ids of a text that continues what stands before it, without a word boundary in front."""
        ids: list[int] = []
        for piece in re.split(f"({_BROKEN_HASH}+)", text):
            if piece.startswith(_BROKEN_HASH):
                ids += self._hashes * len(piece)
            else:
                ids += self._checked(piece)
        return tuple(ids)

    def quote(self, text: str) -> str:
        """User text made safe for ``encode``: ``###`` in it gets other ids than the role mark, same characters."""
        return re.sub(f"{ROLE_MARK}+", lambda run: _BROKEN_HASH * len(run.group()), text)

    def encode_quoted(self, text: str) -> tuple[int, ...]:
        """Ids of one whole user text: no control id, and in no form the role mark; every character is kept."""
        ids = self.encode(self.quote(text))
        if any(contains(ids, form) for form in self._mark_forms):  # a normalising vocabulary made '#' of other signs
            ids = self._one_by_one(" " + self.quote(text))
        return ids

    def misspelled(self, text: str) -> tuple[int, ...]:
        """Other ids than ``extend`` gives for the same characters: bytes where the vocabulary has them, else letters.

        For words of the layout that a user has typed. (A vocabulary of single letters leaves no choice.)
        """
        pieces = [self.id_of(f"<0x{byte:02X}>") for byte in text.encode()]
        return tuple(self._one_by_one(text) if None in pieces else pieces)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; an unfinished UTF-8 character shows as U+FFFD. One leading space is dropped."""
        text = self._backend.decode(list(ids), skip_special_tokens=False)
        return text.removeprefix(" ") if not self._metaspace else text

    def id_of(self, piece: str) -> int | None:
        """The id of one vocabulary piece, or None."""
        return self._backend.token_to_id(piece)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    def _checked(self, text: str) -> tuple[int, ...]:
        ids = self._ids(text) if text else ()
        # Merges can in principle spell a control token out of its letters; then fall back to single characters.
        return self._one_by_one(text) if self.control_ids.intersection(ids) else ids

    def _one_by_one(self, text: str) -> tuple[int, ...]:
        ids: list[int] = []
        for character in text:
            ids += self._hashes if character in (_BROKEN_HASH, "#") else self._ids(character)
        return tuple(i for i in ids if i not in self.control_ids)

    def _broken_hashes(self) -> tuple[int, ...]:
        byte = self.id_of("<0x23>")
        if byte is not None:
            return (byte,)
        single = self._ids("#")
        return single if single * len(ROLE_MARK) not in self._mark_forms else self._ids("# ")


def contains(ids: Sequence[int], part: Sequence[int]) -> bool:
    """Whether ``part`` occurs in ``ids`` as an unbroken run."""
    width = len(part)
    return any(tuple(ids[i : i + width]) == tuple(part) for i in range(len(ids) - width + 1))


def build_tokenizer(
    model_file: str | Path, signals: SignalTokens = SignalTokens(), names: Sequence[str] | None = None
) -> Any:
    """A transformers ``LlamaTokenizer`` from a sentencepiece BPE model, with the signal tokens as special tokens.

    The base ids stay; the added ones follow in the order of ``names`` (None: ``SignalTokens.all_names``). Padding is
    ``</s>``.
    """
    from transformers import AddedToken, LlamaTokenizer

    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(model_file, Path(folder, "tokenizer.model"))
        tokenizer = LlamaTokenizer.from_pretrained(folder)
    added = [AddedToken(name, normalized=False, special=True) for name in names or signals.all_names()]
    tokenizer.add_special_tokens({"extra_special_tokens": added})
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _without_added_tokens(spec: dict[str, Any]) -> bool:
    """Strip a tokenizer.json in place of added tokens, templates and the dummy prefix; True if its spaces are ▁."""
    spec["added_tokens"], spec["post_processor"], spec["truncation"], spec["padding"] = [], None, None, None
    metaspace = False
    for step in _steps(spec.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace":
            step["prepend_scheme"], metaspace = "never", True
        elif step["type"] == "ByteLevel":
            step["add_prefix_space"] = False
    normalizer = spec.get("normalizer")
    if any(step["type"] == "Prepend" for step in _steps(normalizer, "normalizers")):  # older LLaMA files
        kept = [step for step in _steps(normalizer, "normalizers") if step["type"] != "Prepend"]
        spec["normalizer"], metaspace = {"type": "Sequence", "normalizers": kept}, True
    return metaspace


def _steps(part: dict[str, Any] | None, name: str) -> Iterator[dict[str, Any]]:
    if part is not None:
        yield from part.get(name, [part])
