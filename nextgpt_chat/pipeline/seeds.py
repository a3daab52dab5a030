"""One seed for a reply, and from it one for the words and one for each medium."""

from __future__ import annotations

import hashlib
import secrets


def random_seed() -> int:
    """A fresh seed, small enough for every page and spreadsheet to keep."""
    return secrets.randbelow(2**31)


def derive_seed(seed: int, kind: str, index: int) -> int:
    """The seed of the ``index``-th thing of ``kind`` in a reply, in [0, 2^63).

    A medium's noise thus depends neither on the words sampled nor on media of other kinds before it.
    """
    digest = hashlib.sha256(f"{seed}|{kind}|{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
