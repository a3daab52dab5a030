import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import OUTPUT_SHAPES, tiny_output_projection

from nextgpt_chat.projections import (
    InputProjection,
    OutputProjectionConfig,
    build_output_projection,
    rename_published,
    rename_published_layer,
)

GOLDEN = Path(__file__).parent / "data" / "golden"


@pytest.mark.parametrize("case", ["image", "video", "audio", "qformer"])
def test_output_equals_the_original(case):
    facts = json.loads((GOLDEN / f"outproj_{case}.json").read_text())
    tensors = load_file(GOLDEN / f"outproj_{case}.safetensors")
    state = {rename_published_layer(k[3:]): v for k, v in tensors.items() if k.startswith("sd.")}
    sizes = facts["config"]
    config = OutputProjectionConfig.from_state(
        state, num_in=sizes["num_input_tokens"], mode="qformer" if case == "qformer" else "transformer"
    )
    assert (config.in_dim, config.out_dim, config.num_out) == (
        sizes["in_dim"],
        sizes["out_dim"],
        sizes["num_output_tokens"],
    )
    projection = build_output_projection(config).eval()
    projection.load_state_dict(state)  # strict: every name and shape fits
    with torch.no_grad():
        output = projection(tensors["hidden"], tensors["input_embs"])
    rule = facts["compare"][0]
    torch.testing.assert_close(
        output.reshape(tensors["output"].shape), tensors["output"], atol=rule["atol"], rtol=rule["rtol"]
    )


def test_published_names_become_ours():
    assert rename_published("llama_proj.weight") == "input_projection.weight"
    assert rename_published("gen_text_hidden_fcs.0.query_embs") == "output_projection.image.query_embs"
    assert (
        rename_published("gen_text_hidden_fcs_audio.0.tfm.encoder.norm.bias")
        == "output_projection.audio.tfm.encoder.norm.bias"
    )
    assert rename_published("gen_text_hidden_fcs_video.0.fc.weight") == "output_projection.video.fc.weight"
    assert rename_published("llama_model.lm_head.weight") is None


def test_published_sizes_have_the_published_shapes():
    with torch.device("meta"):
        projection = build_output_projection(OutputProjectionConfig(4096, 768, 4, 77))
        assert len(projection.state_dict()) == 129
        assert InputProjection().weight.shape == (4096, 1024)


@pytest.mark.parametrize("mode", ["transformer", "qformer", "linear"])
@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_sizes_are_read_back_from_weights(mode, kind):
    projection = tiny_output_projection(kind, mode=mode)
    config = OutputProjectionConfig.from_state(
        projection.state_dict(), num_in=projection.config.num_in, mode=mode, heads=projection.config.heads
    )
    again = build_output_projection(config)
    again.load_state_dict(projection.state_dict())
    states = torch.randn(2, config.num_in, 64)
    output = again.eval()(states, states)
    assert output.shape == (2, *OUTPUT_SHAPES[kind])
    torch.testing.assert_close(output, projection(states, states))


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'mlp'"):
        OutputProjectionConfig(8, 8, 4, 4, mode="mlp")
