"""The sampling loop the three decoders share: get noise → schedule → denoise.

Pure functions over tensors and a diffusers scheduler. They know neither prompts nor autoencoders.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

Seed = int | Sequence[int]
Generators = torch.Generator | list[torch.Generator]
Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
OnStep = Callable[[int, int, torch.Tensor], None]
ShouldStop = Callable[[], bool]


class Cancelled(Exception):
    """Raised inside a decoder when ``should_stop()`` became true. The caller asked for it and catches it."""


def check_stop(should_stop: ShouldStop | None) -> None:
    """Raises Cancelled if the caller wants the work to end."""
    if should_stop is not None and should_stop():
        raise Cancelled


def get_generators(seed: Seed | None, generator: Generators | None, batch: int) -> Generators | None:
    """One generator for the whole batch (as diffusers draws it), or a list with one for each sample.

    Seeds make generators on the CPU, so that a seed gives the same noise whatever the device.
    """
    if seed is not None and generator is not None:
        raise ValueError("give a seed or a generator, not both")
    if seed is not None:
        many = isinstance(seed, Sequence)
        generator = [torch.Generator("cpu").manual_seed(one) for one in (seed if many else [seed])]
        generator = generator if many else generator[0]
    if isinstance(generator, list) and len(generator) != batch:
        raise ValueError(f"{len(generator)} seeds or generators were given for a batch of {batch}")
    return generator


def get_noise(shape: tuple[int, ...], generator: Generators) -> torch.Tensor:
    """Standard normal noise of ``shape`` (batch first) on the CPU.

    Always drawn in float32, so that a seed also gives the same picture whatever the precision.
    """
    if isinstance(generator, list):
        return torch.cat([get_noise((1, *shape[1:]), one) for one in generator])
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).cpu()


def make_scheduler(checkpoint_scheduler: Any, name: str = "dpm++") -> Any:
    """A fresh scheduler (schedulers hold the state of a run, so each run gets its own).

    ``"checkpoint"`` is the folder's own class; ``"dpm++"`` is second-order multistep DPM-Solver++ (Lu et al. 2022)
    over the folder's noise schedule, prediction type and time-step spacing.
    """
    if name == "checkpoint":
        return copy.deepcopy(checkpoint_scheduler)
    if name == "dpm++":
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler.from_config(
            checkpoint_scheduler.config, algorithm_type="dpmsolver++", solver_order=2
        )
    raise ValueError(f"scheduler is {name!r}; it must be 'dpm++' or 'checkpoint'")


def schedule(scheduler: Any, steps: int, device: torch.device) -> tuple[torch.Tensor, list[int]]:
    """The time steps of a run, and the indices after which one of the ``steps`` counts as done.

    The two differ for schedulers that evaluate the model more than once a step (PNDM's first, Heun's every one).
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    scheduler.set_timesteps(steps, device=device)
    count, order = len(scheduler.timesteps), getattr(scheduler, "order", 1)
    warm_up = count - steps * order
    done = [i for i in range(count) if i == count - 1 or (i >= warm_up and (i + 1) % order == 0)]
    return scheduler.timesteps, done


def guided(
    predict: Predict,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    conditioning: torch.Tensor,
    empty: torch.Tensor | None,
    guidance_scale: float,
) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): empty + scale · (conditioned - empty), in one batch of 2 B.

    Without ``empty`` the model runs once on the conditioning alone.
    """
    if empty is None:
        return predict(latents, timestep, conditioning)
    both = predict(torch.cat([latents, latents]), timestep, torch.cat([empty.expand_as(conditioning), conditioning]))
    without, having = both.chunk(2)
    return without + guidance_scale * (having - without)


@torch.no_grad()
def denoise(
    predict: Predict,
    scheduler: Any,
    noise: torch.Tensor,
    conditioning: torch.Tensor,
    *,
    empty: torch.Tensor | None,
    steps: int,
    guidance_scale: float,
    generator: Generators | None = None,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
) -> torch.Tensor:
    """From noise (B, C, H, W) or (B, C, frames, H, W) to latents of the same shape.

    ``on_step(step, steps, latents)`` is called after each step, 1-based, with the scheduler's estimate of the clean
    latents where it makes one, else with the noisy ones: what ``preview`` takes. ``should_stop`` is asked before
    every evaluation of the model; Cancelled is raised then.
    """
    timesteps, done = schedule(scheduler, steps, noise.device)
    latents = noise * scheduler.init_noise_sigma
    for i, timestep in enumerate(timesteps):
        check_stop(should_stop)
        prediction = guided(
            predict, scheduler.scale_model_input(latents, timestep), timestep, conditioning, empty, guidance_scale
        )
        latents, estimate = _step(scheduler, prediction, timestep, latents, generator)
        if on_step is not None and i in done:
            on_step(done.index(i) + 1, len(done), estimate)
    return latents


def _step(
    scheduler: Any, prediction: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor, generator: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """One scheduler step: the next latents, and the estimate of the clean ones.

    Clips are stepped as a batch of frames, as diffusers does: it matters where a scheduler draws noise of its own.
    """
    is_clip = latents.ndim == 5
    frames = latents.shape[2] if is_clip else 1
    fold = (lambda x: x.transpose(1, 2).flatten(0, 1)) if is_clip else (lambda x: x)
    unfold = (lambda x: x.unflatten(0, (-1, frames)).transpose(1, 2)) if is_clip else (lambda x: x)
    options = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        many = isinstance(generator, list)
        options["generator"] = [one for one in generator for _ in range(frames)] if many else generator
    output = scheduler.step(fold(prediction), timestep, fold(latents), **options)
    estimate = getattr(output, "pred_original_sample", None)
    if estimate is None and getattr(scheduler.config, "algorithm_type", None) == "dpmsolver++":
        estimate = scheduler.model_outputs[-1]
    following = unfold(output.prev_sample)
    return following, following if estimate is None else unfold(estimate)
