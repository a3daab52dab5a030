"""Flags and environment variables of app.py, and how it refuses an unknown checkpoint or a taken port."""

import socket

import pytest

import app
from nextgpt_chat.checkpoints.planning import PLANS
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.web import PageOptions, launch, parse_options
from nextgpt_chat.web.options import MEMORY_PLANS
from tests.fake_pipeline import FakePipeline


def test_defaults_flags_and_environment_in_this_order():
    assert parse_options([], {}) == PageOptions()
    environment = {"NEXTGPT_PORT": "8000", "NEXTGPT_HOST": "0.0.0.0", "NEXTGPT_SHARE": "true", "NEXTGPT_DATA_DIR": "d"}
    options = parse_options(["--port", "9000", "--max-file-size", "5"], environment)
    assert (options.port, options.host, options.share, options.data_dir) == (9000, "0.0.0.0", True, "d")
    assert options.max_file_size == 5
    assert parse_options(["--no-share"], environment).share is False
    assert parse_options([], {"NEXTGPT_PORT": "", "NEXTGPT_SHARE": "", "NEXTGPT_HOST": ""}) == PageOptions()


def test_every_memory_plan_can_be_chosen():
    assert {"auto", *PLANS} == set(MEMORY_PLANS)
    assert parse_options(["--memory-plan", "int8-offload", "--device", "cuda:1"], {}).device == "cuda:1"


@pytest.mark.parametrize(
    ("argv", "environment", "named"),
    [
        (["--port", "x"], {}, "--port"),
        (["--port", "70000"], {}, "65535"),
        ([], {"NEXTGPT_PORT": "x"}, "NEXTGPT_PORT"),
        ([], {"NEXTGPT_SHARE": "maybe"}, "NEXTGPT_SHARE"),
        (["--queue-size", "0"], {}, "--queue-size"),
        (["--what"], {}, "--what"),
        (["--memory-plan", "int9"], {}, "int8-offload"),
        ([], {"NEXTGPT_DEVICE": "cud"}, "cuda:1"),
    ],
)
def test_unusable_values_end_with_status_2_and_one_line(argv, environment, named, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_options(argv, environment)
    assert ended.value.code == 2
    line = capsys.readouterr().err.strip()
    assert named in line and "\n" not in line


def test_an_unknown_checkpoint_is_refused_in_one_line_before_anything_is_loaded(tmp_path, capsys):
    for name in ("no-such-checkpoint", "checkpoints/nope", str(tmp_path / "gone"), str(tmp_path), ""):
        assert app.main(["--checkpoint", name]) == 2
        said = capsys.readouterr().err.strip()
        assert "\n" not in said and said.startswith("app.py: ") and "checkpoint" in said


def test_a_port_that_is_taken_is_said_with_the_flag_to_choose_another(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NextGPTError, match=rf"127\.0\.0\.1, port {port}: it is taken.*--port"):
            launch(FakePipeline(), PageOptions(port=port, data_dir=str(tmp_path)), block=False, quiet=True)
