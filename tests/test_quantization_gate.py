"""The gate in front of fewer bits: rounding to 8 bits passes, damage does not."""

import dataclasses
import shutil

import pytest
import torch
from tiny_checkpoint import MANIFEST, build_model, tiny_checkpoint, tiny_pipeline

from nextgpt_chat.checkpoints.planning import PLANS, verdicts
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.language_model.quantization import quantizable_linears
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.pipeline.quantization_gate import (
    PROMPTS,
    THRESHOLD,
    Similarity,
    check_quantization,
    compare,
    conditionings,
    judge,
)
from nextgpt_chat.prompting import make_template


def round_to(bits):
    """Weights only, symmetric, a scale a row: what int8 does, without its package."""

    def change(weight):
        levels = 2 ** (bits - 1) - 1
        scale = weight.abs().amax(1, keepdim=True) / levels
        return (weight / scale).round().clamp(-levels, levels) * scale

    return change


def built(change=None):
    model = build_model()
    with torch.no_grad():
        for linear in quantizable_linears(model.language_model.network).values():
            if change is not None:
                linear.weight.copy_(change(linear.weight))
    return model


def measured(model):
    lm = model.language_model
    return conditionings(model, make_template(MANIFEST.template, lm.text, lm.signals))


@pytest.fixture(scope="module")
def full():
    return measured(built())


def test_every_kind_has_a_conditioning_for_every_sentence(full):
    assert full.keys() == {"image", "audio", "video"}
    assert all(len(rows) == len(PROMPTS) and rows.dtype == torch.float32 for rows in full.values())
    assert all(len(rows.unique(dim=0)) == len(PROMPTS) for rows in full.values())


def test_nothing_changed_is_one(full):
    found = compare(full, measured(built()))
    assert all(one.lowest == pytest.approx(1, abs=1e-5) and one.recognised == 1 for one in found)


def test_eight_bits_pass(full):
    sentence = judge(compare(full, measured(built(round_to(8)))), "int8")
    assert str(THRESHOLD) in sentence and "image" in sentence and "video" in sentence


@pytest.mark.parametrize("change", [round_to(2), lambda w: w.flip(0), lambda w: torch.full_like(w, torch.nan)])
def test_damage_fails_in_words(full, change):
    with pytest.raises(
        CheckpointError, match=r"The plan changes what the decoders are told.*(image|audio|video) .*more bits"
    ):
        judge(compare(full, measured(built(change))), "The plan")


def test_high_cosines_that_say_nothing_fail(full):
    """All sentences get one conditioning: near to every other, but no sentence can be told from another."""
    common = {kind: torch.ones_like(rows) * 10 for kind, rows in full.items()}
    near = {kind: common[kind] + 0.1 * rows / rows.norm() for kind, rows in full.items()}
    found = compare(near, common)
    assert all(one.lowest > THRESHOLD and one.recognised < 1 and not one.passed for one in found)
    with pytest.raises(CheckpointError, match="told apart"):
        judge(found, "it")


def test_the_threshold_is_a_limit():
    assert Similarity("image", THRESHOLD, 1, 1.0).passed
    assert not Similarity("image", THRESHOLD - 1e-6, 1, 1.0).passed


def test_a_pipeline_is_compared_with_the_checkpoint_it_came_from(tmp_path):
    folder = shutil.copytree(tiny_checkpoint(), tmp_path / "copy")
    pipeline = NextGPTPipeline(built(round_to(8)), MANIFEST)
    pipeline.memory_plan = PLANS["int8"]
    assert "cosine" in check_quantization(folder, pipeline)
    assert verdicts(folder)["int8"]["passed"]
    pipeline = NextGPTPipeline(built(round_to(2)), dataclasses.replace(MANIFEST))
    pipeline.memory_plan = PLANS["int8"]
    with pytest.raises(CheckpointError, match="memory plan int8 changes"):
        check_quantization(folder, pipeline)
    assert not verdicts(folder)["int8"]["passed"]
    with pytest.raises(CheckpointError, match=r"nothing to compare.*fp32"):
        check_quantization(folder, tiny_pipeline())
