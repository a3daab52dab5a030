"""Parts whose weights wait in main memory and are on the GPU only while they work.

To their callers they are what they stand for: same methods, same results.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..decoders.base import Decoder
from ..errors import CheckpointError

Move = Callable[[Tensor, torch.device], Tensor]


class Visit:
    """Some modules' weights, at home in main memory; ``with visit:`` they are on ``device``.

    Weights are frozen, so the way back costs nothing: the copies on the device are dropped. Visits may nest; another
    thread waits for the end of the first one's. ``move`` copies one tensor to a device.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device, move: Move | None = None) -> None:
        self.device = device
        self._move = move or _copied
        tensors = [one for module in modules for one in (*module.parameters(), *module.buffers())]
        self._tensors = list({id(one): one for one in tensors}.values())
        for tensor in self._tensors:
            tensor.requires_grad_(False)
        if device.type == "cuda":
            for tensor in self._tensors:
                tensor.data = _pinned(tensor.data)
        self._homes = [tensor.data for tensor in self._tensors]
        self._lock, self._depth = threading.RLock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            if self._depth == 0:
                for tensor, home in zip(self._tensors, self._homes, strict=True):
                    tensor.data = self._move(home, self.device)
            self._depth += 1
        except BaseException:
            self._go_home()
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._go_home()
        self._lock.release()

    def _go_home(self) -> None:
        for tensor, home in zip(self._tensors, self._homes, strict=True):
            tensor.data = home
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # parts have tensors of other sizes; kept blocks would not fit the next one


class _Offloaded:
    """Everything that is not a turn of its own is asked of the part itself."""

    def __init__(self, part: Any, device: torch.device) -> None:
        self.part, self.device = part, device

    def __getattr__(self, name: str) -> Any:
        if name == "part":  # while it is being built or copied
            raise AttributeError(name)
        return getattr(self.part, name)


class OffloadedEncoder(_Offloaded):
    """An ImageBind in main memory."""

    def __init__(self, part: Any, device: torch.device, move: Move | None = None) -> None:
        super().__init__(part.eval(), device)
        self._visit = Visit([part], device, move)

    def encode_media(self, *given: Any, **named: Any) -> Tensor:
        """As ``ImageBind.encode_media``."""
        with self._visit:
            return self.part.encode_media(*given, **named)

    def encode_with_patches(self, *given: Any, **named: Any) -> tuple[Tensor, list[Tensor]]:
        """As ``ImageBind.encode_with_patches``."""
        with self._visit:
            return self.part.encode_with_patches(*given, **named)

    def encode_halfway(self, *given: Any, **named: Any) -> list[Tensor]:
        """As ``ImageBind.encode_halfway``."""
        with self._visit:
            return self.part.encode_halfway(*given, **named)


class OffloadedDecoder(_Offloaded):
    """A decoder in main memory. Its text encoder has turns of its own: for a medium from signal tokens it is needed
    once, for the empty prompt."""

    def __init__(self, part: Decoder, device: torch.device, move: Move | None = None) -> None:
        super().__init__(part, device)
        self._text = Visit([part.text_encoder], device, move)
        self._rest = Visit([one for one in part.modules() if one is not part.text_encoder], device, move)
        self._empty: Tensor | None = None

    def decode(self, conditioning: Tensor, *given: Any, **named: Any) -> Any:
        """As the decoder's own; the conditioning may come from another device."""
        self.empty_conditioning()
        with self._rest:
            return self.part.decode(conditioning.to(self.device), *given, **named)

    def decode_latents(self, *given: Any, **named: Any) -> Any:
        """As the decoder's own."""
        with self._rest:
            return self.part.decode_latents(*given, **named)

    def preview(self, latents: Tensor) -> Any:
        """As the decoder's own; within ``decode`` nothing is moved for it."""
        with self._rest:
            return self.part.preview(latents)

    def encode_text(self, *given: Any, **named: Any) -> Tensor:
        """As the decoder's own."""
        with self._text:
            return self.part.encode_text(*given, **named)

    def empty_conditioning(self) -> Tensor:
        """As the decoder's own, computed once."""
        if self._empty is None:
            with self._text:
                self._empty = self.part.empty_conditioning()
        return self._empty


@contextlib.contextmanager
def out_of_memory_in_words(plan: str) -> Iterator[None]:
    """Turns a GPU's running out of memory while loading into a CheckpointError that names what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"The GPU's memory was not enough for the memory plan {plan} ({reason}). Choose a smaller one, or auto; "
            "`python -m nextgpt_chat doctor` lists those that fit."
        ) from error


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.to(device, non_blocking=True)


def _pinned(tensor: Tensor) -> Tensor:
    """In page-locked memory, from which a GPU reads several times as fast; as it is where there is not enough."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor
