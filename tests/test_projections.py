import pytest
import torch
from tiny import OUTPUT_SHAPES, tiny_output_projection

from nextgpt_chat.projections import (
    InputProjection,
    OutputProjectionConfig,
    build_output_projection,
    rename_published,
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
