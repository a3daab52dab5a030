"""Muon: orthogonal steps for hidden matrices, AdamW for the rest, and both go on where they stopped."""

import signal
from dataclasses import replace

import pytest
import torch
from test_training_loop import RECIPE, os
from tiny import tiny_language_model
from torch import nn

from nextgpt_chat.training.loop import Interrupted, fit
from nextgpt_chat.training.optimizer import Muon, is_hidden_matrix, make_optimizers, orthogonalised


@pytest.mark.parametrize("shape", [(3, 20, 50), (2, 50, 20), (1, 32, 32)])
def test_singular_values_are_brought_near_to_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape) * 1e-3
    before, after = torch.linalg.svdvals(matrices), torch.linalg.svdvals(orthogonalised(matrices))
    assert before.max() < 0.05 and after.max() < 1.3 and after.median() > 0.6


def test_a_step_moves_a_matrix_as_far_as_adamw_would_and_in_its_gradients_directions():
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.zeros(40, 30))
    gradient = torch.randn(40, 30) * 1e-5
    parameter.grad = gradient.clone()
    Muon([parameter], lr=0.01).step()
    moved = parameter.detach()
    assert 0.001 < moved.square().mean().sqrt() < 0.003  # AdamW's usual step is a fifth of the learning rate
    assert torch.nn.functional.cosine_similarity(moved.flatten(), -gradient.flatten(), dim=0) > 0.7


def test_convolutions_are_matrices_too():
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 20, 3)
    before = convolution.weight.detach().clone()
    convolution(torch.randn(2, 16, 8, 8)).square().mean().backward()
    Muon([convolution.weight], lr=0.01).step()
    assert convolution.weight.shape == before.shape and not torch.equal(convolution.weight, before)


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("unet.down.conv1.weight", (64, 64, 3, 3), True),
        ("imagebind.trunk.blocks.0.mlp.fc1.weight", (640, 160), True),
        ("network.embed_tokens.weight", (1024, 192), False),
        ("network.lm_head.weight", (1024, 192), False),
        ("unet.conv_in.weight", (64, 12, 3, 3), False),
        ("imagebind.rgbt_stem.proj.1.weight", (160, 3, 2, 14, 14), False),
        ("model.q_proj.lora_A.default.weight", (16, 192), False),
        ("unet.norm.weight", (64,), False),
        ("imagebind.scale", (), False),
        ("readers.colour.weight", (10, 256), False),
        ("unet.narrow.weight", (8, 64), False),
    ],
)
def test_only_hidden_matrices_are_muons(name, shape, hidden):
    assert is_hidden_matrix(name, nn.Parameter(torch.zeros(shape))) is hidden


def test_every_parameter_has_one_optimizer():
    net = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 4))
    adamw, muon = make_optimizers(list(net.named_parameters()), 1e-3, 0.1, muon=True)
    held = [id(p) for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(net[0].weight)]
    assert len(make_optimizers(list(net.named_parameters()), 1e-3, 0.1, muon=False)) == 1


def test_lora_has_a_weight_decay_of_its_own():
    named = [(name, nn.Parameter(torch.ones(2, 2))) for name in ("q_proj.lora_A", "projection.weight")]
    (optimizer,) = make_optimizers(named, 0.1, 0.0, muon=False, adapter_decay=2.0)
    for _, parameter in named:
        parameter.grad = torch.zeros(2, 2)
    optimizer.step()
    (_, adapter), (_, other) = named
    torch.testing.assert_close(adapter.detach(), torch.full((2, 2), 0.8))
    torch.testing.assert_close(other.detach(), torch.ones(2, 2))


def test_lora_and_the_input_projection_get_a_share_of_the_learning_rate(tmp_path):
    names = ("lora_A", "input_projection", "output_projection")
    parts = nn.ModuleDict({name: nn.Linear(3, 1) for name in names})
    before = {name: parts[name].weight.detach().clone() for name in names}

    def loss(step):
        return sum(parts[name](torch.ones(2, 3)).sum() for name in names), {}

    recipe = replace(RECIPE, steps=3, average=0.0, warmup=1, weight_decay=0.0, reading_share=0.1)
    fit("run", recipe, {"net": parts}, loss, tmp_path)
    adapter, given, made = ((parts[name].weight.detach() - before[name]).abs().mean() for name in names)
    torch.testing.assert_close(torch.stack([adapter, given]), 0.1 * made.expand(2), rtol=0.05, atol=0)


def test_the_input_rows_of_signal_tokens_get_that_share_too_and_the_output_rows_do_not(tmp_path):
    lm = tiny_language_model(tmp_path)
    lm.add_adapter(rank=2, token_rows=sorted(lm.signals.all))
    named = [(name, parameter) for name, parameter in lm.named_parameters() if parameter.requires_grad]
    (adam,) = make_optimizers(named, 1e-3, 0.0, muon=False, reading_share=0.1)
    slow = {id(p) for group in adam.param_groups if group["share"] == 0.1 for p in group["params"]}
    slowed = [name for name, parameter in named if id(parameter) in slow]
    assert any("embed_tokens" in name for name in slowed) and any("lora_" in name for name in slowed)
    assert not any("lm_head" in name for name in slowed)
    assert any("lm_head" in name for name, _ in named)
    tied = [(name, parameter) for name, parameter in named if "lm_head" not in name]
    (adam,) = make_optimizers(tied, 1e-3, 0.0, muon=False, reading_share=0.1)
    slow = {id(p) for group in adam.param_groups if group["share"] == 0.1 for p in group["params"]}
    assert not any(id(parameter) in slow for name, parameter in tied if "embed_tokens" in name)


def test_a_run_with_muon_resumes_where_it_stopped(tmp_path):
    recipe = replace(RECIPE, muon=True)
    torch.manual_seed(3)
    wanted = torch.randn(20, 20)

    def run(folder, stop_at=None):
        torch.manual_seed(1)
        net = nn.Linear(20, 20)

        def loss(step):
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            x = torch.randn(8, 20)
            return (net(x) - x @ wanted).square().mean(), {}

        fit("run", recipe, {"net": net}, loss, folder)
        return net

    with pytest.raises(Interrupted):
        run(tmp_path / "broken", stop_at=4)
    whole, resumed = run(tmp_path / "whole"), run(tmp_path / "broken")
    assert torch.allclose(whole.weight, resumed.weight, atol=1e-5)


def test_what_learns_slowly_is_not_for_muon():
    named = [
        ("input_projection.weight", nn.Parameter(torch.zeros(32, 32))),
        ("layers.0.lora_A.weight", nn.Parameter(torch.zeros(16, 32))),
        ("output_projection.image.fc.weight", nn.Parameter(torch.zeros(32, 32))),
    ]
    adam, muon = make_optimizers(named, 1e-3, 0.0, muon=True, reading_share=0.1)
    assert [p for group in muon.param_groups for p in group["params"]] == [named[2][1]]
    assert sum(len(group["params"]) for group in adam.param_groups) == 2
