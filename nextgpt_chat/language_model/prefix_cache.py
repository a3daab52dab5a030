"""Key/value caches of conversation prefixes, so that turn 20 starts as fast as turn 1.

Knows sequences of keys (one a position) and caches that can be cropped; nothing of text or media.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class _Entry:
    keys: tuple[Hashable, ...]
    cache: Any


class PrefixCache:
    """Bounded store of transformers caches by the exact keys of their positions; least recently used goes first.

    A taken cache belongs to its taker until it is put back, so two replies at once never share one. ``max_positions``
    bounds the sum over all entries.
    """

    def __init__(self, max_entries: int = 4, max_positions: int = 16_384) -> None:
        self.max_entries, self.max_positions = max_entries, max_positions
        self._entries: list[_Entry] = []  # oldest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def positions(self) -> int:
        """Positions held, all entries together."""
        return sum(len(entry.keys) for entry in self._entries)

    def take(self, keys: Sequence[Hashable]) -> tuple[Any | None, int]:
        """The cache with the longest prefix in common with ``keys``, cropped to it, and that length.

        At least the last position is left to compute, because its output is wanted. (None, 0) if nothing is shared.
        """
        with self._lock:
            lengths = [_common(entry.keys, keys) for entry in self._entries]
            best = max(range(len(lengths)), key=lengths.__getitem__, default=-1)
            length = min(lengths[best], len(keys) - 1) if best >= 0 else 0
            if length <= 0:
                return None, 0
            entry = self._entries[best]
            if 2 * length >= len(entry.keys):  # the same conversation going on: take it over
                self._entries.pop(best)
                cache = entry.cache
            else:  # another conversation that only begins alike: leave it whole
                cache = copy.deepcopy(entry.cache)
            crop(cache, length)
            return cache, length

    def put(self, keys: Sequence[Hashable], cache: Any) -> None:
        """Keep ``cache``, whose positions have these keys. Caches that cannot be cropped are not kept."""
        keys = tuple(keys)
        if not keys or len(keys) > self.max_positions or not can_crop(cache):
            return
        with self._lock:
            # An entry that the new one extends adds nothing.
            self._entries = [e for e in self._entries if _common(e.keys, keys) < len(e.keys)]
            self._entries.append(_Entry(keys, cache))
            while len(self._entries) > self.max_entries or self.positions > self.max_positions:
                self._entries.pop(0)

    def clear(self) -> None:
        """Forget everything (after the model's weights or adapter changed)."""
        with self._lock:
            self._entries.clear()


def crop(cache: Any, length: int) -> None:
    """Shorten a transformers cache to ``length`` positions, in place, and free the memory of the others."""
    surplus = cache.get_seq_length() - length
    if surplus > 0:
        cache.crop(-surplus)
        for layer in cache.layers:
            if layer.is_initialized:  # transformers leaves views, which hold the whole
                layer.keys, layer.values = layer.keys.clone(), layer.values.clone()


def can_crop(cache: Any) -> bool:
    """False for caches that forget (sliding windows, linear attention)."""
    layers = getattr(cache, "layers", ())
    return all(getattr(layer, "is_croppable", False) and not getattr(layer, "is_sliding", False) for layer in layers)


def _common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length
