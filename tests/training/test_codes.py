"""Attribute codes, and a tower of ImageBind fitted to them by itself."""

import math

import pytest
import torch

from nextgpt_chat.imagebind import ImageBind
from nextgpt_chat.picturebook import Clip, Scene, Sound
from nextgpt_chat.training.caption_tokens import train_clip_tokenizer
from nextgpt_chat.training.codes import AttributeCodes
from nextgpt_chat.training.contrastive import TOWERS, AttributeReaders, fit_alone
from nextgpt_chat.training.recipes import RECIPES

CODES = AttributeCodes(256)
SCENE = Scene("car", "red", "big", "left", "night")
SHOWN = [SCENE, Clip(SCENE, "spins"), Sound("dog", "low", "fast")]


def test_directions_are_orthonormal_and_the_same_every_time():
    products = CODES.directions @ CODES.directions.T
    assert torch.allclose(products, torch.eye(len(products)), atol=1e-5)
    assert torch.equal(CODES.directions, AttributeCodes(256).directions)


def test_sums_have_unit_length_and_share_what_values_share():
    sums = CODES.sums(SHOWN)
    assert torch.allclose(sums.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(sums[0] @ sums[1], torch.tensor(5 / math.sqrt(5 * 6)), atol=1e-5)
    assert abs(float(sums[0] @ sums[2])) < 1e-5


def test_each_pitch_is_the_farthest_in_some_direction():
    sums = CODES.sums([Sound("dog", pitch, "fast") for pitch in ("low", "normal", "high")])
    differences = sums - sums.mean(0)
    assert torch.equal((sums @ differences.T).argmax(0), torch.arange(3))


def test_octaves_in_place_of_the_word_turn_the_pitch_and_end_before_they_meet():
    dog = Sound("dog", "normal", "fast")
    sums = CODES.sums([dog] * 5, [math.log2(1.65), 1.0, 1.4, -1.4, 0.0])
    assert torch.allclose(sums[0], CODES.sums([Sound("dog", "high", "fast")])[0], atol=1e-5)
    assert torch.allclose(sums[4], CODES.sums([dog])[0], atol=1e-5)
    assert float((sums[2] - sums[3]).norm()) > 0.5


def test_the_loss_is_none_for_the_sum_itself_and_four_for_its_opposite():
    sums = CODES.sums(SHOWN)
    assert float(CODES.loss(sums, sums)) == 0
    assert math.isclose(float(CODES.loss(-sums, sums)), 4, rel_tol=1e-5)


def test_a_shade_that_no_word_names_may_be_anything_and_a_thing_may_not():
    one, other = CODES.sums([SCENE]), CODES.sums([Scene("car", "green", "big", "left", "night")])
    assert float(CODES.loss(other, one)) > 0.1
    assert float(CODES.loss(other, one, unnamed=1)) < 1e-9
    assert float(CODES.loss(CODES.sums([Scene("dog", "red", "big", "left", "night")]), one, unnamed=1)) > 0.1


def test_too_narrow_embeddings_are_refused():
    with pytest.raises(ValueError, match="do not fit into embeddings of 32 numbers"):
        AttributeCodes(32)


@pytest.mark.parametrize("tower", TOWERS)
def test_a_tower_alone_learns_and_the_others_stay(tower, tmp_path):
    torch.manual_seed(0)
    sizes, tokenizer = RECIPES["tiny"](), train_clip_tokenizer()
    imagebind = ImageBind(sizes.imagebind(len(tokenizer)))
    before = {name: value.clone() for name, value in imagebind.named_parameters()}
    readers = AttributeReaders(imagebind.config.embedding_dim)
    recipe, numbers = sizes.recipe(f"imagebind-{tower}"), getattr(sizes, f"imagebind_{tower}_batch")
    result = fit_alone(tower, imagebind, readers, tokenizer, recipe, tmp_path, numbers)
    moved = {name for name, value in imagebind.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all(TOWERS[tower] in f".{name}" for name in moved)
    assert math.isfinite(result["loss"])


def test_codes_of_some_attributes_fit_into_less_and_may_leave_the_pitch_open():
    codes = AttributeCodes(20, names=("source", "pitch", "speed"))
    assert len(codes.rows) == 13 + 2 + 3
    low, high, unsaid = codes.sums([Sound("dog", "low", "fast")] * 3, [-0.7, 0.7, None])
    torch.testing.assert_close(torch.stack([low, high, unsaid]).norm(dim=1), torch.ones(3))
    directions = codes.directions
    assert low @ directions[codes.rows["pitch", "sine"]] < -0.4 < 0.4 < high @ directions[codes.rows["pitch", "sine"]]
    for part in ("sine", "cosine"):
        assert abs(float(unsaid @ directions[codes.rows["pitch", part]])) < 1e-6
