"""Settings: ranges, paths, JSON and defaults."""

import json
import math
import re

import numpy as np
import pytest

from nextgpt_chat.config import GenerationSettings, ImageSettings, TextSettings, setting_names
from nextgpt_chat.errors import LimitError


def test_settings_go_through_json():
    settings = GenerationSettings(seed=5, text=TextSettings(temperature=0.5), image=ImageSettings(steps=8))
    assert GenerationSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_values_by_path_are_converted_from_text():
    settings = GenerationSettings().with_value("image.steps", "8").with_value("text.temperature", "0.7")
    settings = settings.with_value("seed", "12").with_value("video.fps", 8).with_value("image.scheduler", "dpm++")
    assert (settings.image.steps, settings.text.temperature, settings.seed) == (8, 0.7, 12)
    assert settings.video.fps == 8
    assert settings.image.scheduler == "dpm++"
    assert settings.with_value("seed", "random").seed is None
    assert GenerationSettings() == GenerationSettings()  # the default is not touched


def test_whole_numbers_that_come_as_fractions_become_whole():
    settings = GenerationSettings().with_value("image.steps", 8.0).with_value("seed", 3.0)
    assert [type(value) for value in (settings.image.steps, settings.seed)] == [int, int]
    assert GenerationSettings().with_value("audio.seconds", 2.5).audio.seconds == 2.5


@pytest.mark.parametrize("number", [8, 8.0, np.int64(8), np.float32(8)])
def test_whole_numbers_of_any_type_become_pythons_own(number):
    settings = GenerationSettings(image=ImageSettings(steps=number), seed=number)
    assert [type(value) for value in (settings.image.steps, settings.seed)] == [int, int]
    assert json.dumps(settings.to_dict())


@pytest.mark.parametrize("number", [8.5, math.nan, "8", True, [8]])
def test_what_is_no_whole_number_is_quoted(number):
    for make in (lambda: ImageSettings(steps=number), lambda: GenerationSettings(seed=number)):
        with pytest.raises(ValueError, match=re.escape(repr(number))):
            make()


def test_every_number_has_a_highest_value():
    for path in setting_names():
        if path not in ("conditioning",) and not path.endswith("scheduler"):
            with pytest.raises(LimitError, match=path.rpartition(".")[2]):
                GenerationSettings().with_value(path, 1e30)


@pytest.mark.parametrize("path", ["image.stepz", "steps", "image", "smell.steps", "", "image.steps.more"])
def test_unknown_paths_are_quoted_with_the_known_ones(path):
    with pytest.raises(ValueError, match=r"unknown setting.*image\.steps"):
        GenerationSettings().with_value(path, "1")


@pytest.mark.parametrize(
    ("path", "value"),
    [("image.steps", 0), ("image.steps", "5000"), ("text.top_p", 1.1), ("audio.seconds", 1e9), ("seed", -1)],
)
def test_values_out_of_range_name_the_setting(path, value):
    with pytest.raises(LimitError, match=path.rpartition(".")[2]):
        GenerationSettings().with_value(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("image.steps", "many"),
        ("image.steps", 2.5),
        ("seed", math.inf),
        ("video.frames", math.nan),
        ("image.steps", True),
        ("image.scheduler", "magic"),
        ("conditioning", "telepathy"),
    ],
)
def test_values_of_the_wrong_kind_are_quoted(path, value):
    with pytest.raises(ValueError, match=str(value)):
        GenerationSettings().with_value(path, value)


def test_the_ends_of_a_range_are_allowed():
    settings = GenerationSettings().with_value("text.temperature", 0).with_value("image.width", 1024)
    assert (settings.text.temperature, settings.image.width) == (0, 1024)


def test_a_checkpoints_defaults_fill_in_only_what_is_open():
    settings = GenerationSettings(image=ImageSettings(steps=8))
    resolved = settings.resolved({"image": {"steps": 25, "guidance_scale": 7.5}, "text": {"temperature": 0.4}})
    assert (resolved.image.steps, resolved.image.guidance_scale, resolved.text.temperature) == (8, 7.5, 0.4)
    assert resolved.audio.steps is None


def test_every_named_setting_can_be_set():
    values = {"scheduler": "dpm++", "conditioning": "caption", "temperature": 1.0, "top_p": 1.0}
    values |= {"repetition_penalty": 1.0, "seconds": 2.0, "width": 64, "height": 64}
    for path in setting_names():
        GenerationSettings().with_value(path, values.get(path.rpartition(".")[2], 2))
