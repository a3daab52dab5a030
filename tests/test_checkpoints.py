"""Checkpoint folders: what is written can be read, and what is wrong is said by name."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from tiny_checkpoint import MANIFEST, build_model, tiny_checkpoint

from nextgpt_chat import checkpoints
from nextgpt_chat.checkpoints import Component, Manifest, UnknownMedia
from nextgpt_chat.checkpoints.finding import component_folder
from nextgpt_chat.checkpoints.integrity import sha256_of
from nextgpt_chat.checkpoints.loading import choose_device, choose_dtype, read_projections
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.known_world import KnownWorld

SMALLEST = {"format_version": 1, "name": "x"}


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(tiny_checkpoint(), tmp_path / "copy")


# --- manifest --------------------------------------------------------------------------------------------------


def test_a_manifest_survives_its_json(tmp_path):
    manifest = dataclasses.replace(
        MANIFEST,
        components={"image_decoder": Component("sub", "owner/name", "main", {"a": "0" * 64})},
        output_config={"image": {"mode": "linear", "heads": 8}},
        unknown_media=UnknownMedia(message="What is that?", declines=("No.", "Never."), larger="Ask the larger one."),
        context=256,
        extra={"minutes": {"vae": 3}},
    )
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert manifest.output_mode("image") == "linear" and manifest.output_mode("audio") == "transformer"
    assert manifest.output_heads("image") == 8 and manifest.component("imagebind").path == "imagebind"


def test_the_documented_example_is_a_manifest():
    manifest = Manifest.from_dict(
        {
            **SMALLEST,
            "template": "clean",
            "modalities": ["text", "image", "audio", "video"],
            "signal_tokens": {"image": 4, "audio": 8, "video": 24},
            "output_tokens": {"image": 77, "audio": 1, "video": 77},
            "projections": {"input": "linear", "output": "transformer"},
            "components": {
                "language_model": {"path": "language_model"},
                "image_decoder": {"repo": "owner/name", "revision": "abc", "sha256": {"file": "f" * 64}},
            },
        }
    )
    assert manifest.component("image_decoder").repo == "owner/name"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format_version": 2}, "Update the program"),
        ({"format_version": None}, "format_version"),
        ({"name": ""}, "name"),
        ({"colour": 1}, "colour"),
        ({"template": "v9"}, "v9"),
        ({"modalities": ["text", "smell"]}, "smell"),
        ({"modalities": ["image"]}, "without text"),
        ({"signal_tokens": {"image": 0, "audio": 8, "video": 24}}, "signal_tokens.image"),
        ({"output_tokens": {"image": 77, "audio": 1}}, "output_tokens.video"),
        ({"projections": {"input": "linear", "output": "mlp"}}, "mlp"),
        ({"output_config": {"image": {"depth": 3}}}, "depth"),
        ({"components": {"unet": {"path": "x"}}}, "unet"),
        ({"components": {"imagebind": {}}}, "components.imagebind"),
        ({"components": {"imagebind": {"path": "../elsewhere"}}}, "leads out"),
        ({"components": {"imagebind": {"path": "/etc"}}}, "leads out"),
        ({"components": {"imagebind": {"repo": "a/b", "sha256": {"f": "12"}}}}, "sha256"),
        ({"unknown_media": {"reference": "../x"}}, "leads out"),
        ({"unknown_media": {"declines": "No."}}, "declines"),
        ({"defaults": {"image": {"strides": 3}}}, "defaults.image"),
        ({"defaults": {"image": {"steps": 0}}}, "steps is 0"),
        ({"context": 3}, "context"),
    ],
)
def test_a_wrong_manifest_is_refused_naming_what_is_wrong(change, named):
    with pytest.raises(CheckpointError, match=named):
        Manifest.from_dict({**SMALLEST, **change})


def test_defaults_of_the_checkpoint_go_over_the_programs_own():
    defaults = Manifest.from_dict({**SMALLEST, "defaults": {"image": {"steps": 7}}}).settings_defaults()
    assert defaults["image"]["steps"] == 7
    assert defaults["image"]["scheduler"] == "dpm++" and defaults["audio"]["seconds"] == 5.0


# --- finding ---------------------------------------------------------------------------------------------------


def test_a_shipped_name_is_found_from_anywhere(tmp_path, monkeypatch, copy):
    monkeypatch.setattr(checkpoints.finding, "_ROOTS", (copy.parent,))
    monkeypatch.chdir(tmp_path)
    for name in ("copy", "checkpoints/copy", "./checkpoints/copy/", str(copy), copy):
        assert checkpoints.find_checkpoint(name).resolve() == copy.resolve()
    assert checkpoints.shipped_checkpoints() == {"copy": copy}


@pytest.mark.parametrize("name", ["nextgpt-maxi", "checkpoints/none", "", "a/b/c", "x" * 5000, "../up", "nul\0"])
def test_an_unknown_checkpoint_is_refused_with_the_shipped_ones(monkeypatch, copy, name):
    monkeypatch.setattr(checkpoints.finding, "_ROOTS", (copy.parent,))
    with pytest.raises(CheckpointError, match="copy"):
        checkpoints.find_checkpoint(name)


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"nextgpt\.json"):
        checkpoints.find_checkpoint(tmp_path)


def test_a_hub_repository_that_is_not_here_is_refused_offline():
    assert checkpoints.locate("owner/name") is None
    with pytest.raises(CheckpointError, match="owner/name at revision v1 could not be fetched"):
        checkpoints.find_checkpoint("owner/name", revision="v1", local_files_only=True)


def test_hashes_of_a_component_are_checked(copy):
    file = copy / "imagebind" / "model.safetensors"
    good = Component("imagebind", sha256={"model.safetensors": sha256_of(file)})
    assert component_folder(copy, good) == copy / "imagebind"
    with pytest.raises(CheckpointError, match=r"imagebind/model\.safetensors is corrupt or another version"):
        component_folder(copy, dataclasses.replace(good, sha256={"model.safetensors": "0" * 64}))


# --- saving and loading ----------------------------------------------------------------------------------------


def test_projection_names_are_the_documented_ones():
    state = read_projections(tiny_checkpoint())
    heads = {".".join(key.split(".")[: 1 if key.startswith("input") else 2]) for key in state}
    kinds = {f"output_projection.{kind}" for kind in ("image", "audio", "video")}
    assert heads == {"input_projection", *kinds}
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_every_weight_file_is_a_shard_of_limited_size_in_half_precision():
    files = list(tiny_checkpoint().rglob("*.safetensors"))
    assert sum("-of-" in file.name for file in files) > 3
    assert max(file.stat().st_size for file in files) < 230_000
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}, file


def test_what_is_loaded_is_what_was_saved_in_full_precision():
    model, manifest = checkpoints.load_model(tiny_checkpoint(), device="cpu")
    built = build_model()
    assert manifest.name == "tiny" and list(model.decoders) == ["image", "audio", "video"]
    pairs = [(built, model)] + [
        (built.decoders[kind].unet, model.decoders[kind].unet) for kind in ("image", "audio", "video")
    ]
    for before, after in pairs:
        state = after.state_dict()
        assert state.keys() == before.state_dict().keys()
        for name, value in before.state_dict().items():
            expected = value.half().float() if value.is_floating_point() else value
            torch.testing.assert_close(state[name], expected, rtol=0, atol=0, msg=name)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_only_the_wanted_decoders_are_loaded():
    model, _ = checkpoints.load_model(tiny_checkpoint(), device="cpu", kinds=["audio"])
    assert list(model.decoders) == ["audio"]
    assert list(model.output_projection) == ["image", "audio", "video"]


def test_an_adapter_is_saved_beside_and_loaded_again(tmp_path):
    model = build_model()
    model.language_model.add_adapter(rank=2)
    with torch.no_grad():
        for name, weight in model.language_model.network.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    written = checkpoints.save_model(model, MANIFEST, tmp_path / "lora", dtype=None)
    assert written.component("adapter").path == "adapter"
    config = json.loads((tmp_path / "lora" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../language_model"
    again, _ = checkpoints.load_model(tmp_path / "lora", device="cpu", kinds=[])
    embeds = torch.randn(1, 5, 64)
    with torch.no_grad():
        model.language_model.eval()
        expected = model.language_model.states(embeds)
        torch.testing.assert_close(again.language_model.states(embeds), expected)


def test_saving_replaces_a_checkpoint_whole_and_keeps_its_card(tmp_path, copy):
    (copy / "README.md").write_text("# measured\n")
    (copy / ".gitignore").write_text("*.safetensors\n")
    (copy / "quantization.json").write_text("{}")  # of the weights that go
    checkpoints.save_model(build_model(), dataclasses.replace(MANIFEST, name="second"), copy)
    assert Manifest.load(copy).name == "second"
    assert (copy / "README.md").read_text() == "# measured\n"
    assert (copy / ".gitignore").read_text() == "*.safetensors\n"
    assert not (copy / "quantization.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_saving_leaves_a_folder_of_other_things_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="left alone"):
        checkpoints.save_model(build_model(), MANIFEST, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_saving_leaves_a_checkpoint_with_other_things_in_it_alone(copy):
    (copy / "optimizer-state.pt").write_text("days of work")
    with pytest.raises(CheckpointError, match=r"holds optimizer-state\.pt"):
        checkpoints.save_model(build_model(), dataclasses.replace(MANIFEST, name="second"), copy)
    assert Manifest.load(copy).name != "second" and (copy / "optimizer-state.pt").exists()


def test_a_failing_save_leaves_nothing_behind(tmp_path, copy, monkeypatch):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    monkeypatch.setattr(
        checkpoints.saving, "write_checksums", lambda folder: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(CheckpointError, match="disk full"):
        checkpoints.save_model(build_model(), MANIFEST, copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_model_without_a_part_of_the_manifest_is_a_mistake(tmp_path):
    model = build_model()
    del model.decoders["video"]
    with pytest.raises(ValueError, match="video"):
        checkpoints.save_model(model, MANIFEST, tmp_path / "new")


def test_device_and_precision_are_chosen_once():
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == torch.float32 and choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_dtype(torch.float16, cpu) == torch.float16
    with pytest.raises(ValueError, match="int3"):
        choose_dtype("int3", cpu)
    with pytest.raises(CheckpointError, match="warp-drive"):
        choose_device("warp-drive")


# --- damage ----------------------------------------------------------------------------------------------------

DAMAGED = [
    "projections.safetensors",
    "imagebind/model.safetensors",
    "language_model/model-00001-of-00002.safetensors",
    "video_decoder/vae/diffusion_pytorch_model.safetensors",
    "audio_decoder/vocoder/model.safetensors",
]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("listed", [True, False])
def test_a_missing_truncated_or_changed_file_is_named(copy, name, listed):
    path = copy / name
    whole = path.read_bytes()
    if not listed:
        (copy / "checksums.json").unlink()
    flipped = bytearray(whole)
    flipped[-40] ^= 0xFF
    for problem, damaged in (("is missing", None), ("has|truncated", whole[:-100]), ("is corrupt", bytes(flipped))):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        if listed:
            (found,) = [one for one in checkpoints.verify(copy) if one.path == name]
            assert found.problem
        elif problem == "is corrupt" or (damaged is None and "-of-" not in name):
            continue  # without a list only what is needed to open the parts can be known here
        with pytest.raises(CheckpointError, match=f"{name}.*({problem})"):
            checkpoints.check_files(copy)
    path.write_bytes(whole)
    checkpoints.check_files(copy)


@pytest.mark.parametrize(
    "name", ["projections.safetensors", "imagebind/model.safetensors", "language_model", "video_decoder", "imagebind"]
)
def test_loading_without_a_list_still_names_the_missing_part(copy, name):
    (copy / "checksums.json").unlink()
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match=name):
        checkpoints.load_model(copy, device="cpu", kinds=["video"] if "video" in name else [])


@pytest.mark.parametrize("name", ["imagebind/config.json", "language_model/tokenizer.json", "nextgpt.json"])
def test_an_unreadable_text_file_is_named(copy, name):
    (copy / name).write_text('{"half": ')
    with pytest.raises(CheckpointError, match=name):
        checkpoints.load_model(copy, device="cpu", kinds=[])


def test_text_files_may_be_edited_but_doctor_sees_it(copy):
    path = copy / "imagebind" / "config.json"
    path.write_text(path.read_text() + "\n")
    checkpoints.check_files(copy)
    assert [one.path for one in checkpoints.verify(copy)] == ["imagebind/config.json"]


def test_projections_that_do_not_belong_to_the_manifest_are_refused(copy):
    data = json.loads((copy / "nextgpt.json").read_text())
    for change, named in (
        ({"output_tokens": {"image": 76, "audio": 1, "video": 77}}, "output_projection.image.*77.*76"),
        ({"output_config": {"audio": {"mode": "qformer"}}}, "no qformer projection under output_projection.audio"),
    ):
        (copy / "nextgpt.json").write_text(json.dumps(data | change))
        with pytest.raises(CheckpointError, match=named):
            checkpoints.load_model(copy, device="cpu", kinds=[])


def test_the_memory_plan_counts_every_parameter():
    plan = {one.name: one for one in checkpoints.memory_plan(tiny_checkpoint(), "cpu")}
    model = build_model()
    assert plan["language_model"].parameters == sum(p.numel() for p in model.language_model.parameters())
    assert plan["language_model"].memory_bytes == 4 * plan["language_model"].parameters
    projections = [*model.input_projection.parameters(), *model.output_projection.parameters()]
    assert plan["projections"].parameters == sum(p.numel() for p in projections)
    assert set(plan) == {
        "language_model",
        "imagebind",
        "image_decoder",
        "audio_decoder",
        "video_decoder",
        "projections",
    }


# --- the known world -------------------------------------------------------------------------------------------


def plane(n, seed):
    """Media of one view each: points of a two-dimensional patch of a 16-dimensional space, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.rand(n, 2, generator=generator)
    noise = 0.01 * torch.randn(n, 16, generator=generator)
    return list((torch.cat([1 + inside, torch.ones(n, 14)], 1) + noise)[:, None])


def test_the_known_world_knows_its_own_and_nothing_else(tmp_path):
    world = KnownWorld.fit({"image": plane(800, 0)}, {"image": plane(200, 2)}, 0.02)
    world.save(tmp_path / "world.safetensors")
    world = KnownWorld.load(tmp_path / "world.safetensors")
    alarms = sum(world.is_unknown("image", views) for views in plane(400, 1))
    assert alarms <= 20
    strangers = torch.nn.functional.normalize(torch.randn(50, 1, 16), dim=-1) * 4
    assert all(world.is_unknown("image", views) for views in strangers)
    assert not world.is_unknown("audio", strangers[0]) and world.kinds == ("image",)


def test_a_medium_is_as_unknown_as_its_strangest_view():
    world = KnownWorld.fit({"video": plane(800, 0)}, {"video": plane(200, 2)})
    known, stranger = torch.cat(plane(3, 1)), torch.zeros(1, 16)
    assert not world.is_unknown("video", known)
    assert world.distance("video", torch.cat([known, stranger])) == world.distance("video", stranger) > 1


def test_the_false_alarm_rate_is_that_of_the_calibration_set():
    held = plane(300, 2)
    world = KnownWorld.fit({"image": plane(500, 0)}, {"image": held}, 0.1)
    assert 0.05 <= sum(world.is_unknown("image", views) for views in held) / len(held) <= 0.1


def test_what_the_model_makes_is_known_though_it_lies_a_little_farther():
    own = [views + 0.05 for views in plane(100, 3)]
    world = KnownWorld.fit({"image": plane(500, 0)}, {"image": plane(300, 2)})
    assert sum(world.is_unknown("image", views) for views in own) > 50
    world = KnownWorld.fit({"image": plane(500, 0)}, {"image": plane(300, 2)}, made={"image": own})
    assert sum(world.is_unknown("image", views) for views in own) <= 1
    assert world.is_unknown("image", torch.zeros(1, 16))


def test_a_broken_reference_is_a_checkpoint_error(tmp_path):
    (tmp_path / "world.safetensors").write_bytes(b"nothing")
    for name in ("world.safetensors", "absent.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            KnownWorld.load(tmp_path / name)
    with pytest.raises(ValueError, match="too few"):
        KnownWorld.fit({"image": plane(5, 0)}, {"image": plane(30, 0)})
    with pytest.raises(ValueError, match=r"30 media of 'image' and 0 .* too few"):
        KnownWorld.fit({"image": plane(30, 0)}, {"audio": plane(30, 0)})


def test_an_unfinished_shipped_checkpoint_says_how_to_finish_it(tmp_path, monkeypatch):
    from nextgpt_chat.checkpoints import finding

    monkeypatch.setattr(finding, "_ROOTS", (tmp_path,))
    monkeypatch.chdir(tmp_path)  # a folder of the working directory goes first
    (tmp_path / "nextgpt-mini" / "imagebind").mkdir(parents=True)
    for name in ("nextgpt-mini", "checkpoints/nextgpt-mini"):
        with pytest.raises(CheckpointError, match=r"unfinished.*make mini"):
            finding.locate(name)
