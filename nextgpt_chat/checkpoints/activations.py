"""How much memory a forward pass takes besides its weights, found on the meta device: no weights, no GPU, no guess.

The pass is run on tensors without data, while the bytes of all tensors alive are counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


def peak_bytes(run: Callable[[], Any], dtype: torch.dtype = torch.bfloat16) -> int:
    """Most bytes alive at any moment of ``run``, which makes its tensors on the default device in the default dtype.

    What kernels take inside (cuDNN's work space) and what an allocator rounds up is not seen. Attention counts as
    fused kernels do it: without its (n, n) matrix.
    """
    counter, before = _Alive(), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.no_grad(), torch.device("meta"), _FusedAttention(), counter:
            run()
    finally:
        torch.set_default_dtype(before)
    return counter.peak


class _Alive(TorchDispatchMode):
    """Counts the storages that operations make, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(one.untyped_storage()) for one in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for one in _tensors(result):
            storage = one.untyped_storage()
            if id(storage) not in given and id(storage) not in self._known:
                self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone() -> None:
            self._known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


class _FusedAttention(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            return given["query"].new_empty((*given["query"].shape[:-1], given["value"].shape[-1]))
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
