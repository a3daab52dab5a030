"""Output projections that learn from kept states: the second half of stage 2."""

import random
from dataclasses import replace

import pytest
import torch
from test_training_stages import FakeEmbeddings, FakeStates
from tiny import tiny_model

from nextgpt_chat.distances import squared_error
from nextgpt_chat.model import SignalStates
from nextgpt_chat.picturebook.dialogues import dialogue
from nextgpt_chat.training import alignment
from nextgpt_chat.training.decoding_side import states_of, train_projection, whiten
from nextgpt_chat.training.loop import Recipe


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path)


def asking(kind):
    return lambda rng: dialogue(rng, kind=f"make_{kind}")


def test_squared_error_is_a_share_of_the_captions_own():
    captions = torch.randn(3, 4, 5)
    assert squared_error(captions, captions) == 0
    torch.testing.assert_close(squared_error(torch.zeros(3, 4, 5), captions), torch.tensor(1.0))
    with pytest.raises(ValueError, match="caption states"):
        squared_error(captions, captions[:2])


def test_kept_states_make_what_the_model_makes_in_training(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    states = states_of("audio", model, examples, asking("audio"), 5)
    assert {len(states.hidden), len(states.embeddings), len(states.captions)} == {5}
    made = model.conditioning_of("audio", states.hidden.float(), states.embeddings.float())
    rng = random.Random(23)  # the same requests once more
    batch, known = examples.batch([asking("audio")(rng) for _ in range(5)], text=False)
    with torch.no_grad():
        distance = model.alignment_loss(batch, known).distance["audio"]
    kept = torch.linalg.vector_norm(made - states.captions.float(), dim=-1).mean()
    torch.testing.assert_close(kept, distance, rtol=2e-3, atol=1e-3)  # half precision


def test_requests_for_another_medium_are_refused(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    with pytest.raises(ValueError, match="no image"):
        states_of("image", model, examples, asking("audio"), 2)


def test_a_whitened_layer_gives_every_direction_the_same_variance(model):
    projection = model.output_projection["image"]
    width = projection.fc.in_features
    inputs = torch.randn(4000, 4, width) * torch.logspace(0, -1, width) + 3 * torch.randn(width)
    whiten(projection, inputs)
    out = projection.fc(inputs).detach()
    spread = torch.linalg.eigvalsh((out - out.mean(0)).flatten(0, 1).T.cov())
    used = min(width, projection.fc.out_features)
    assert spread[-used:].max() / spread[-used:].min() < 2  # 100 without; a floor holds the smallest down
    assert out.mean((0, 1)).abs().max() < 0.01


def test_a_projection_learns_what_the_states_say_and_goes_on_where_it_stopped(model, tmp_path):
    projection = model.output_projection["audio"]
    config = projection.config
    hidden = torch.randn(64, config.num_in, config.in_dim)
    captions = hidden[:, 0, :12] @ torch.randn(12, 12)
    states = SignalStates(hidden, torch.zeros_like(hidden), captions)
    recipe = Recipe(steps=500, learning_rate=5e-3, batch=32, warmup=5, precision="fp32", weight_decay=0.0)

    def error():
        with torch.no_grad():
            return float(squared_error(projection(hidden, torch.zeros_like(hidden))[:, 0], captions))

    train_projection("trial", projection, states, replace(recipe, steps=250), tmp_path / "run")
    halfway = error()
    assert halfway < 0.8
    train_projection("trial", projection, states, recipe, tmp_path / "run")
    assert error() < halfway
    assert not projection.training
