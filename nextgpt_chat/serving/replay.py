"""A reply that was made beforehand, told as if it were made now."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

from ..content import Event, Finished, MediaPart, MediaReady, Notice, Reply, TextDelta, Turn
from ..conversation import Conversation


def replay(conversation: Conversation, reply: Turn, notice: str) -> Iterator[Event]:
    """The events of ``reply``, which joins ``conversation`` at the end; ``notice`` says that it was made beforehand.

    Its media get ids of their own, for one answer may be told in many talks.
    """
    parts = tuple(replace(part, id=uuid.uuid4().hex) if isinstance(part, MediaPart) else part for part in reply.parts)
    for part in parts:
        yield MediaReady(part.id, part) if isinstance(part, MediaPart) else TextDelta(part.text)
    yield Notice(notice)
    conversation.add_assistant(parts)
    seeds = [part.details["seed"] for part in parts if isinstance(part, MediaPart) and "seed" in part.details]
    yield Finished(Reply(parts, seed=seeds[0] if seeds else 0, notices=(notice,)))
