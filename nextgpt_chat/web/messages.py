"""Turns and events as the Chatbot's messages. Knows no pipeline; everything typed or generated is escaped."""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import PIL.Image

from ..content import (
    Audio,
    Event,
    Failed,
    Finished,
    Image,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Part,
    TextDelta,
    TextPart,
    Turn,
)
from ..serving import OpenTalk, Waiting
from .acts import Rating, edit_act, is_variant, medium_acts, one_line, rating_acts, variant_of
from .languages import ENGLISH
from .markup import formatted, plain
from .texts import Texts
from .told import told

Message = dict[str, Any]
Address = Callable[[MediaPart], str]
"""Where a browser finds a medium, relative to the page. Raises MediaError."""
PREVIEW_SIDE = 160


def text_block(text: str) -> Message:
    return {"type": "text", "text": text}


def note(text: str, kind: str = "note") -> Message:
    """A sentence of ours in a message."""
    said = html.escape(text).replace("[", "&#91;")  # it may quote a name: no picture, no link
    return text_block(f'<span class="{kind}">{said}</span>')


def address_of(talk: OpenTalk) -> Address:
    """By content where the talk's owner is asked for it, else under a name that nobody can guess."""

    def address(part: MediaPart) -> str:
        if talk.stores(part):
            return f"media/{part.media.sha256}"
        path = talk.files.path_of(part)
        return f"media/{path.parent.name}/{path.name}"

    return address


def media_block(part: MediaPart, address: Address, say: Texts = ENGLISH) -> Message:
    """The medium with a description, and below a generated one a line that says so.

    As HTML in the message's text: Gradio's own file messages know neither descriptions nor who may see a file.
    """
    at, about = html.escape(address(part)), one_line(part.caption or part.name or say.nouns[part.kind])
    if isinstance(part.media, Audio):
        player = f'<audio controls preload="metadata" src="{at}" title="{about}"></audio>'
    elif isinstance(part.media, Image):
        height, width = part.media.pixels.shape[:2]
        player = (
            f'<a href="{at}" title="{html.escape(say.whole_picture)}">'
            f'<img src="{at}" alt="{about}" width="{width}" height="{height}" loading="lazy"></a>'
        )
    else:
        height, width = part.media.frames.shape[1:3]
        player = (
            f'<video controls loop playsinline preload="metadata" src="{at}" title="{about}" width="{width}" '
            f'height="{height}"></video>'
        )
    # One line without blank lines: Markdown must take it as one piece of HTML.
    named = f"medium {part.kind} variant" if is_variant(part) else f"medium {part.kind}"
    return text_block(f'<figure class="{named}">{player}{_made(part, at, say)}</figure>')


def _made(part: MediaPart, at: str, say: Texts) -> str:
    if not part.generated:
        return ""
    facts = [say.generated[part.kind], variant_of(part, say), part.caption]
    if "seed" in part.details:
        facts.append(say.seed_is.format(seed=part.details["seed"]))
    said = " · ".join(filter(None, facts))
    about = one_line(say.save_medium[part.kind])
    save = f'<a class="save" href="{at}?download" title="{about}">{html.escape(say.save)}</a>'
    acts = f'<span class="acts">{save}{medium_acts(part, say)}</span>'
    return f'<figcaption class="made">{one_line(said)} {acts}</figcaption>'


def part_blocks(part: Part, address: Address, role: str, say: Texts = ENGLISH) -> list[Message]:
    if isinstance(part, TextPart):
        return [text_block(plain(part.text) if role == "user" else formatted(part.text))]
    return [media_block(part, address, say)]


def turn_message(
    turn: Turn,
    address: Address,
    notices: Sequence[str] = (),
    index: int | None = None,
    rating: Rating | None = None,
    say: Texts = ENGLISH,
) -> Message:
    """One Chatbot message for one turn; ``notices`` are sentences that were shown with it, as they are stored. With
    its ``index`` in the talk it can be edited or rated."""
    content = [block for part in turn.parts for block in part_blocks(part, address, turn.role, say)]
    content += [note(told(notice, say)) for notice in notices]
    if turn.cancelled:
        content.append(note(say.stopped))
    content = content or [note(say.no_reply)]
    if index is not None:
        acts = edit_act(index, turn, say) if turn.role == "user" else rating_acts(index, turn, rating, say)
        content.append(text_block(acts))
    return {"role": turn.role, "content": content}


def talk_messages(
    turns: Sequence[Turn],
    shown: list[tuple[Turn, Message]],
    address: Address,
    notices: Mapping[int, Sequence[str]] | None = None,
    ratings: Mapping[int, Rating] | None = None,
    say: Texts = ENGLISH,
) -> list[Message]:
    """All messages of a talk. ``shown`` holds those rendered before, and is brought up to date; ``notices`` and
    ``ratings`` by the index of their turn."""
    for index, turn in enumerate(turns):
        if index < len(shown) and shown[index][0] is turn:
            continue
        del shown[index:]
        said = (notices or {}).get(index, ())
        shown.append((turn, turn_message(turn, address, said, index, (ratings or {}).get(index), say)))
    del shown[len(turns) :]
    return [message for _, message in shown]


class LiveReply:
    """The assistant's message while it is made: feed it events, then read :meth:`message`."""

    def __init__(self, address: Address, say: Texts = ENGLISH) -> None:
        self._address, self._say = address, say
        self._blocks: list[tuple[str, list[Message]]] = []  # (key, blocks), in the order of the reply
        self._words = ""
        self._stage = say.reading
        self._making: dict[str, tuple[str, str, float]] = {}  # id: kind, caption, start
        self.finished: Finished | None = None

    def add(self, event: Event | Waiting | None) -> None:
        """Takes one event; None only lets time pass."""
        if isinstance(event, Waiting):
            self._wait(event)
        elif isinstance(event, TextDelta):
            self._words += event.text
            self._put("words", [text_block(formatted(self._words))])
        elif isinstance(event, MediaStarted):
            self._end_words()
            self._making[event.id] = (event.kind, event.caption, time.monotonic())
            self._put(event.id, [self._progress(event.id, 0, 0, None)])
        elif isinstance(event, MediaProgress):
            if event.id in self._making:
                self._put(event.id, [self._progress(event.id, event.step, event.steps, event.preview)])
        elif isinstance(event, MediaReady):
            self._end_words()
            self._making.pop(event.id, None)
            self._put(event.id, [media_block(event.part, self._address, self._say)])
        elif isinstance(event, Failed):
            self._making.pop(event.id, None)
            self._put(event.id, [note(told(event.message, self._say), "failed")])
        elif isinstance(event, Notice):
            self._end_words()
            self._put(f"notice {len(self._blocks)}", [note(told(event.message, self._say))])
        elif isinstance(event, Finished):
            self.finished = event
        if event is not None and not isinstance(event, Waiting):
            self._stage = ""

    def message(self) -> Message:
        """The message as it stands: what is made so far, and what is being done."""
        content = [block for _, blocks in self._blocks for block in blocks]
        if self._stage or not content:
            content.append(note(self._stage or self._say.reading, "stage"))
        return {"role": "assistant", "content": content}

    def last_message(self) -> Message:
        """The message when no more comes: half-made media are gone, a stop is said, notices stay."""
        kept = [blocks for key, blocks in self._blocks if key not in self._making]
        content = [block for blocks in kept for block in blocks]
        if self.finished is None or self.finished.reply.cancelled:
            content.append(note(self._say.stopped))
        return {"role": "assistant", "content": content or [note(self._say.no_reply)]}

    def _put(self, key: str, blocks: list[Message]) -> None:
        for index, (known, _) in enumerate(self._blocks):
            if known == key:
                self._blocks[index] = (key, blocks)
                return
        self._blocks.append((key, blocks))

    def _end_words(self) -> None:
        """Later words begin a new block, below what comes now."""
        self._blocks = [
            (f"words {i}" if key == "words" else key, blocks) for i, (key, blocks) in enumerate(self._blocks)
        ]
        self._words = ""

    def _wait(self, waiting: Waiting) -> None:
        if waiting.loading:
            self._stage = self._say.waiting_model
            return
        if not waiting.ahead:
            self._stage = self._say.reading
            return
        ahead = self._say.waiting_next if waiting.ahead == 1 else self._say.waiting_many
        about = "" if waiting.seconds is None else f" {self._say.waiting_about}"
        self._stage = f"{ahead}{about}".format(ahead=waiting.ahead, seconds=max(1, round(waiting.seconds or 0)))

    def _progress(self, key: str, step: int, steps: int, preview: PIL.Image.Image | None) -> Message:
        kind, caption, start = self._making[key]
        say = self._say
        where = say.step.format(step=step, steps=steps) if steps else say.starting
        picture = (
            f'<img class="preview" alt="{one_line(say.preview)}" src="{_data_url(preview)}">'
            if preview is not None
            else ""
        )
        bar = f'<progress max="{max(1, steps)}" value="{step}"></progress>'
        words = f"{say.making[kind]} · {where} · {time.monotonic() - start:.0f} s"
        about = f'<span class="about">{html.escape(caption)}</span>' if caption else ""
        inner = f'<span class="words">{html.escape(words)}</span>{about}{bar}'
        # One line without blank lines: Markdown must take it as one piece of HTML.
        block = f'<div class="making {kind}">{picture}<div class="what">{inner}</div></div>'
        return text_block(block.replace("\n", " "))


def _data_url(picture: PIL.Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
