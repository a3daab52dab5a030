"""The self-test: a model that speaks passes, and each way to make it talk gibberish is told by its own sentence."""

import copy
import dataclasses

import pytest
import torch
from tiny import tiny_network
from tiny_checkpoint import MANIFEST, build_model

from nextgpt_chat.checkpoints import Component
from nextgpt_chat.cli import speech_check
from nextgpt_chat.cli.self_test import self_tests
from nextgpt_chat.cli.speech_check import ANSWER, MOST_SURPRISE, QUESTION, gibberish, measure
from nextgpt_chat.content import TextPart, Turn
from nextgpt_chat.errors import CheckpointError, NextGPTError
from nextgpt_chat.language_model import LanguageModel
from nextgpt_chat.model import Example, NextGPTModel
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.prompting import make_template

TALKS = ((QUESTION, ANSWER), ("what is in this picture?", "a small red car."), ("let me hear a dog", "This is a dog."))


def teach(model, steps=40, rate=5e-3):
    """The language model learns a few answers by heart."""
    lm = model.language_model
    template = make_template("clean", lm.text, lm.signals)
    examples = [
        Example(template.example([Turn("user", (TextPart(q),)), Turn("assistant", (TextPart(a),))])) for q, a in TALKS
    ]
    learning = [p for p in lm.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model.captioning_loss(examples).total.backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def whole():
    """A model that speaks; tests get fresh copies of what they change."""
    return teach(build_model())


@pytest.fixture
def pipe(whole):
    """Decoders and ImageBind are shared (see ``own_decoder``), the language model and the projections are not."""
    tokenizer = whole.language_model.tokenizer
    network = tiny_network(len(tokenizer))
    network.load_state_dict(whole.language_model.network.state_dict())
    projections = copy.deepcopy(dict(whole.output_projection))
    language_model = LanguageModel(network, tokenizer)
    model = NextGPTModel(whole.imagebind, whole.input_projection, language_model, projections, whole.decoders)
    return NextGPTPipeline(model.eval(), MANIFEST)


def own_decoder(pipe, kind):
    """A decoder of this pipeline alone."""
    pipe.model.decoders[kind] = copy.deepcopy(pipe.model.decoders[kind])
    return pipe.model.decoders[kind]


def report(pipe, *wanted):
    """Title without "self-test" → the message, or the error."""
    found = {}
    for title, check in self_tests(pipe):
        name = title.removeprefix("self-test ")
        if not wanted or name in wanted:
            try:
                found[name] = check()
            except NextGPTError as error:
                found[name] = error
    return found


def complaint(pipe, name):
    error = report(pipe, name)[name]
    assert isinstance(error, CheckpointError), f"{name} was passed: {error}"
    return str(error)


def weights(pipe):
    causal = pipe.model.language_model.causal
    return causal.get_input_embeddings().weight.data, causal.get_output_embeddings().weight.data


def add_adapter(pipe, scale):
    """LoRA whose B matrices are random, of this size."""
    lm = pipe.model.language_model
    lm.add_adapter(rank=4)
    for name, weight in lm.network.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * scale
    lm.eval()


def test_a_model_that_speaks_passes_every_check(pipe):
    found = report(pipe)
    assert not {name: error for name, error in found.items() if isinstance(error, Exception)}
    assert ANSWER in found["words"]
    kinds = ("image", "audio", "video")
    assert {"text", *kinds, *(f"{k} decoder" for k in kinds), *(f"{k} conditioning" for k in kinds)} <= found.keys()


def test_the_measure_tells_what_speaks_from_what_does_not_by_a_wide_margin(pipe):
    sane = measure(pipe)
    pipe.model.language_model.network = tiny_network(len(pipe.model.language_model.tokenizer), seed=1)
    random = measure(pipe)
    assert sane.answer < 0.2 * MOST_SURPRISE * sane.chance and sane.knows
    assert random.answer > 1.5 * MOST_SURPRISE * random.chance and not random.knows


def test_an_untrained_model_is_gibberish_by_both_measures(pipe):
    pipe.model.language_model.network = tiny_network(len(pipe.model.language_model.tokenizer))
    found = report(pipe, "language", "words")
    assert "gibberish" in str(found["language"]) and "never trained" in str(found["language"])
    assert isinstance(found["words"], CheckpointError)


def test_permuted_token_rows_are_noticed(pipe):
    embedding, head = weights(pipe)
    order = torch.randperm(len(embedding), generator=torch.Generator().manual_seed(0))
    embedding.copy_(embedding[order].clone())
    head.copy_(head[order].clone())
    assert "token rows or a tokenizer" in complaint(pipe, "language")


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_vocabulary_shifted_by_one_is_called_so(pipe, shift):
    for rows in weights(pipe):
        rows.copy_(rows.roll(shift, 0))
    assert "shifted by one" in complaint(pipe, "language")


def test_another_base_under_the_checkpoints_token_rows_is_noticed(pipe):
    """As Vicuna v1.5 with the rows that were trained for v0: only the layers between are another model's."""
    own = pipe.model.language_model.network
    other = tiny_network(own.config.vocab_size, seed=5).state_dict()
    own.load_state_dict({k: v for k, v in other.items() if ".layers." in k}, strict=False)
    said = complaint(pipe, "language")
    assert "another base language model" in said and "Vicuna v1.5 or LLaMA-2" in said


def test_an_adapter_of_another_base_is_noticed(pipe):
    add_adapter(pipe, 3.0)
    said = complaint(pipe, "language")
    assert "the adapter was trained on another base" in said


def test_an_adapter_of_zeros_is_noticed(pipe):
    add_adapter(pipe, 0.0)
    assert "all zeros" in complaint(pipe, "adapter")


def test_an_adapter_that_does_its_work_is_described(pipe):
    add_adapter(pipe, 1e-3)
    assert report(pipe, "adapter")["adapter"] == "applied to 8 layers"
    pipe.model.language_model.network.base_model.disable_adapter_layers()
    assert "switched off" in complaint(pipe, "adapter")


def test_an_adapter_that_was_not_applied_is_noticed(pipe):
    pipe.manifest = dataclasses.replace(MANIFEST, components={"adapter": Component("adapter")})
    assert "none is applied" in complaint(pipe, "adapter")
    pipe.manifest = MANIFEST
    assert report(pipe, "adapter")["adapter"] == "the checkpoint has none"


def test_an_answer_without_end_points_to_the_missing_delta(pipe, monkeypatch):
    """LLaMA itself finds plain words likely, but does not answer and stop."""
    monkeypatch.setattr(speech_check, "LONGEST", 4)
    said = complaint(pipe, "words")
    assert "does not come to an end" in said and "--llm-delta" in said


@pytest.mark.parametrize("which", [0, 1], ids=["embedding", "head"])
def test_signal_rows_at_their_initial_values_are_noticed(pipe, which):
    """Resizing a vocabulary sets new rows to the mean of the others, nearly (transformers) or exactly (2024's code)."""
    rows, signals = weights(pipe)[which], sorted(pipe.model.language_model.signals.all)
    mean = rows[:400].mean(0)
    rows[signals] = mean * rows[:400].norm(dim=-1).median() / mean.norm()
    assert "all alike" in complaint(pipe, "token rows")
    rows[signals] = mean * 1e-3
    assert "resized" in complaint(pipe, "token rows")
    rows[signals[5]] = float("nan")
    assert "no numbers" in complaint(pipe, "token rows")


def test_surplus_rows_are_noticed_where_the_published_vocabulary_is_expected(pipe):
    lm = pipe.model.language_model
    lm.causal.resize_token_embeddings(len(lm.tokenizer) + 2)
    assert "438 tokens" not in str(report(pipe, "signal tokens")["signal tokens"])  # a model of one's own may have them
    pipe.manifest = dataclasses.replace(MANIFEST, template="v0")
    assert "440 token rows" in complaint(pipe, "signal tokens")


def test_signal_tokens_in_the_wrong_place_are_noticed(pipe, monkeypatch):
    pipe.manifest = dataclasses.replace(MANIFEST, template="v0")
    assert "402 to 437" in report(pipe, "signal tokens")["signal tokens"]
    tokenizer = pipe.model.language_model.tokenizer
    monkeypatch.setattr(type(tokenizer), "vocab_size", property(lambda self: 399))
    assert "402; on a base of 399 tokens it must be 401" in complaint(pipe, "signal tokens")
    monkeypatch.undo()
    number = tokenizer.convert_tokens_to_ids
    swapped = {"[IMG1]": 404, "[IMG2]": 403}
    monkeypatch.setattr(tokenizer, "convert_tokens_to_ids", lambda name: swapped.get(name, number(name)))
    assert isinstance(report(pipe, "signal tokens")["signal tokens"], CheckpointError)


def test_it_says_how_the_media_marks_are_read(pipe):
    assert "are tokens, 400 and 401 (decided by the tokenizer)" in report(pipe, "media marks")["media marks"]
    lm = pipe.model.language_model
    lm.signals = dataclasses.replace(lm.signals, open=None, close=None)
    pipe.manifest = dataclasses.replace(MANIFEST, extra={"img_tokens": {"mode": "text", "decided_by": "--img-tokens"}})
    assert "plain text" in report(pipe, "media marks")["media marks"]
    assert "--img-tokens" in report(pipe, "media marks")["media marks"]
    lm.signals = dataclasses.replace(lm.signals, open=400)
    assert "Only one" in complaint(pipe, "media marks")


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_decoder_that_overflows_is_noticed(pipe, kind):
    next(iter(own_decoder(pipe, kind).unet.parameters())).data.fill_(float("nan"))
    assert f"{kind} decoder's numbers overflow" in complaint(pipe, f"{kind} decoder")


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_decoder_that_makes_one_flat_value_is_noticed(pipe, kind):
    for weight in own_decoder(pipe, kind).vae.decoder.parameters():
        weight.data.zero_()
    assert "one flat value" in complaint(pipe, f"{kind} decoder")


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_conditioning_of_another_length_than_the_text_encoders_is_noticed(pipe, kind):
    last = pipe.model.output_projection[kind].model
    last.weight.data.mul_(100)
    last.bias.data.mul_(100)
    assert "trained for another decoder, or not at all" in complaint(pipe, f"{kind} conditioning")


@pytest.mark.parametrize(
    "text",
    [
        "Here is a red ball.",
        "Sure! I'll draw the ball for you: a small, shiny red ball on the grass.",
        "A ball.",
        "I only know picture-book things, and this does not look like one.",
        "Yes, here it is. It is a ball, a red ball, and the ball is big.",
    ],
)
def test_words_are_no_gibberish(text):
    assert gibberish(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "nothing"),
        ("ure \x01a\ufffd\ufffd\ufffdleJov", "broken"),
        ("the the the the the the the the the", "again"),
        ("}{ ;; == \\(}) $$ :: ##", "letter"),
        ("клад ball сти улица 東京 の город", "scripts"),
        ("externas Archivlink Sito webachiv kwiet bisherige vuel hinaus Geplaatst", "English"),
    ],
)
def test_gibberish_has_a_reason(text, reason):
    assert reason in gibberish(text)
