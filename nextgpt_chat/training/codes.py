"""Attribute codes: what a tower of the small ImageBind is fitted to by itself, after the joint training, and what the
text encoder of the sounds' decoder is fitted to.

Every word of an attribute has a fixed direction, orthogonal to all others, and an embedding should be the sum of the
directions of what it shows, and nothing else. Captions and linear readers leave room for more: a tower then also tells
combinations (a ringing phone that is not low), and whoever reads the embedding having seen named values only leans on
those, so that it misreads held-out pairs (measured after the joint training: pitch 53 %, things in clips 77 %, where
training values are read 99 %). A sum of fixed directions is the same for pairs never seen (pitch 96 % after 350 steps).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..picturebook.sounds import PITCH_FACTORS
from ..picturebook.values import Clip, Scene, Sound
from . import worlddata

QUARTER_TURN = math.log2(PITCH_FACTORS["high"])
"""Octaves from the normal pitch that turn its direction by 90°. A pitch is a point on an arc, not on a line, so that
"normal" too is the farthest one in some direction and a linear reader finds it."""
WIDEST = 1.5
"""Quarter turns at which the arc ends, so that very low and very high do not meet behind."""


class AttributeCodes:
    """Orthonormal directions of all words, or of those of some attributes, for embeddings (B, E) of unit length.

    Raises ValueError when E is less than their number.
    """

    def __init__(self, width: int, seed: int = 7, names: Sequence[str] = tuple(worlddata.ATTRIBUTES)) -> None:
        words = [(name, word) for name in names if name != "pitch" for word in worlddata.ATTRIBUTES[name]]
        self.rows = {pair: row for row, pair in enumerate([*words, ("pitch", "sine"), ("pitch", "cosine")])}
        if width < len(self.rows):
            raise ValueError(f"{len(self.rows)} attribute codes do not fit into embeddings of {width} numbers.")
        random = torch.randn(width, len(self.rows), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.directions = torch.linalg.qr(random)[0].T.float().contiguous()

    def of(self, names: Iterable[str]) -> Tensor:
        """(n, E): the directions of all words of some attributes."""
        wanted = set(names)
        return self.directions[[row for (name, _), row in self.rows.items() if name in wanted]]

    def sums(self, shown: Sequence[Scene | Clip | Sound], octaves: Sequence[float | None] | None = None) -> Tensor:
        """(B, E), of unit length: the sums of values' directions. ``octaves``: above the normal pitch, for sounds; None
        for one whose pitch is left open."""
        weights = torch.zeros(len(shown), len(self.rows))
        for number, value in enumerate(shown):
            attributes = worlddata.attributes(value)
            if octaves is not None and octaves[number] is None:
                del attributes["pitch"]
            share = len(attributes) ** -0.5
            for name, word in attributes.items():
                if name != "pitch":
                    weights[number, self.rows[name, word]] = share
                    continue
                above = math.log2(PITCH_FACTORS[word]) if octaves is None else octaves[number]
                angle = max(-WIDEST, min(WIDEST, above / QUARTER_TURN)) * math.pi / 2
                weights[number, self.rows[name, "sine"]] = share * math.sin(angle)
                weights[number, self.rows[name, "cosine"]] = share * math.cos(angle)
        return weights @ self.directions

    def loss(self, encoded: Tensor, sums: Tensor, unnamed: int = 0) -> Tensor:
        """Mean squared distance of embeddings (B, E) from ``sums`` (B, E). Of the last ``unnamed`` rows, whose shade
        no word names, all is compared but what lies along the colours' directions."""
        off = encoded - sums.to(encoded.device)
        if unnamed:
            colours = self.of(["colour"]).to(encoded.device)
            last = off[-unnamed:]
            off = torch.cat([off[:-unnamed], last - (last @ colours.T) @ colours])
        return off.square().sum(1).mean()
