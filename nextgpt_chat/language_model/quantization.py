"""Fewer bits for the large matrices of a language model; everything else keeps its precision.

8 bits: torchao, weights only, a scale a row; on every device. 4 bits: bitsandbytes, NF4 with double quantization
(Dettmers et al. 2023); on CUDA.
"""

from __future__ import annotations

import importlib.util
import math

import torch
from torch import nn

from ..errors import CheckpointError

PACKAGES = {8: "torchao", 4: "bitsandbytes"}
INSTALL = "pip install -r requirements-quantization.txt"
_BLOCK, _NESTED = 64, 256  # weights with one scale, and scales with one scale of their own (NF4)


def is_installed(bits: int) -> bool:
    """Whether the package that stores weights in ``bits`` is there."""
    return importlib.util.find_spec(PACKAGES[bits]) is not None


def need(bits: int) -> None:
    """Raises CheckpointError, naming the command to run, where the package for ``bits`` is missing."""
    if not is_installed(bits):
        raise CheckpointError(
            f"A language model in {bits} bits needs {PACKAGES[bits]}, which is not installed. Run: {INSTALL}"
        )


def quantizable_linears(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that may be stored in fewer bits, by name: those of the transformer's blocks.

    The output head and LoRA's matrices are left out (they are what training changed); embeddings and norms are no
    linear layers. ``network``: a causal LM of transformers or a peft model around one.
    """
    causal = network.get_base_model() if hasattr(network, "peft_config") else network
    head = causal.get_output_embeddings()
    of_head = set(head.modules()) if head is not None else set()
    return {
        name: module
        for name, module in network.named_modules()
        if type(module) is nn.Linear and module not in of_head and ".lora_" not in name
    }


def stored_bytes(linear: nn.Linear, bits: int) -> int:
    """Bytes of one layer's weight in 8 bits (a float32 scale a row) or 4 bits (an 8-bit scale for 64 weights, a
    float32 scale for 256 of those, and the tables of both codes)."""
    weights = math.prod(linear.weight.shape)
    if bits == 8:
        return weights + 4 * linear.weight.shape[0]
    scales = math.ceil(weights / _BLOCK)
    return math.ceil(weights / 2) + scales + 4 * math.ceil(scales / _NESTED) + 4 * (16 + 256)


def quantize(network: nn.Module, bits: int, device: str | torch.device) -> int:
    """Stores every layer of ``quantizable_linears`` in ``bits``, one after the other, in place and on ``device``;
    returns how many. What is left stays where it is.

    The result computes in the precision that the network had. It is for use only: it can be neither trained nor
    saved. Raises CheckpointError where the package is missing or cannot do it on ``device``, ValueError for other
    numbers of bits.
    """
    if bits not in PACKAGES:
        raise ValueError(f"bits is {bits!r}; it must be one of {', '.join(map(str, PACKAGES))}")
    need(bits)
    device = torch.device(device)
    if bits == 4 and device.type != "cuda":
        raise CheckpointError(
            f"A language model in 4 bits needs a CUDA device, not {device.type}. Choose the memory plan int8, or auto."
        )
    layers = quantizable_linears(network)
    for name, linear in layers.items():
        try:
            if bits == 8:
                _eight(linear, device)
            else:
                parent, _, own = name.rpartition(".")
                setattr(network.get_submodule(parent), own, _four(linear, device))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, NotImplementedError, AttributeError, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{PACKAGES[bits]} could not store {name} in {bits} bits on {device} ({reason}). Choose another memory "
                "plan; `python -m nextgpt_chat doctor` lists those that fit."
            ) from error
    return len(layers)


def _eight(linear: nn.Linear, device: torch.device) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    linear.to(device)
    quantize_(linear, Int8WeightOnlyConfig())
    linear.requires_grad_(False)


def _four(linear: nn.Linear, device: torch.device) -> nn.Module:
    from bitsandbytes.nn import Linear4bit, Params4bit

    made = Linear4bit(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    made.weight = Params4bit(
        linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=made
    )
    made.bias = linear.bias
    return made.to(device).eval().requires_grad_(False)
