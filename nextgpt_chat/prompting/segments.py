"""What a prompt is made of: ids, media and runs of signal tokens, in the order of their positions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from ..content import Media, MediaPart


@dataclass(frozen=True)
class TextSegment:
    """Token ids; ``target`` says that the model is trained to produce them."""

    ids: tuple[int, ...]
    target: bool = False


@dataclass(frozen=True)
class MediaSegment:
    """One position that holds the projected ImageBind embedding of ``media``; with ``added``, the sum of theirs.

    Only the v0 templates add, and only when asked to: see ``make_template``. ``positions``: how many the input
    projection makes of a medium.
    """

    media: Media
    added: tuple[Media, ...] = ()
    positions: int = 1

    @property
    def every(self) -> tuple[Media, ...]:
        """All media of this position, in their order."""
        return (self.media, *self.added)

    @property
    def key(self) -> Hashable:
        """The content hash of the medium, or those of all that are added."""
        return tuple(media.sha256 for media in self.every) if self.added else self.media.sha256

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """One key a position: ``key``, from the second on with its number."""
        return (self.key, *((self.key, number) for number in range(1, self.positions)))


@dataclass(frozen=True)
class SignalSegment:
    """A whole run of signal tokens; ``part`` is the medium it stands for (its caption is the alignment target).

    ``forced``: nobody asked for it in words and the pipeline will force it, so its tokens are not to be predicted.
    """

    kind: str
    ids: tuple[int, ...]
    part: MediaPart
    target: bool = False
    forced: bool = False


Segment = TextSegment | MediaSegment | SignalSegment


@dataclass(frozen=True)
class Prompt:
    """What goes into the language model. ``left_out`` oldest turns did not fit."""

    segments: tuple[Segment, ...]
    left_out: int = 0

    @property
    def positions(self) -> int:
        """Length of the sequence of embeddings."""
        return len(self.keys)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """One key a position: the id, or the content hash of a medium. Equal keys mean equal embeddings."""
        return position_keys(self.segments)

    @property
    def media(self) -> tuple[Media, ...]:
        """Every medium that is embedded, in the order of the positions."""
        return tuple(media for one in self.segments if isinstance(one, MediaSegment) for media in one.every)


def position_keys(segments: Iterable[Segment]) -> tuple[Hashable, ...]:
    """One key a position: the id, or the content hash of a medium."""
    keys: list[Hashable] = []
    for segment in segments:
        keys += segment.keys if isinstance(segment, MediaSegment) else segment.ids
    return tuple(keys)


def cut(segments: Iterable[Segment], limit: int) -> tuple[Segment, ...]:
    """At most the first ``limit`` positions: a medium is never cut in two; what is left of a signal run is ordinary ids
    (it stands for no medium)."""
    kept: list[Segment] = []
    for segment in segments:
        room = limit - len(position_keys(kept))
        if room <= 0 or (isinstance(segment, MediaSegment) and segment.positions > room):
            break
        if not isinstance(segment, MediaSegment) and len(segment.ids) > room:
            forced = isinstance(segment, SignalSegment) and segment.forced
            segment = TextSegment(segment.ids[:room], segment.target and not forced)
        kept.append(segment)
    return joined(kept)


def joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Neighbouring text segments of the same kind become one; empty ones vanish."""
    kept: list[Segment] = []
    for segment in segments:
        previous = kept[-1] if kept else None
        if isinstance(segment, TextSegment) and not segment.ids:
            continue
        if isinstance(segment, TextSegment) and isinstance(previous, TextSegment) and segment.target == previous.target:
            kept[-1] = replace(previous, ids=previous.ids + segment.ids)
        else:
            kept.append(segment)
    return tuple(kept)


def merged(items: Iterable) -> list:
    """Neighbouring strings become one; everything else stays."""
    runs: list = []
    for item in items:
        if isinstance(item, str) and runs and isinstance(runs[-1], str):
            runs[-1] += item
        elif item != "":
            runs.append(item)
    return runs
