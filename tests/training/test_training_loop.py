"""The loop that every stage shares: resuming, stopping, averaging, schedules."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.training.loop import Interrupted, Recipe, fit, step_rng, swapped

RECIPE = Recipe(steps=12, learning_rate=0.05, batch=4, warmup=2, average=0.8, precision="fp32")


def linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def loss_of(module: nn.Linear, seen: list | None = None, stop_at: int | None = None):
    def loss(step: int):
        if seen is not None:
            seen.append(step)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.from_numpy(step_rng(RECIPE.seed, step).standard_normal((4, 3))).float()
        noise = torch.randn(4, 1)
        return (module(x) - x.sum(1, keepdim=True) - 0.1 * noise).square().mean(), {"size": 4.0}

    return loss


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    whole, broken = linear(), linear()
    fit("whole", RECIPE, {"m": whole}, loss_of(whole), tmp_path / "whole")
    with pytest.raises(Interrupted, match="--resume") as stopped:
        fit("broken", RECIPE, {"m": broken}, loss_of(broken, stop_at=5), tmp_path / "broken")
    assert isinstance(stopped.value, NextGPTError)  # shown as one line, not as a fault of the program
    resumed, seen = linear(), []
    fit("broken", RECIPE, {"m": resumed}, loss_of(resumed, seen), tmp_path / "broken")
    assert seen == list(range(6, 12))
    assert torch.allclose(whole.weight, resumed.weight, atol=1e-6)
    assert torch.allclose(whole.bias, resumed.bias, atol=1e-6)


def test_without_resume_a_run_starts_anew(tmp_path):
    module, seen = linear(), []
    fit("run", RECIPE, {"m": module}, loss_of(module), tmp_path)
    fit("run", RECIPE, {"m": module}, loss_of(module, seen), tmp_path, resume=False)
    assert seen == list(range(12))


def test_a_finished_run_resumes_to_its_averaged_weights_without_a_step(tmp_path):
    module, again, seen = linear(), linear(), []
    fit("run", RECIPE, {"m": module}, loss_of(module), tmp_path)
    fit("run", RECIPE, {"m": again}, loss_of(again, seen), tmp_path)
    assert seen == []
    assert torch.equal(module.weight, again.weight)


def test_a_run_that_goes_on_from_another_starts_anew_when_that_was_trained_since(tmp_path):
    longer = replace(RECIPE, steps=16)

    def both(recipe, first_seen, then_seen):
        module = linear()
        fit("first", recipe, {"m": module}, loss_of(module, first_seen), tmp_path)
        fit("then", RECIPE, {"m": module}, loss_of(module, then_seen), tmp_path / "again", after=tmp_path)
        return module.weight.detach().clone()

    shorter_one, again = both(RECIPE, [], []), []
    assert torch.equal(both(RECIPE, again, again), shorter_one) and not again
    first, then = [], []
    longer_one = both(longer, first, then)
    assert first == list(range(12, 16)) and then == list(range(12))
    assert not torch.equal(longer_one, shorter_one)
    assert torch.equal(both(longer, again, again), longer_one) and not again


def test_a_state_of_before_such_stamps_is_gone_on_from(tmp_path):
    module, seen = linear(), []
    fit("first", RECIPE, {"m": module}, loss_of(module), tmp_path)
    fit("then", RECIPE, {"m": module}, loss_of(module), tmp_path / "again", after=tmp_path)
    state = torch.load(tmp_path / "again" / "state.pt", weights_only=True)
    del state["after"]
    torch.save(state, tmp_path / "again" / "state.pt")
    fit("then", RECIPE, {"m": module}, loss_of(module, seen), tmp_path / "again", after=tmp_path)
    assert seen == []


def test_a_run_stays_on_the_device_of_its_modules_whatever_else_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")  # stands for a GPU that accelerate would take
    module = linear()
    fit("run", RECIPE, {"m": module}, loss_of(module), tmp_path)
    assert module.weight.device.type == "cpu" and torch.isfinite(module.weight).all()


def test_frozen_parameters_do_not_move(tmp_path):
    module = linear()
    module.bias.requires_grad_(False)
    before, weight = module.bias.clone(), module.weight.clone()
    fit("run", RECIPE, {"m": module}, loss_of(module), tmp_path)
    assert torch.equal(module.bias, before)
    assert not torch.equal(module.weight, weight)


def test_the_metrics_file_holds_the_recipe_and_the_last_step(tmp_path):
    module = linear()
    result = fit("run", RECIPE, {"m": module}, loss_of(module), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["recipe"]["learning_rate"] == 0.05
    assert lines[-1]["step"] == 12 and lines[-1]["size"] == 4.0
    assert result["loss"] == lines[-1]["loss"] and result["minutes"] > 0


def test_an_interrupted_write_leaves_the_old_state(tmp_path, monkeypatch):
    from nextgpt_chat.training import loop

    loop.write_state(tmp_path / "state.pt", {"step": 1})

    def broken_save(state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(loop.torch, "save", broken_save)
    with pytest.raises(OSError, match="disk full"):
        loop.write_state(tmp_path / "state.pt", {"step": 2})
    monkeypatch.undo()
    assert torch.load(tmp_path / "state.pt", weights_only=True) == {"step": 1}


def test_the_learning_rate_warms_up_and_falls():
    recipe = Recipe(steps=100, learning_rate=1.0, batch=1, warmup=10, final=0.1)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == rates[9] and rates[9] > 0.95
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_swapped_weights_come_back():
    parameter = nn.Parameter(torch.tensor([1.0]))
    with swapped([parameter], [torch.tensor([5.0])]):
        assert parameter.item() == 5.0
    assert parameter.item() == 1.0
