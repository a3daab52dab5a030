import json
import threading
from pathlib import Path

import pytest
import torch
from parity_cases.folder import GoldenFolder
from parity_cases.generation import reply_steps
from parity_cases.published import PublishedWeights
from safetensors.torch import load_file
from tiny import tiny_language_model, tiny_network, tiny_tokenizer

from nextgpt_chat.config import TextSettings
from nextgpt_chat.errors import CheckpointError, LimitError
from nextgpt_chat.language_model import LanguageModel, PrefixCache, SignalGroup, TextPiece, generation, next_token
from nextgpt_chat.language_model.sampling import TextStream

GOLDEN = Path(__file__).parent / "data" / "golden"
GREEDY = TextSettings(temperature=0, max_new_tokens=60)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(generation, "BLOCK", 4)  # the prompts here are short


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lm")


@pytest.fixture
def model(folder):
    return tiny_language_model(folder)


class Script:
    """Makes a model's logits follow a list of ids; after a wrong or missing step it repeats the stop."""

    def __init__(self, model, ids, then=()):
        self.model, self.queue, self.then, self.calls = model, list(ids), list(then), 0
        model.logits = self

    def __call__(self, states):
        self.calls += 1
        rows = torch.full((*states.shape[:-1], self.model.causal.config.vocab_size), -5.0)
        rows[..., self.queue.pop(0) if self.queue else self.model.text.eos] = 5.0
        return rows


def prompt_of(model, text="what is in this picture?"):
    ids = (1, *model.text.encode(text))
    return model.embed(ids)[None].detach(), ids


def run(model, text="what is in this picture?", settings=GREEDY, **options):
    embeds, ids = prompt_of(model, text)
    return list(model.generate(embeds, settings, keys=ids, **options))


def text_of(steps):
    return "".join(step.text for step in steps if isinstance(step, TextPiece))


def groups_of(steps):
    return [step.kind for step in steps if isinstance(step, SignalGroup)]


def test_words_and_signal_groups_of_a_reply_come_in_their_order():
    golden = GoldenFolder(GOLDEN)
    weights = PublishedWeights(golden)
    original = weights.model()
    original.language_model.add_adapter(**weights.lora)
    weights.load_lora(original.language_model)
    steps = reply_steps(golden, weights.facts, original.eval())
    shown = [step.text if isinstance(step, TextPiece) else f"[{step.kind}]" for step in steps[:-1]]
    assert "".join(shown) == "Here is a dog[image]and the video[video]sound[audio]"
    assert steps[-1].reason == "stop"


def test_signal_runs_in_one_pass_equal_one_by_one(model):
    ids = model.signals.groups["audio"]
    embeds, _ = prompt_of(model)
    Script(model, [ids[0]])
    group = next(s for s in model.generate(embeds, GREEDY) if isinstance(s, SignalGroup))
    with torch.no_grad():
        whole = model.states(torch.cat([embeds, model.embed(ids)[None]], 1))
    torch.testing.assert_close(group.hidden, whole[:, -len(ids) :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(group.embeddings, model.embed(ids)[None])


def test_cached_prefix_changes_nothing(model):
    first = run(model, settings=TextSettings(temperature=0.8, max_new_tokens=30), generator=seeded())
    assert len(model.prefixes) == 1
    lengths, states = [], model.states
    model.states = lambda embeds, *a, **k: (lengths.append(embeds.shape[1]), states(embeds, *a, **k))[1]
    again = run(model, settings=TextSettings(temperature=0.8, max_new_tokens=30), generator=seeded())
    assert lengths[0] <= 4 and lengths[1] == 1  # only the prompt's last block is computed, then token by token
    model.prefixes.clear()
    assert again[-1].ids == first[-1].ids
    longer = "what is in this picture? a small red car"
    cached = run(model, longer)[-1].ids
    model.prefixes.clear()
    assert cached == run(model, longer)[-1].ids


def test_a_remembered_prefix_changes_no_bit_of_the_states(model):
    seen, states = [], model.states
    model.states = lambda *a, **k: seen.append(states(*a, **k)[:, -1]) or seen[-1][:, None]
    settings = TextSettings(temperature=0, max_new_tokens=3)
    for text in ("what is in this picture?", "what is in this picture? a small red car", "what is in it? a car"):
        run(model, text, settings)
        warm = [row.clone() for row in seen[-3:]]
        model.prefixes.clear()
        seen.clear()
        run(model, text, settings)
        assert all(torch.equal(a, b) for a, b in zip(warm, seen[-3:], strict=True))


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def test_a_seed_repeats_and_seeds_differ(model):
    settings = TextSettings(temperature=1.5, top_p=1.0, max_new_tokens=20)
    replies = [run(model, settings=settings, generator=seeded(s))[-1].ids for s in (1, 1, 2)]
    assert replies[0] == replies[1] != replies[2]


def test_only_whole_groups_and_words_are_sampled(model):
    settings = TextSettings(temperature=2.0, top_p=1.0, max_new_tokens=200)
    steps = run(model, settings=settings, generator=seeded())
    ids, groups = list(steps[-1].ids), model.signals.groups
    position = 0
    while position < len(ids):
        kind = model.signals.kind_started_by(ids[position])
        if kind:
            assert tuple(ids[position : position + len(groups[kind])]) == groups[kind]
            position += len(groups[kind])
        else:
            assert ids[position] not in model.text.control_ids - model.eos_ids
            position += 1
    assert len(groups_of(steps)) <= 4


def test_a_turn_ends_at_every_form_of_the_stop(model):
    text = model.text
    words = text.encode("a dog.")
    for stop in (text.extend("\n###"), text.encode("###"), (*text.extend("\n"), 38, 38, 38), (text.eos,)):
        Script(model, [*words, *stop, *words])
        steps = run(model)
        assert text_of(steps) == "a dog." and steps[-1].reason == "stop"
        assert steps[-1].ids == (*words, *stop)


def test_a_hash_that_is_no_stop_is_shown(model):
    ids = model.text.encode("# one\n\n## two # three")
    Script(model, ids)
    assert text_of(run(model)) == "# one\n\n## two # three"


def test_only_whole_characters_are_streamed(model):
    ids = model.text.encode("é 😀 日本")
    assert len(ids) > 8
    Script(model, ids)
    pieces = [s.text for s in run(model) if isinstance(s, TextPiece)]
    assert "".join(pieces) == "é 😀 日本" and len(pieces) > 1
    assert not any("\ufffd" in piece for piece in pieces)


def test_asked_modalities_come_and_others_do_not(model):
    words, stop = model.text.encode("Here you are."), model.text.extend("\n###")
    first = {kind: ids[0] for kind, ids in model.signals.groups.items()}
    for asked in ({"image"}, {"audio", "video"}, {"text", "image", "audio", "video"}):
        Script(model, [*words, *stop, *stop, *stop, *stop])
        steps = run(model, modalities=asked)
        assert groups_of(steps) == [k for k in ("image", "audio", "video") if k in asked]
        assert text_of(steps) == "Here you are." and steps[-1].reason == "stop"
        # The stop was taken back: the first group follows the words.
        assert model.signals.kind_started_by(steps[-1].ids[len(words)]) in asked
    for asked in ({"text"}, set()):
        assert groups_of(run(model, settings=TextSettings(temperature=2.0, max_new_tokens=80), modalities=asked)) == []
    Script(model, [*words, first["image"], *words, first["image"], *stop, *stop])
    assert groups_of(run(model, modalities={"image"})) == ["image"]  # once each


def test_taken_back_stops_leave_the_cache_as_if_never_sampled(model):
    words, stop = model.text.encode("Here you are."), model.text.extend("\n###")
    Script(model, [*words, *stop])
    forced = next(s for s in run(model, modalities={"image"}) if isinstance(s, SignalGroup))
    model.prefixes.clear()
    Script(model, [*words, model.signals.groups["image"][0]])
    chosen = next(s for s in run(model, modalities={"image"}) if isinstance(s, SignalGroup))
    torch.testing.assert_close(forced.hidden, chosen.hidden, atol=1e-5, rtol=1e-5)


def test_asked_modalities_come_even_at_the_length_limit(model):
    Script(model, model.text.encode("Here you are my friend, at length"))
    steps = run(model, settings=TextSettings(temperature=0, max_new_tokens=3), modalities={"audio"})
    assert groups_of(steps) == ["audio"] and steps[-1].reason == "length"


def test_free_replies_have_a_bounded_number_of_groups(model):
    first = model.signals.groups["image"][0]
    Script(model, [first] * 9)
    assert len(groups_of(run(model, max_groups=2))) == 2


def test_cancel_takes_effect_within_one_token(model):
    cancel = threading.Event()
    words = model.text.encode("one two three four five six seven")
    Script(model, words)
    embeds, keys = prompt_of(model)
    seen = 0
    for step in model.generate(embeds, GREEDY, should_stop=cancel.is_set, keys=keys):
        if isinstance(step, TextPiece):
            seen += 1
            cancel.set()
    assert step.reason == "cancelled" and seen <= 2 and len(step.ids) < len(words)
    assert len(model.prefixes) == 1  # what was computed is kept


def test_cancel_takes_effect_between_two_blocks_of_the_prompt_and_the_read_ones_are_kept(model):
    embeds, keys = prompt_of(model, "one two three four five six seven eight nine ten eleven twelve")
    read, states = [], model.states
    model.states = lambda embeds, *a, **k: (read.append(embeds.shape[1]), states(embeds, *a, **k))[1]
    steps = list(model.generate(embeds, GREEDY, should_stop=lambda: len(read) == 2, keys=keys))
    assert [(step.reason, step.ids) for step in steps] == [("cancelled", ())]
    assert len(read) == 2 < len(keys) // 4
    assert model.prefixes.positions == sum(read)


def test_a_pass_that_fails_leaves_no_cache_of_unequal_layers(model):
    embeds, keys = prompt_of(model)
    Script(model, model.text.encode("one two three four five six seven eight nine ten"))
    states, calls = model.states, []

    def failing(*given, **named):
        calls.append(1)
        if len(calls) > len(keys) // 4 + 3:
            raise torch.OutOfMemoryError("full")
        return states(*given, **named)

    model.states = failing
    with pytest.raises(torch.OutOfMemoryError):
        list(model.generate(embeds, GREEDY, keys=keys))
    assert len(model.prefixes) == 0


def test_a_cropped_cache_holds_no_more_memory_than_its_positions(model):
    run(model)
    layer = model.prefixes._entries[0].cache.layers[0]
    assert layer.keys.untyped_storage().nbytes() == layer.keys.numel() * layer.keys.element_size()


def test_a_byte_that_fits_nowhere_costs_no_words_after_it(model):
    text = model.text
    stray = text.encode("日")[-1]
    Script(model, [*text.encode("Yes é"), stray, *text.extend(" a red car")])
    said = text_of(run(model))
    assert said.startswith("Yes é") and said.endswith(" a red car")


def test_a_closed_generator_keeps_a_consistent_cache(model):
    embeds, keys = prompt_of(model)
    steps = model.generate(embeds, TextSettings(temperature=2.0, top_p=1.0), keys=keys, generator=seeded())
    next(steps)
    steps.close()
    entry = model.prefixes._entries[0]
    assert len(entry.keys) == entry.cache.get_seq_length() == len(keys) // 4 * 4


def test_the_context_is_a_limit(folder):
    model = tiny_language_model(folder, context=24)
    embeds, _ = prompt_of(model)
    steps = list(model.generate(embeds, TextSettings(temperature=0, max_new_tokens=500), modalities={"text"}))
    assert steps[-1].reason in ("length", "stop") and embeds.shape[1] + len(steps[-1].ids) <= 25
    with pytest.raises(LimitError, match="24"):
        list(model.generate(embeds.repeat(1, 9, 1), GREEDY))


def test_saved_models_answer_the_same(model, tmp_path):
    model.save(tmp_path / "language_model")
    again = LanguageModel.from_folder(tmp_path / "language_model")
    assert run(again)[-1].ids == run(model)[-1].ids
    again.save(tmp_path / "language_model", max_shard_size="50KB")  # over the files it was opened from
    assert (tmp_path / "language_model" / "model.safetensors.index.json").exists()
    assert run(LanguageModel.from_folder(tmp_path / "language_model"))[-1].ids == run(again)[-1].ids
    model.save(tmp_path / "half", dtype=torch.float16)
    assert next(LanguageModel.from_folder(tmp_path / "half", dtype=torch.float16).parameters()).dtype == torch.float16


@pytest.mark.parametrize("rank", [0, 4])
def test_trained_rows_and_adapters_are_saved(folder, tmp_path, rank):
    model = tiny_language_model(folder)
    rows = sorted(model.signals.all)
    model.add_adapter(rank=rank, token_rows=rows)
    before = {k: v.clone() for k, v in model._base_state().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.1 * torch.randn(parameter.shape, generator=seeded())
    assert sum(p.numel() for p in trained) == 2 * 38 * 64 + rank * (64 + 64) * 4 * 2
    after = model._base_state()
    moved = {k: (before[k] != after[k]).any(-1).nonzero().flatten().tolist() for k in before if k in after}
    assert {k for k, where in moved.items() if where} == {"model.embed_tokens.weight", "lm_head.weight"}
    assert moved["lm_head.weight"] == rows
    adapter = tmp_path / "adapter" if rank else None
    if rank:
        with pytest.raises(ValueError, match="folder"):
            model.save(tmp_path / "language_model")
    model.save(tmp_path / "language_model", adapter)
    again = LanguageModel.from_folder(tmp_path / "language_model", adapter)
    half = LanguageModel.from_folder(tmp_path / "language_model", adapter, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}, "the adapter's, too"
    embeds, _ = prompt_of(model)
    torch.testing.assert_close(again.states(embeds), model.eval().states(embeds))
    torch.testing.assert_close(again.logits(embeds), model.logits(embeds))
    if rank:
        config = json.loads((adapter / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "../language_model"
        assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]  # in the same order each time


def test_a_tokenizer_that_does_not_fit_is_refused(folder, tmp_path):
    tokenizer = tiny_tokenizer(folder)
    with pytest.raises(CheckpointError, match="belong together"):
        LanguageModel(tiny_network(len(tokenizer) - 1), tokenizer)
    with pytest.raises(CheckpointError, match="nowhere"):
        LanguageModel.from_folder(tmp_path / "nowhere")


def test_damaged_folders_are_refused(model, tmp_path):
    from safetensors.torch import save_file

    model.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    with pytest.raises(CheckpointError, match="could not be opened"):
        LanguageModel.from_folder(tmp_path)
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="up_proj"):
        LanguageModel.from_folder(tmp_path)


def test_changed_weights_forget_cached_prefixes(model):
    run(model)
    assert len(model.prefixes) == 1
    model.train()
    assert len(model.prefixes) == 0


def test_sampling_obeys_its_settings():
    logits = torch.tensor([2.0, 1.9, 0.5, -torch.inf])
    assert next_token(logits, TextSettings(temperature=0)) == 0
    assert next_token(logits, TextSettings(temperature=1e-39)) == 0
    assert next_token(logits, TextSettings(temperature=0, repetition_penalty=1.5), seen=[0]) == 1
    assert {next_token(logits, TextSettings(temperature=1.0, top_p=0.0), generator=seeded(s)) for s in range(20)} == {0}
    half = {next_token(logits, TextSettings(temperature=1.0, top_p=0.6), generator=seeded(s)) for s in range(60)}
    assert half == {0, 1}
    free = {next_token(logits, TextSettings(temperature=2.0, top_p=1.0), generator=seeded(s)) for s in range(90)}
    assert free == {0, 1, 2}


def test_text_stream_never_shows_part_of_a_stop():
    table = {1: "a", 2: " \n", 3: "##", 4: "#", 5: " b"}
    stream = TextStream(lambda ids: "".join(table[i] for i in ids), ["###"])
    assert [stream.push(i) for i in (1, 2, 3, 5, 2, 3, 4, 1)] == ["a", "", "", " \n## b", "", "", "", ""]
    assert stream.stopped and stream.clean_length() == 4 and stream.finish() == ""


class _FakeCache:
    def __init__(self, length):
        self.length, self.layers = length, ()

    def get_seq_length(self):
        return self.length

    def crop(self, negative):
        self.length += negative


def test_prefix_cache_reuses_bounds_and_forgets():
    caches = PrefixCache(max_entries=2, max_positions=20)
    caches.put((1, 2, 3, 4), _FakeCache(4))
    assert caches.take((9, 9)) == (None, 0)
    cache, length = caches.take((1, 2, 3, 5, 6))
    assert (length, cache.length, len(caches)) == (3, 3, 0)
    caches.put((1, 2, 3, 5, 6, 7, 8, 9), cache)
    other, length = caches.take((1, 2, 0))  # shares too little: the longer talk keeps its cache
    assert (length, len(caches)) == (2, 1) and other is not cache
    caches.put((1, 2, 3, 5, 6, 7, 8, 9, 10), _FakeCache(9))  # extends the stored one
    assert len(caches) == 1
    caches.put((2,) * 8, _FakeCache(8))
    caches.put((3,) * 8, _FakeCache(8))
    assert len(caches) == 2 and caches.positions <= 20
    caches.put((4,) * 30, _FakeCache(30))  # larger than everything allowed
    assert caches.take((4, 4)) == (None, 0)
    caches.clear()
    assert len(caches) == 0
