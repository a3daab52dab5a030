"""The full-size model on the meta device has exactly the published names and shapes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.checkpoints.blueprint import projections_blueprint
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.imagebind import ImageBindConfig
from nextgpt_chat.importing import blueprint
from nextgpt_chat.importing.full_size import published_shapes
from nextgpt_chat.importing.media_encoder import UNUSED, imagebind_config
from nextgpt_chat.importing.published import our_name, read_published

GOLDEN = Path(__file__).parent / "data" / "golden"


def golden_shapes(name):
    return {key: tuple(shape) for key, shape in json.loads((GOLDEN / name).read_text())["shapes"].items()}


@pytest.fixture(scope="module")
def parts():
    return blueprint(Manifest.load(shipped_checkpoints()["nextgpt-7b-tiva-v0"]))


def test_the_full_size_model_has_the_647_published_names_and_shapes(parts):
    expected = golden_shapes("checkpoint_7b_shapes.json")
    assert published_shapes(parts) == expected
    assert len(expected) == 647 and sum(map(math.prod, expected.values())) == 396045568
    assert all(tensor.is_meta for part in parts.values() for tensor in part.state_dict().values())


def test_the_published_names_map_onto_our_model_and_back(parts):
    published = read_published(golden_shapes("checkpoint_7b_shapes.json"), "the published file")
    assert (published.rows, published.base_rows, published.width, published.rank) == (32038, 32000, 4096, 32)
    assert published.unknown == () and published.media_width == 1024
    widths = {kind: (config.num_in, config.num_out, config.out_dim) for kind, config in published.outputs.items()}
    assert widths == {"image": (4, 77, 768), "audio": (8, 1, 512), "video": (24, 77, 1024)}
    ours = {our_name(key) for key in published.shapes}
    assert len(ours) == 647
    lm = parts["language_model"].state_dict()
    assert {name.replace(".default.", ".") for name in lm if ".lora_" in name} == {
        n for part, n in ours if part == "adapter"
    }


def test_full_size_imagebind_has_the_published_names_and_shapes(parts):
    published = golden_shapes("imagebind_huge_shapes.json")
    used = {name: shape for name, shape in published.items() if name.split(".")[1] not in UNUSED}
    assert {name: tuple(tensor.shape) for name, tensor in parts["imagebind"].state_dict().items()} == used
    assert imagebind_config(published, "the file") == (ImageBindConfig.huge().without_text(), [])


def test_a_grouping_projection_is_counted_as_one():
    """Its sizes are the manifest's; the linear one of the published checkpoint has 1024 · 4096 + 4096 parameters."""
    manifest = replace(
        Manifest("x"), projections={"input": "grouping", "output": "linear"}, input_config={"groups": [32, 4]}
    )
    built = projections_blueprint(manifest, 4096, 1024, {"image": 768, "audio": 512, "video": 1024})
    inputs = built["input_projection"]
    assert inputs.positions == 4 and inputs.reads_patches
    assert all(tensor.is_meta for tensor in inputs.state_dict().values())
    assert sum(one.numel() for one in inputs.parameters()) != 1024 * 4096 + 4096


def test_a_manifest_without_sizes_is_said():
    with pytest.raises(CheckpointError, match=r"extra\.sizes"):
        blueprint(Manifest("x"))
