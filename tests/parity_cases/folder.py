"""Access to a folder of golden data: JSON descriptions, tensors, media, the small tokenizer."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import PIL.Image
import soundfile
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nextgpt_chat.content import Image
from nextgpt_chat.tokens import PlainTokenizer, SignalIds, SignalTokens, build_tokenizer

from .comparing import CaseError, Skip


class GoldenFolder:
    """Reads each file once. Missing media raise ``Skip``, anything else that is missing or damaged ``CaseError``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # Per folder, so that nothing outlives it.
        self.json = functools.cache(self._json)
        self.tensors = functools.cache(self._tensors)
        self.tokenizer = functools.cache(self._tokenizer)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def _json(self, name: str) -> dict[str, Any]:
        """A description, such as ``generation.json``."""
        try:
            facts = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CaseError(f"{name} could not be read as JSON: {error}") from error
        if not isinstance(facts, dict):
            raise CaseError(f"{name} must hold a JSON object")
        return facts

    def _tensors(self, name: str) -> dict[str, Tensor]:
        """A file of tensors, with or without ``.safetensors``."""
        name = name if name.endswith(".safetensors") else f"{name}.safetensors"
        try:
            return load_file(self.path / name)
        except (OSError, SafetensorError) as error:
            raise CaseError(f"{name} could not be read: {error}") from error

    def tensor(self, file: str, name: str) -> Tensor:
        tensors = self.tensors(file)
        if name not in tensors:
            raise CaseError(f"{file} has no tensor {name}")
        return tensors[name]

    # --- media -------------------------------------------------------------------------------------------------

    def media(self, name: str, sha256: str | None = None) -> Path:
        """A media file; ``sha256`` is what its content must have."""
        path = self.path / name
        if not path.exists():
            raise Skip(f"{name} is not in the folder")
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise CaseError(f"{name} is not the file that the numbers were made of (its SHA-256 differs)")
        return path

    def image(self, name: str, sha256: str | None = None) -> Image:
        return Image.from_pil(PIL.Image.open(self.media(name, sha256)))

    def waveform(self, name: str, sha256: str | None = None) -> tuple[Tensor, int]:
        """(channels, n) and the rate. Not ``read_media``, which averages channels; the original takes the first."""
        samples, rate = soundfile.read(self.media(name, sha256), dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), rate

    # --- tokenizer ---------------------------------------------------------------------------------------------

    @functools.cached_property
    def signal_tokens(self) -> SignalTokens:
        """How many tokens of each kind were added: as ``tokenizer.json`` says, or the published numbers."""
        if not self.has("tokenizer.json"):
            return SignalTokens()
        added = self.json("tokenizer.json").get("added", {})
        counts = {kind: sum(bool(re.fullmatch(rf"\[{short}\d+\]", name)) for name in added) for kind, short in _SHORT}
        return SignalTokens(**counts)

    def _tokenizer(self, name: str) -> Any:
        """The sentencepiece model of a description's ``tokenizer`` (its first word), with the signal tokens added."""
        path = self.path / name.split()[0]
        if not path.exists():
            raise CaseError(f"{name.split()[0]} is not in the folder")
        return build_tokenizer(path, self.signal_tokens)

    def plain(self, name: str) -> tuple[PlainTokenizer, SignalIds]:
        """What a template is made of."""
        tokenizer = self.tokenizer(name)
        return PlainTokenizer(tokenizer), self.signal_tokens.lookup(tokenizer)


_SHORT = (("image", "IMG"), ("audio", "AUD"), ("video", "VID"))
