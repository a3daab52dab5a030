"""`NextGPTPipeline`: a checkpoint that takes conversations and answers them. Knows no web page and no terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch

from ..checkpoints import Manifest, UnknownMedia, find_checkpoint, load_known_world, load_model, save_model
from ..checkpoints.manifest import NOUNS
from ..checkpoints.planning import MemoryPlan, resolve_plan
from ..config import GenerationSettings
from ..content import MODALITIES, Event, Finished, MediaPart, Reply, Turn
from ..conversation import Conversation, find_generated
from ..errors import BusyError, CheckpointError, LimitError
from ..known_world import KnownWorld
from ..model import NextGPTModel
from ..prompting import make_template
from .making import Making, Parts, Request, check_sizes
from .remaking import Remaking
from .rendering import Renderer
from .seeds import random_seed

DEFAULT_CHECKPOINT = "nextgpt-mini"
_LOCK_TICK = 0.05  # seconds between two looks at ``cancel`` while another reply is being made


class NextGPTPipeline:
    """All components of one checkpoint, loaded once. One reply at a time: others wait their turn.

    ``model``: the NextGPTModel with its decoders; ``manifest``: the checkpoint's facts; ``renderer``: what runs the
    decoders, None = in a thread of its own.
    """

    def __init__(
        self,
        model: NextGPTModel,
        manifest: Manifest,
        *,
        known_world: KnownWorld | None = None,
        card: str | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        self.model, self.manifest, self.known_world, self.card = model, manifest, known_world, card
        lm = model.language_model
        self.context = min(lm.context, manifest.context or lm.context)
        unknown = manifest.unknown_media or UnknownMedia()
        template = make_template(
            manifest.template,
            lm.text,
            lm.signals,
            several_files=manifest.several_files,
            media_positions=model.input_projection.positions,
        )
        self._parts = Parts(model, template, renderer or Renderer(), self.context, known_world, unknown)
        self.memory_plan: MemoryPlan | None = None  # what it was loaded with; None = as the model is
        self._lock = threading.Lock()
        self._holder: int | None = None  # the thread that began the reply under way

    # --- loading and saving ------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
        local_files_only: bool = False,
        *,
        memory_plan: str = "auto",
    ) -> Self:
        """Opens a folder, a shipped name, or a hub repository.

        ``device``: "auto" (CUDA, MPS, CPU), or one by name. ``dtype``: "auto" (float32; on CUDA bfloat16 or float16),
        "float32", "float16", "bfloat16" or a torch.dtype. ``memory_plan``: "auto" (on CUDA the best that fits the free
        memory, elsewhere everything in main memory) or a name in ``checkpoints.planning.PLANS``. Raises
        CheckpointError, also where no plan fits or this device cannot have the one named.
        """
        folder = find_checkpoint(checkpoint, revision, local_files_only)
        placement = resolve_plan(memory_plan, folder, device, dtype)
        model, manifest = load_model(
            folder, placement.device, placement.dtype, local_files_only=local_files_only, plan=placement.plan
        )
        if placement.kept_positions is not None:
            prefixes = model.language_model.prefixes
            prefixes.max_positions = min(prefixes.max_positions, placement.kept_positions)
        card = folder / "README.md"
        pipeline = cls(
            model,
            manifest,
            known_world=load_known_world(folder, manifest),
            card=card.read_text(encoding="utf-8") if card.is_file() else None,
        )
        pipeline.memory_plan = placement.plan
        return pipeline

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = torch.float16) -> None:
        """Writes the checkpoint to a new or empty folder, or in place of another one. Raises CheckpointError, also for
        a model whose weights are quantized."""
        if self.memory_plan is not None and self.memory_plan.bits is not None:
            raise CheckpointError(
                f"With the memory plan {self.memory_plan.name} the language model's weights are rounded to "
                f"{self.memory_plan.bits} bits, so they are not saved. Load it with another plan, or copy the folder."
            )
        save_model(self.model, self.manifest, folder, dtype, known_world=self.known_world, card=self.card)

    # --- what it is --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def summary(self) -> str:
        """One sentence: which checkpoint this is and what it can do."""
        return self.manifest.sentence()

    @property
    def licence(self) -> str:
        """What the checkpoint says about the licence of its weights; may be empty."""
        return self.manifest.licence

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it can answer with, in the order text, image, audio, video."""
        return tuple(one for one in self.manifest.modalities if one == "text" or one in self.model.decoders)

    @property
    def defaults(self) -> dict[str, dict[str, Any]]:
        """The settings that hold where the user gives none, nested as in ``GenerationSettings``."""
        return self.manifest.settings_defaults()

    @property
    def device(self) -> torch.device:
        return self.model.language_model.device

    # --- replies -----------------------------------------------------------------------------------------------

    def reply(
        self,
        conv: Conversation,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        modalities: Collection[str] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Answers the user's last turn and appends the answer to ``conv``. Arguments and errors as in `stream`."""
        reply = None
        for event in self.stream(conv, settings, seed, modalities, cancel, previews=False):
            if isinstance(event, Finished):
                reply = event.reply
        assert reply is not None
        return reply

    def stream(
        self,
        conv: Conversation,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        modalities: Collection[str] | None = None,
        cancel: threading.Event | None = None,
        *,
        wait: bool = True,
        previews: bool = True,
    ) -> Iterator[Event]:
        """As `reply`, event by event; the last one is ``Finished``.

        Args:
            conv: ends with the user's turn; gets the assistant's when the reply is finished or cancelled.
            settings: None in it means the checkpoint's own default.
            seed: None = ``settings.seed``, or a random one; reported in the reply.
            modalities: None = the model decides, or a subset of text, image, audio and video: exactly those are
                produced (without "text", words are still written, as captions, but not shown).
            cancel: set it, or close the generator, to stop within one token or denoising step. What was made stays in
                the conversation as a turn marked cancelled.
            wait: False = raise BusyError if another reply is being made, instead of waiting.
            previews: False = none in ``MediaProgress``.

        Raises:
            LimitError: for a message longer than the context, a size or modality that this checkpoint cannot make.
            BusyError: see ``wait``; also if this very thread has begun another reply and neither read nor closed it.
            ValueError: for a conversation that does not end with the user's turn, or an unknown modality.
            Any error leaves the conversation with the user's turn and without a reply.
        """
        if not conv.turns or conv.turns[-1].role != "user":
            raise ValueError("there is nothing to answer: the conversation must end with a user's turn")
        request = self._request(conv.turns, settings, seed, modalities, previews)
        return self._run(conv, request, cancel.is_set if cancel is not None else lambda: False, wait)

    def remake(
        self,
        conv: Conversation,
        part_id: str,
        settings: GenerationSettings | None = None,
        seed: int | None = None,
        cancel: threading.Event | None = None,
        *,
        wait: bool = True,
        previews: bool = True,
    ) -> Iterator[Event]:
        """Makes one medium of an earlier reply once more, with other settings; the words stay as they are.

        ``part_id``: of a medium that the model made in ``conv``, which is not changed (`add_remade` puts the new one
        in). Other arguments and errors as in `stream`; the last event's reply holds the new medium alone. With the
        settings and the seed of the first one, it is the same medium again, but for rounding.
        """
        index, part = find_generated(conv.turns, part_id)
        request = self._request(conv.turns[: index + 1], settings, seed, (part.kind,), previews)
        return self._remake(request, part, cancel.is_set if cancel is not None else lambda: False, wait)

    def _remake(
        self, request: Request, part: MediaPart, should_stop: Callable[[], bool], wait: bool
    ) -> Iterator[Event]:
        making = Remaking(self._parts, request, part, should_stop)
        with self._held(wait, should_stop):
            yield from making.events()
        yield Finished(making.reply(making.cancelled))

    def _run(
        self, conv: Conversation, request: Request, should_stop: Callable[[], bool], wait: bool
    ) -> Iterator[Event]:
        making = Making(self._parts, request, should_stop)
        with self._held(wait, should_stop):
            try:
                yield from making.events()
            except GeneratorExit:
                conv.add_assistant(making.reply(cancelled=True).parts, cancelled=True)
                raise
            reply = making.reply(making.cancelled)
            conv.add_assistant(reply.parts, cancelled=reply.cancelled)
        yield Finished(reply)

    @contextmanager
    def _held(self, wait: bool, should_stop: Callable[[], bool]) -> Iterator[None]:
        """The lock, if it is got before the caller cancels."""
        held = self._acquire(wait, should_stop)
        try:
            yield
        finally:
            if held:
                self._holder = None
                self._lock.release()

    def _acquire(self, wait: bool, should_stop: Callable[[], bool]) -> bool:
        """Waits for the lock; False if the caller cancelled meanwhile."""
        if not self._lock.acquire(blocking=False):
            if self._holder == threading.get_ident():
                raise BusyError("This thread has begun another reply. Read it to its end, or close it, first.")
            if not wait:
                raise BusyError("The model is making another reply. Try again when it is done.")
            while not self._lock.acquire(timeout=_LOCK_TICK):
                if should_stop():
                    return False
        self._holder = threading.get_ident()
        return True

    def _request(
        self,
        turns: tuple[Turn, ...],
        settings: GenerationSettings | None,
        seed: int | None,
        modalities: Collection[str] | None,
        previews: bool,
    ) -> Request:
        settings = settings or GenerationSettings()
        if seed is not None:
            settings = settings.with_value("seed", int(seed))  # checks its range
        settings = settings.resolved(self.defaults)
        wanted = self._wanted(modalities)
        kinds = [kind for kind in self.manifest.kinds if wanted is None or kind in wanted]
        check_sizes(settings, self.model.decoders, kinds)
        chosen = random_seed() if settings.seed is None else settings.seed
        return Request(turns, settings, chosen, wanted, previews)

    def _wanted(self, modalities: Collection[str] | None) -> frozenset[str] | None:
        if modalities is None:
            return None
        wanted = frozenset([modalities] if isinstance(modalities, str) else modalities)
        if not wanted or wanted - set(MODALITIES):
            raise ValueError(f"modalities is {modalities!r}; name some of {', '.join(MODALITIES)}, or None")
        if missing := [one for one in MODALITIES if one in wanted and one not in self.modalities]:
            raise LimitError(
                f"{self.name} cannot make {' or '.join(NOUNS[one] for one in missing)}; "
                f"it makes {', '.join(NOUNS[one] for one in self.modalities)}."
            )
        return wanted
