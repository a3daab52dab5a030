import random

import torch
from tiny import tiny_language_model

from nextgpt_chat.picturebook.dialogues import dialogue
from nextgpt_chat.picturebook.values import COLOURS, PITCHES, SIZES, THINGS
from nextgpt_chat.training import signal_rows
from nextgpt_chat.training.signal_rows import start_at_words


def rows_of(lm, tokens):
    return lm.network.get_input_embeddings().weight.detach()[list(tokens)].clone()


def test_signal_tokens_start_at_the_words_before_what_they_are_to_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(signal_rows, "NOISE", 0.0)
    lm = tiny_language_model(tmp_path)
    before = lm.network.get_input_embeddings().weight.detach().clone()
    start_at_words(lm)
    after, signals = lm.network.get_input_embeddings().weight.detach(), sorted(lm.signals.all)
    others = [number for number in range(len(before)) if number not in signals]
    assert torch.equal(before[others], after[others])

    def among(words, row):
        """Whether a row is a mean of these words' own, to rounding."""
        last = sorted({lm.text.encode(word)[-1] for word in words})  # some share their last piece
        own = lm.embed(last).detach().double()
        shares = torch.linalg.lstsq(own.T, row.double()).solution
        return torch.allclose(own.T @ shares, row.double(), atol=1e-4) and abs(float(shares.sum()) - 1) < 1e-3

    size, colour, thing, *_ = rows_of(lm, lm.signals.groups["image"])
    assert among(["a"], size) and among(SIZES, colour) and among(COLOURS, thing)
    assert not among(SIZES, thing)
    heard = rows_of(lm, lm.signals.groups["audio"])
    assert not any(among(PITCHES, row) for row in heard)  # "at" is before a pitch
    clip = rows_of(lm, lm.signals.groups["video"])
    count = len(clip)
    assert [among(SIZES, row) for row in clip] == [n * 6 // count == 1 for n in range(count)]
    assert [among(THINGS, row) for row in clip] == [n * 6 // count == 3 for n in range(count)]


def test_tokens_that_start_at_the_same_words_differ_and_are_the_same_every_time(tmp_path):
    lm = tiny_language_model(tmp_path)
    start_at_words(lm)
    rows = rows_of(lm, sorted(lm.signals.all))
    assert len(torch.unique(rows, dim=0)) == len(rows)
    start_at_words(lm)
    assert torch.allclose(rows, rows_of(lm, sorted(lm.signals.all)), atol=1e-5)


def test_every_phrase_that_is_looked_for_is_in_the_canonical_captions():
    for kind, names in signal_rows.ORDER.items():
        rng = random.Random(1)
        for _ in range(50):
            (slot,) = dialogue(rng, kind=f"make_{kind}").turns[-1].slots
            said = signal_rows.worlddata.attributes(slot.value)
            places = [slot.caption.find(signal_rows._phrase(name, said[name])) for name in names]
            assert -1 not in places and places == sorted(places)
