"""One resumable training loop for every stage.

A stage says what to train and how a step's loss is computed; the loop owns device, precision (through
``accelerate``), learning-rate schedule, gradient clipping, averaging of weights, progress bar, metrics, state on disk.
A step's batch is a function of its number and the seed, so a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints.devices import has_bf16
from ..errors import NextGPTError
from .optimizer import make_optimizers


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    ``learning_rate`` rises linearly over ``warmup`` steps, then falls along a half cosine to ``final`` times its value.
    ``average`` is the decay of the exponential moving average of the weights (0: none). ``muon``: see ``optimizer``.
    ``adapter_decay`` is LoRA's own weight decay: what it learns by heart without need, it forgets again.
    ``reading_share``: of the learning rate, what LoRA, the input projection and the input rows of signal tokens get.
    """

    steps: int
    learning_rate: float
    batch: int
    seed: int = 13
    warmup: int = 100
    final: float = 0.02
    weight_decay: float = 1e-3
    clip: float = 1.0
    average: float = 0.0
    precision: str = "auto"
    muon: bool = False
    adapter_decay: float = 0.0
    reading_share: float = 1.0

    def rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, self.steps)))
        return self.learning_rate * rise * (self.final + (1 - self.final) * fall)


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of everything random in one step."""
    return np.random.default_rng((seed, step))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware. A CPU that must emulate them is slower by tens (measured on AVX2: 1.2
    against 51 GFLOP/s of one core)."""
    if device.type == "cuda":
        return has_bf16(device)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def make_accelerator(precision: str, device: torch.device) -> Accelerator:
    """``precision``: "auto" (bf16 where ``device`` has it in hardware, else fp32), "bf16" or "fp32"."""
    half = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    # Stages of one process differ in precision; accelerate keeps the first one's for ever unless it is told to forget.
    AcceleratorState._reset_state(reset_partial_state=True)
    # By itself, accelerate would take any GPU that is there, also for a run that was told to stay on the CPU.
    return Accelerator(mixed_precision="bf16" if half else "no", cpu=device.type == "cpu")


class Interrupted(NextGPTError):
    """Training was asked to stop; its state is on disk."""


def fit(
    name: str,
    recipe: Recipe,
    modules: Mapping[str, nn.Module],
    loss: Callable[[int], tuple[Tensor, dict[str, float]]],
    run: Path,
    *,
    parameters: Iterable[nn.Parameter] | None = None,
    resume: bool = True,
    after: Path | None = None,
    evaluate: Callable[[int], dict[str, float]] | None = None,
    evaluate_every: int = 0,
    save_seconds: float = 120,
) -> dict[str, float]:
    """Train ``modules`` in place, on the device that they are on, until ``recipe.steps``; afterwards they hold averaged
    weights, where averaging is on.

    Args:
        name: shown in the progress bar and written into the metrics.
        modules: everything whose state is saved; only parameters that require grad are trained.
        loss: step number → (scalar loss, numbers to log); runs under autocast.
        run: folder of this run: ``state.pt`` (replaced atomically) and ``metrics.jsonl``.
        parameters: the parameters to train, if not all that require grad.
        resume: continue from ``state.pt`` if there is one; otherwise the folder starts anew.
        after: folder of the run that this one goes on from. Where that was trained since, this one starts anew, too.
        evaluate: step number → numbers to log, called every ``evaluate_every`` steps with averaged weights.

    Returns:
        The last logged numbers and ``minutes``, the wall time of all parts of the run together.

    Raises:
        Interrupted: on SIGTERM, after saving.
    """
    device = next(p.device for module in modules.values() for p in module.parameters())
    accelerator = make_accelerator(recipe.precision, device)
    run.mkdir(parents=True, exist_ok=True)
    named = [(f"{key}.{name}", p) for key, m in modules.items() for name, p in m.named_parameters() if p.requires_grad]
    if parameters is not None:
        chosen = {id(p) for p in parameters}
        named = [(name, p) for name, p in named if id(p) in chosen]
    trained = [p for _, p in named]
    optimizers = make_optimizers(
        named, recipe.learning_rate, recipe.weight_decay, recipe.muon, recipe.adapter_decay, recipe.reading_share
    )
    average = [p.detach().clone() for p in trained] if recipe.average else []
    start, minutes, logged = 0, 0.0, {}
    state_file, metrics_file = run / "state.pt", run / "metrics.jsonl"
    if resume and goes_on(run, after):
        state = torch.load(state_file, map_location=device, weights_only=True)
        for key, module in modules.items():
            module.load_state_dict(state["modules"][key], strict=False)
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        average = [a.to(device) for a in state["average"]]
        start, minutes, logged = state["step"], state["minutes"], state["logged"]
    else:
        if resume and state_file.exists():
            print(f"{name} starts anew, because what it goes on from has been trained since")
        metrics_file.write_text(json.dumps({"name": name, "recipe": asdict(recipe)}) + "\n")
    stamp, asked_to_stop = _stamp(after), []
    previous = _on_terminate(lambda: asked_to_stop.append(True))
    began = last_save = time.monotonic()

    def save(step: int) -> None:
        write_state(
            state_file,
            {
                "modules": {key: _trained_state(module) for key, module in modules.items()},
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "average": average,
                "step": step,
                "minutes": minutes + (time.monotonic() - began) / 60,
                "logged": logged,
                "after": stamp,
            },
        )

    bar = tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, desc=name, mininterval=5, smoothing=0.05)
    running: dict[str, float] = {}
    try:
        for step in bar:
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = recipe.rate(step) * group.get("share", 1.0)
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            with accelerator.autocast():
                value, numbers = loss(step)
            accelerator.backward(value)
            norm = torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
            for optimizer in optimizers:
                if torch.isfinite(norm):
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if average:
                decay = min(recipe.average, (step + 1) / (step + 10))
                torch._foreach_lerp_(average, [p.detach() for p in trained], 1 - decay)
            for key, number in {"loss": float(value.detach()), **numbers}.items():
                running[key] = 0.98 * running[key] + 0.02 * number if key in running else number
            if (step + 1) % 50 == 0 or step + 1 == recipe.steps:
                logged = {**logged, **running, "rate": recipe.rate(step)}
                bar.set_postfix({key: f"{number:.4g}" for key, number in running.items()})
                _log(metrics_file, {"step": step + 1, **logged, "seconds": round(time.monotonic() - began, 1)})
            if evaluate and evaluate_every and (step + 1) % evaluate_every == 0:
                with swapped(trained, average), torch.no_grad():
                    logged = {**logged, **evaluate(step + 1)}
                _log(metrics_file, {"step": step + 1, **logged})
            if asked_to_stop or time.monotonic() - last_save > save_seconds:
                save(step + 1)
                last_save = time.monotonic()
            if asked_to_stop:
                raise Interrupted(f"{name} stopped after step {step + 1} of {recipe.steps}; run it again with --resume")
    finally:
        bar.close()
        signal.signal(signal.SIGTERM, previous)
    if start < recipe.steps or not state_file.exists():  # a finished state stays as it is, for what has its stamp
        save(recipe.steps)
    if average:
        for parameter, mean in zip(trained, average, strict=True):
            parameter.data.copy_(mean)
    return {**logged, "minutes": minutes + (time.monotonic() - began) / 60}


def goes_on(run: Path, after: Path | None = None) -> bool:
    """Whether ``run`` has a state to go on from, made on what the run in the folder ``after`` is now."""
    state_file = run / "state.pt"
    if not state_file.exists():
        return False
    made_on = torch.load(state_file, map_location="cpu", weights_only=True, mmap=True).get("after")
    return made_on is None or made_on == _stamp(after)


def _stamp(run: Path | None) -> str | None:
    """What tells one state of a run from another."""
    if run is None or not (run / "state.pt").exists():
        return None
    with (run / "state.pt").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class swapped:
    """Context in which ``parameters`` hold other values (the averaged ones); nothing happens for an empty list."""

    def __init__(self, parameters: list[nn.Parameter], values: list[Tensor]) -> None:
        self.pairs = list(zip(parameters, values, strict=True)) if values else []

    def _swap(self) -> None:
        for parameter, value in self.pairs:
            held = parameter.data.clone()
            parameter.data.copy_(value)
            value.copy_(held)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def write_state(path: Path, state: object) -> None:
    """Write with ``torch.save`` so that the file is either the old one or the new one, never half of it."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def _trained_state(module: nn.Module) -> dict[str, Tensor]:
    """What may have changed: parameters that require grad, and buffers."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _log(path: Path, numbers: dict[str, float]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(numbers) + "\n")


def _on_terminate(action: Callable[[], None]) -> object:
    return signal.signal(signal.SIGTERM, lambda *_: action())
