"""The base vocabulary with the 38 added tokens at their ids, and the question what ``<Img>`` is in it.

Until November 2023 the original added ``<Img>`` and ``</Img>`` through a Python set, so that its tokenizer got two
tokens spelled ``{'<Img>'}`` and ``{'</Img>'}`` instead, and the marks themselves stayed ordinary text (REFERENCE b.4).
The ids of the signal tokens are the same in both cases.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..tokens import IMAGE_CLOSE, IMAGE_OPEN, SignalTokens, build_tokenizer
from .published import Published

IMG_TOKENS = ("auto", "real", "text")
ADDED_FILE = "added_tokens.json"
_SPELLED = {IMAGE_OPEN: "{'<Img>'}", IMAGE_CLOSE: "{'</Img>'}"}


@dataclass(frozen=True)
class ImgTokens:
    """``mode``: "real" or "text"; ``reason``: what decided. ``warning``: said when nothing did."""

    mode: str
    reason: str
    warning: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The added tokens in the order of their ids."""
        names = SignalTokens().all_names()
        return names if self.mode == "real" else tuple(_SPELLED.get(name, name) for name in names)


def decide_img_tokens(switch: str, beside: Path, first_id: int) -> ImgTokens:
    """From the switch ("auto", "real", "text"), else from ``added_tokens.json`` in the folder ``beside``.

    Raises CheckpointError where the added tokens listed there do not start at ``first_id``.
    """
    if switch not in IMG_TOKENS:
        raise ValueError(f"img_tokens is {switch!r}; it must be one of {', '.join(IMG_TOKENS)}")
    path = beside / ADDED_FILE
    added = _read_json(path)
    signals = {name: first_id + i for i, name in enumerate(SignalTokens().all_names())}
    if added is not None:
        for name, number in signals.items():
            if name not in (IMAGE_OPEN, IMAGE_CLOSE) and added.get(name) != number:
                raise CheckpointError(
                    f"{path} puts {name} at {added.get(name, 'no id')}; the weights beside it need it at {number}. "
                    "They do not belong together, or the base they were trained on had tokens of its own; move the "
                    "file away to go by the weights."
                )
    if switch != "auto":
        return ImgTokens(switch, "--img-tokens")
    if added is not None:
        return ImgTokens("real" if IMAGE_OPEN in added else "text", ADDED_FILE)
    return ImgTokens(
        "real",
        "no evidence",
        f"Nothing says whether {IMAGE_OPEN} was a token of its own when these weights were trained ({path} is not "
        "there); it is taken as one. The published file of October 2023 was probably trained with the mark as plain "
        "text: if replies to pictures make no sense, import again with --img-tokens text.",
    )


def make_tokenizer(folders: list[Path], names: tuple[str, ...], published: Published, drop_extra: bool) -> Any:
    """The tokenizer of the first of ``folders`` that has one, with the added tokens.

    Raises CheckpointError for another vocabulary than ``published`` starts from, or one with tokens of its own.
    """
    folder = next((one for one in folders if _vocabulary(one) is not None), None)
    if folder is None:
        listed = ", ".join(map(str, folders))
        raise CheckpointError(f"There is no tokenizer.model in {listed}. Download the language model's whole folder.")
    vocabulary = _vocabulary(folder)
    assert vocabulary is not None
    wanted = published.base_rows
    try:
        tokenizer = _from_pieces(vocabulary, names) if vocabulary.suffix == ".model" else _from_json(folder, names)
    except CheckpointError:
        raise
    except Exception as error:  # sentencepiece, protobuf and tokenizers each raise their own
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{vocabulary} is no vocabulary ({reason}). Download it again.") from error
    base = len(tokenizer) - len(names)
    if base != wanted:
        raise CheckpointError(
            f"The vocabulary in {folder} has {base} tokens, but {published.what} adds its {len(names)} to {wanted}. "
            "Use the tokenizer of LLaMA-7B or Vicuna-7B v0."
        )
    surplus = [name for name, number in _own_tokens(folder).items() if number >= wanted]
    if surplus and not drop_extra:
        raise CheckpointError(
            f"The tokenizer in {folder} has {len(surplus)} tokens of its own after its {wanted}, {surplus[0]!r} first; "
            f"the signal tokens must start at {wanted}. Use a base without them, or add --drop-extra-rows to leave "
            "them out."
        )
    found = tokenizer.get_vocab()
    for number, name in enumerate(names, wanted):
        if found.get(name) != number:
            raise CheckpointError(f"The tokenizer of {folder} gives {name} the id {found.get(name)}, not {number}.")
    return tokenizer


def _vocabulary(folder: Path) -> Path | None:
    return next((folder / n for n in ("tokenizer.model", "tokenizer.json") if (folder / n).is_file()), None)


def _from_pieces(vocabulary: Path, names: tuple[str, ...]) -> Any:
    return build_tokenizer(vocabulary, names=names)


def _from_json(folder: Path, names: tuple[str, ...]) -> Any:
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    added = [AddedToken(name, normalized=False, special=True) for name in names]
    tokenizer.add_special_tokens({"extra_special_tokens": added})
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _own_tokens(folder: Path) -> dict[str, int]:
    """Tokens that the folder's tokenizer files add to the vocabulary, with their ids."""
    found = {str(name): number for name, number in (_read_json(folder / ADDED_FILE) or {}).items()}
    settings = _read_json(folder / "tokenizer_config.json") or {}
    for number, facts in dict(settings.get("added_tokens_decoder") or {}).items():
        if str(number).isdigit() and isinstance(facts, dict):
            found[str(facts.get("content"))] = int(number)
    return {name: number for name, number in found.items() if isinstance(number, int)}


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}). Download it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object. Download it again.")
    return data
