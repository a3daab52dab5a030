"""Where and in which precision a model is: "auto" and names to torch's values."""

from __future__ import annotations

import torch

from ..errors import CheckpointError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" is CUDA, else Apple's MPS, else the CPU. Raises CheckpointError for a device that is not there."""
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"The device {str(device)!r} cannot be used here ({reason}). Choose auto or cpu; "
            "`python -m nextgpt_chat doctor` lists the devices."
        ) from error
    return chosen


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """ "auto" is float32, and on CUDA bfloat16 where the device has it in hardware, else float16."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if has_bf16(device) else torch.float16
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be auto, {', '.join(_DTYPES)}, or a torch.dtype")
    return _DTYPES[dtype]


def has_bf16(device: torch.device) -> bool:
    """Whether a CUDA device computes in bfloat16 itself: the others emulate it, which is slower than float32, and their
    convolutions may not have it at all."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8
