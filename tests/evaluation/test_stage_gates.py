"""What stops training, and what a gate sees."""

import zlib

import pytest
import torch
from tiny import tiny_model

from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.evaluation import stage_gates
from nextgpt_chat.model import SignalStates


@pytest.mark.parametrize(
    ("rate", "said"), [(0.95, ""), (0.9, ""), (0.8, "fake misses its aim of 90%.*fake/thing 80.0%")]
)
def test_a_stage_near_its_aim_is_built_on_and_the_rest_is_said(monkeypatch, capsys, rate, said):
    rows = {"fake/thing": {"rate": rate}, "fake/other": {"rate": 0.1}}
    monkeypatch.setitem(stage_gates.GATES, "fake", (lambda w: rows, 0.9, ("thing",)))
    assert stage_gates.check("fake", None) == rows
    printed = capsys.readouterr().out
    assert bool(printed) == bool(said)
    assert "fake/other" not in printed


@pytest.mark.parametrize("rows", [{"fake/thing": {"rate": 0.7}}, {}])
def test_a_stage_far_from_its_aim_is_not(monkeypatch, rows):
    monkeypatch.setitem(stage_gates.GATES, "fake", (lambda w: rows, 0.9, ("thing",)))
    with pytest.raises(NextGPTError, match=r"Stage fake does not pass its gate of 7[67]%.*\"gates\": false"):
        stage_gates.check("fake", None)


def test_a_stage_without_a_gate_has_no_rows():
    assert stage_gates.check("stage3", None) == {}


class Reader:
    """A text encoder whose states say which words there are."""

    def encode_text(self, texts):
        states = torch.zeros(len(texts), 6, 20)
        for state, text in zip(states, texts, strict=True):
            for word in text.split():
                state.view(-1)[zlib.crc32(word.encode()) % 120] += 1
        return states


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 1.0, 1.0), (0.0, 0.0, 0.6)])
def test_what_signal_tokens_say_is_compared_with_every_other_word(tmp_path, monkeypatch, share, low, high):
    """With all of the right caption every attribute is told; with none of it, no more than one in its words."""
    model = tiny_model(tmp_path)
    model.decoders = {"image": Reader()}

    def right(kind, batch, known):
        states = torch.stack([one for example in batch for one in example.states]).float()
        return SignalStates(share * states, states, states)

    monkeypatch.setattr(model, "signal_states", right)
    monkeypatch.setattr(model, "conditioning_of", lambda kind, hidden, embeddings: hidden)
    rows = stage_gates.conditioned(model, 20)
    assert set(rows) == {f"conditioning of picture/{name}" for name in ("thing", "colour", "place", "position", "size")}
    assert all(low <= row["rate"] <= high for row in rows.values())
