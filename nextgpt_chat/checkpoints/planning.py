"""How a checkpoint is laid out in memory: what its parts need, and which plan fits a device.

Parts are counted on the meta device (`blueprint`), so that it works before anything is downloaded. Estimates, not
measurements: weights are exact, the rest is explained at each number.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..content import MEDIA_KINDS
from ..decoders.skeleton import heaviest_passes
from ..errors import CheckpointError
from ..language_model.generation import BLOCK
from ..language_model.quantization import INSTALL, PACKAGES, is_installed, need, quantizable_linears, stored_bytes
from .activations import peak_bytes
from .blueprint import Skeleton, count
from .devices import choose_device, choose_dtype

logger = logging.getLogger(__name__)

GIB = 2**30
VERDICTS = "quantization.json"
"""In a checkpoint's folder: what the quantization gate has found."""
PRECISIONS = ("fp32", "bf16", "int8", "int4")
"""Of the language model's blocks. "bf16" is any 16 bits; int8 and int4 keep everything else in 16."""
RESERVE = 3 * GIB // 4
"""Bytes of a device that no plan uses: its driver's context and the libraries' kernels."""
CONTEXT = GIB // 2
"""The part of the reserve that is taken already when a GPU is asked how much is free."""
SLACK = 1.25
"""On top of the tensors alive in a pass: work space inside kernels, and what the allocator rounds up."""
MEDIA_BATCH = 16  # views at once, as in ImageBind.encode_media
BUDGETS = (8, 12, 16, 24, 40, 80)  # GiB of the usual cards


@dataclass(frozen=True)
class MemoryPlan:
    """``precision``: of the language model's blocks (`PRECISIONS`). ``offload``: ImageBind and the decoders wait in
    main memory and are on the device only for their turns. ``language_model_on_cpu``: the language model and the
    projections stay in main memory and work there."""

    name: str
    precision: str
    offload: bool = False
    language_model_on_cpu: bool = False

    @property
    def bits(self) -> int | None:
        """8 or 4 for a quantized plan, else None."""
        return {"int8": 8, "int4": 4}.get(self.precision)

    @property
    def summary(self) -> str:
        """In words."""
        where = "decoders and ImageBind in main memory until their turn" if self.offload else "everything on the device"
        if self.language_model_on_cpu:
            where = f"language model on the CPU (slow), {where}"
        what = {"fp32": "32 bits", "bf16": "16 bits"}.get(
            self.precision, f"language model in {self.bits} bits, the rest in 16"
        )
        return f"{what}, {where}"


PLANS = {
    plan.name: plan
    for precision in PRECISIONS
    for plan in (MemoryPlan(precision, precision), MemoryPlan(f"{precision}-offload", precision, True))
} | {"bf16-lm-cpu": MemoryPlan("bf16-lm-cpu", "bf16", True, True)}
_PREFERRED = ("bf16", "bf16-offload", "int8", "int8-offload", "int4", "int4-offload", "bf16-lm-cpu")
"""On a GPU, best first: moving weights costs a fraction of a second a medium, fewer bits cost quality and speed, and a
language model of 7 B on a CPU says a word in about as long as it takes to read its weights from memory."""
STAYING = ("language_model", "adapter", "projections")
"""What is not on the GPU with ``language_model_on_cpu``."""
_PREFERRED_32 = ("fp32", "fp32-offload")


@dataclass(frozen=True)
class PartMemory:
    """One part. ``weights``: its bytes by precision. ``work``: bytes that its passes take besides, in 16 bits, slack
    included. ``visiting``: for a part that may wait in main memory, parameters on the device at once during its turn
    (a decoder's without its text encoder, which has turns of its own); None = it always stays."""

    name: str
    parameters: int
    weights: dict[str, int]
    work: int = 0
    visiting: int | None = None

    @property
    def idle(self) -> bool:
        """Whether it may wait in main memory."""
        return self.visiting is not None


@dataclass(frozen=True)
class MemoryNeeds:
    """``cache``: bytes of the key/value cache of one talk at full length (``context`` positions), in 16 bits."""

    parts: tuple[PartMemory, ...]
    cache: int
    context: int

    def peak(self, plan: MemoryPlan) -> int:
        """Most bytes on the device: what stays there, one talk's cache, the costliest turn of a part, the reserve."""
        wide = 2 if plan.precision == "fp32" else 1
        here = [one for one in self.parts if not (plan.language_model_on_cpu and one.name in STAYING)]
        resident = sum(one.weights[plan.precision] for one in here if not (plan.offload and one.idle))
        cache = 0 if plan.language_model_on_cpu else self.cache * wide
        turns = [one.work * wide + (2 * wide * (one.visiting or 0) if plan.offload else 0) for one in here]
        return resident + cache + max(turns) + RESERVE

    def waiting(self, plan: MemoryPlan) -> int:
        """Bytes of main memory that parts take, waiting or working there."""
        staying = STAYING if plan.language_model_on_cpu else ()
        return sum(
            one.weights[plan.precision] for one in self.parts if (plan.offload and one.idle) or one.name in staying
        )

    def best(self, budget: int, plans: Iterable[str] = _PREFERRED) -> MemoryPlan | None:
        """The first of ``plans`` that fits ``budget`` bytes; None = none does."""
        return next((PLANS[name] for name in plans if self.peak(PLANS[name]) <= budget), None)

    def kept_positions(self, plan: MemoryPlan, budget: int) -> int:
        """Cache positions of earlier talks that may be remembered: half of what the plan leaves of ``budget``."""
        if plan.language_model_on_cpu:
            return self.context
        wide = 2 if plan.precision == "fp32" else 1
        free = max(0, budget - self.peak(plan)) // 2
        return free * self.context // max(1, self.cache * wide)

    def advice(self, budget: int) -> str:
        """Which plan fits ``budget`` bytes, in words."""
        plan = self.best(budget)
        if plan is not None:
            return f"{plan.name} ({plan.summary}): {self.peak(plan) / GIB:.1f} GiB at its peak"
        smallest = min(map(self.peak, PLANS.values()))
        return (
            f"does not fit: the smallest plan takes {smallest / GIB:.1f} GiB at its peak. "
            "Use a larger GPU, the CPU, or a smaller checkpoint"
        )


@dataclass(frozen=True)
class Placement:
    """``dtype``: precision of what ``plan`` does not quantize. ``kept_positions``: cache positions of earlier talks
    that may be remembered on the device, None = as many as the language model usually does."""

    plan: MemoryPlan
    device: torch.device
    dtype: torch.dtype
    kept_positions: int | None = None


def memory_needs(folder: str | Path) -> MemoryNeeds:
    """What the checkpoint in ``folder`` needs, weights there or not. Raises CheckpointError where a part's sizes are
    neither in a configuration nor in the manifest."""
    skeleton = Skeleton(folder)
    manifest = skeleton.manifest
    network = skeleton.language_model()
    linears = quantizable_linears(network)
    causal = network.get_base_model() if hasattr(network, "peft_config") else network
    lora = sum(one.numel() for name, one in network.named_parameters() if "lora_" in name)
    parameters, large = count(network) - lora, sum(one.weight.numel() for one in linears.values())
    weights = {"fp32": 4 * parameters, "bf16": 2 * parameters}
    for bits in PACKAGES:
        stored = sum(stored_bytes(one, bits) for one in linears.values())
        weights[f"int{bits}"] = 2 * (parameters - large) + stored
    context = min(causal.config.max_position_embeddings, manifest.context or causal.config.max_position_embeddings)
    parts = [PartMemory("language_model", parameters, weights, _language_model_work(causal.config, context))]
    if lora:
        parts.append(_sixteen("adapter", lora))
    imagebind = skeleton.imagebind()
    parts.append(_sixteen("imagebind", count(imagebind), _imagebind_work(imagebind), count(imagebind)))
    parts.append(_sixteen("projections", skeleton.projections()))
    defaults = manifest.settings_defaults()
    for kind in MEDIA_KINDS:
        if kind in manifest.kinds:
            decoder = skeleton.decoder(kind)
            work = max(map(peak_bytes, heaviest_passes(decoder, defaults[kind]).values()))
            text, total = count(decoder.text_encoder), sum(map(count, decoder.modules()))
            parts.append(_sixteen(f"{kind}_decoder", total, int(work * SLACK), max(text, total - text)))
    return MemoryNeeds(tuple(parts), _cache_bytes(causal.config, context), context)


def resolve_plan(
    name: str, folder: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> Placement:
    """What to load the checkpoint in ``folder`` with.

    ``name``: a plan, or "auto": on CUDA the best one that fits the free memory, elsewhere everything in main memory.
    Raises CheckpointError for an unknown plan, one that this device or ``dtype`` cannot have, or where none fits.
    """
    device = choose_device(device)
    if name != "auto" and name not in PLANS:
        raise CheckpointError(f"There is no memory plan {name!r}; choose auto, {', '.join(PLANS)}.")
    if name != "auto":
        plan = PLANS[name]
        return Placement(plan, device, _dtype_of(plan, device, dtype), _kept_positions(plan, folder, device))
    chosen = choose_dtype(dtype, device)
    resident = PLANS["fp32" if chosen == torch.float32 else "bf16"]
    if device.type != "cuda":
        return Placement(resident, device, chosen)
    free, _ = torch.cuda.mem_get_info(device)
    try:
        plan, kept = choose_plan(folder, free, _PREFERRED_32 if chosen == torch.float32 else _PREFERRED)
    except CheckpointError:
        raise
    except Exception:  # an architecture that cannot be counted without its weights may fit all the same
        logger.warning("The memory of %s could not be planned; all of it goes to the GPU.", folder, exc_info=True)
        return Placement(resident, device, chosen)
    logger.info("Memory plan %s: %s.", plan.name, plan.summary)
    if plan.bits is not None and plan.precision not in verdicts(folder):
        logger.warning(
            "Nobody has checked what %d bits do to this checkpoint. `python -m nextgpt_chat doctor --checkpoint %s "
            "--memory-plan %s --quantization-gate` does, and auto keeps to what it finds.",
            plan.bits,
            folder,
            plan.name,
        )
    return Placement(plan, device, chosen, kept)


def _kept_positions(plan: MemoryPlan, folder: str | Path, device: torch.device) -> int | None:
    """Cache positions of earlier talks that fit beside a plan that somebody chose; None as in ``Placement``."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    try:
        return memory_needs(folder).kept_positions(plan, free + CONTEXT)
    except Exception:  # an architecture that cannot be counted without its weights is tried all the same
        logger.warning("The memory of %s could not be planned.", folder, exc_info=True)
        return None


def choose_plan(folder: str | Path, free: int, preferred: Iterable[str] = _PREFERRED) -> tuple[MemoryPlan, int]:
    """The best plan for ``free`` bytes of a GPU whose package is installed, and the cache positions of earlier talks
    that fit too. Raises CheckpointError that says what would help."""
    needs, preferred, budget = memory_needs(folder), tuple(preferred), free + CONTEXT
    failed = {name for name, verdict in verdicts(folder).items() if not verdict["passed"]}
    preferred = tuple(one for one in preferred if PLANS[one].precision not in failed)
    there = [one for one in preferred if (bits := PLANS[one].bits) is None or is_installed(bits)]
    plan = needs.best(budget, [one for one in there if not PLANS[one].language_model_on_cpu])
    if plan is None:
        plan = needs.best(budget, preferred)
        if plan is not None and plan.bits is not None:  # rather installed than a language model on the CPU
            raise CheckpointError(
                f"{free / GIB:.1f} GiB of the GPU are free. The memory plan that fits, {plan.name}, needs "
                f"{PACKAGES[plan.bits]}. Run: {INSTALL}"
            )
    if plan is None:
        raise CheckpointError(
            f"{free / GIB:.1f} GiB of the GPU are free, and the checkpoint {needs.advice(budget)}. "
            "(--device cpu; --memory-plan NAME tries a plan all the same.)"
        )
    return plan, needs.kept_positions(plan, budget)


def verdicts(folder: str | Path) -> dict[str, dict[str, Any]]:
    """What the quantization gate has found of the checkpoint in ``folder``: precision → {"passed", "said"}."""
    try:
        found = json.loads(Path(folder, VERDICTS).read_text(encoding="utf-8"))
        return {name: one for name, one in found.items() if name in PRECISIONS and isinstance(one.get("passed"), bool)}
    except (OSError, ValueError, AttributeError):
        return {}


def keep_verdict(folder: str | Path, precision: str, passed: bool, said: str) -> None:
    """Writes down what the quantization gate has found, for `choose_plan`. A folder that cannot be written is left as
    it is."""
    found = {**verdicts(folder), precision: {"passed": passed, "said": said}}
    try:
        Path(folder, VERDICTS).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        logger.warning("The verdict on %s could not be kept in %s: %s", precision, folder, error)


def _dtype_of(plan: MemoryPlan, device: torch.device, dtype: str | torch.dtype) -> torch.dtype:
    """The precision of everything that ``plan`` does not quantize. Raises CheckpointError for a plan that cannot be."""
    if plan.offload and device.type != "cuda":
        raise CheckpointError(
            f"The memory plan {plan.name} moves parts between main memory and a GPU, and the device is {device.type}. "
            f"Choose {plan.precision if plan.bits != 4 else 'int8'}, or auto."
        )
    if plan.bits == 4 and device.type != "cuda":
        raise CheckpointError(
            f"The memory plan {plan.name} needs a CUDA device, not {device.type}. Choose int8, or auto."
        )
    if plan.bits is not None:
        need(plan.bits)
        return choose_dtype(dtype, device)
    wide = plan.precision == "fp32"
    if dtype == "auto":
        sixteen = choose_dtype("auto", device) if device.type == "cuda" else torch.bfloat16
        return torch.float32 if wide else sixteen
    chosen = choose_dtype(dtype, device)
    if (chosen == torch.float32) != wide:
        raise CheckpointError(f"The memory plan {plan.name} contradicts the precision {chosen}. Leave one of them out.")
    return chosen


def _sixteen(name: str, parameters: int, work: int = 0, visiting: int | None = None) -> PartMemory:
    """A part that no plan quantizes."""
    weights = {precision: parameters * (4 if precision == "fp32" else 2) for precision in PRECISIONS}
    return PartMemory(name, parameters, weights, work, visiting)


def _cache_bytes(config: Any, context: int) -> int:
    """Keys and values of every layer and position, 2 bytes each."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * 2 * config.num_hidden_layers * heads * size * context


def _language_model_work(config: Any, context: int) -> int:
    """Prompts are read in blocks: a layer's states and feed-forward of one block, 2 bytes each, its attention over
    the whole context, the logits of one position in float32, and one large matrix unpacked from fewer bits."""
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    block = 2 * BLOCK * (8 * width + 3 * inner + context * config.num_attention_heads)
    return int(SLACK * (block + 4 * config.vocab_size + 2 * width * inner))


def _imagebind_work(imagebind: Any) -> int:
    """A full batch of picture views (a clip is encoded as several of them) or of sound windows."""
    config = imagebind.config
    pixels = (MEDIA_BATCH, 3, config.image_size, config.image_size)
    imagebind = imagebind.bfloat16()
    return int(SLACK * peak_bytes(lambda: imagebind.encode_image(torch.empty(pixels))))
