"""Linear readers of signal tokens."""

import random
from pathlib import Path

import pytest
import torch
from test_training_stages import FakeEmbeddings, FakeStates
from tiny import tiny_model

from nextgpt_chat.model import SignalStates
from nextgpt_chat.picturebook.dialogues import dialogue
from nextgpt_chat.training import alignment, joining
from nextgpt_chat.training.between import asked_otherwise
from nextgpt_chat.training.loop import Recipe
from nextgpt_chat.training.readers import ATTRIBUTES, WordReaders, said_in_replies


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path)


def tokens_of(model):
    return {kind: model.language_model.signal_tokens.count(kind) for kind in ATTRIBUTES}


def test_what_is_said_goes_with_the_signal_tokens_of_any_dialogue(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    rng, readers = random.Random(1), WordReaders(model.language_model.width, tokens_of(model))
    for _ in range(12):
        dialogues = [dialogue(rng) for _ in range(8)]
        dialogues += [asked_otherwise(dialogue(rng, kind="make_audio"), rng) for _ in range(4)]
        batch, known = examples.batch(dialogues, every=True)
        with torch.no_grad():
            signals = model.instruction_loss(batch, known).signals
        said = said_in_replies(dialogues)
        counts = {kind: len(media) for kind, media in said.items() if media}
        assert {kind: len(states.hidden) for kind, states in signals.items()} == counts
        assert readers(signals, said).detach() > 0


def test_words_that_are_asked_for_in_the_place_of_others_are_what_is_said():
    rng, found = random.Random(2), 0
    for _ in range(60):
        one = asked_otherwise(dialogue(rng, kind="make_image"), rng)
        (said,) = said_in_replies([one])["image"]
        (slot,) = one.turns[-1].slots
        words = slot.caption.split()
        assert (dict(said)["size"], dict(said)["colour"], dict(said)["thing"]) == tuple(words[1:4])
        found += dict(said)["colour"] != slot.value.colour
    assert found > 10


def test_readers_find_words_that_the_states_hold(model):
    readers = WordReaders(4, {"audio": 2})
    said = [(("source", s), ("pitch", p), ("speed", "fast")) for s in ("dog", "rain") for p in ("low", "high")]
    hidden = torch.tensor([[[a, b, 1, 0], [b, a, 0, 1]] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    signals = {"audio": SignalStates(hidden, hidden, torch.zeros(4, 3))}
    optimizer = torch.optim.Adam(readers.parameters(), 0.1)
    losses = []
    for _ in range(60):
        loss = readers(signals, {"audio": said})
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1 and losses[-1] < 0.1


def test_they_change_the_language_model_and_are_not_part_of_it(model, tmp_path: Path):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    readers = WordReaders(model.language_model.width, tokens_of(model))
    before = [p.detach().clone() for p in readers.parameters()]
    recipe = Recipe(steps=2, learning_rate=0.01, batch=4, warmup=1, precision="fp32", weight_decay=0.0)
    draw = joining.stage_dialogue(3)
    result = alignment.train_stage(3, model, examples, draw, recipe, tmp_path / "run", rank=2, readers=readers)
    assert result["reading"] > 0
    assert any(not torch.equal(p, q) for p, q in zip(readers.parameters(), before, strict=True))
    assert not any("readers" in name for name, _ in model.named_parameters())
