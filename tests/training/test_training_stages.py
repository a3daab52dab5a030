"""The stages themselves, at a tiny size: what each freezes and trains, and the whole recipe from nothing."""

import contextlib
import random
import re

import pytest
import torch
from tiny import EMBEDDING_WIDTH, OUTPUT_SHAPES, tiny_model

from nextgpt_chat.checkpoints import load_model
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.picturebook import captions
from nextgpt_chat.picturebook.dialogues import MediaSlot, dialogue
from nextgpt_chat.prompting import MediaSegment, SignalSegment, TextSegment
from nextgpt_chat.training import alignment, joining, shipping, stages, word_vectors
from nextgpt_chat.training.between import asked_otherwise, told_between
from nextgpt_chat.training.loop import Recipe
from nextgpt_chat.training.renaming import has_known_source, only_decided, only_said, renamed
from nextgpt_chat.training.stand_ins import BetweenSlot, OnlyDecided, OnlySaidSlot
from nextgpt_chat.training.workshop import make_workshop


class FakeEmbeddings(alignment.Embeddings):
    def __init__(self):
        super().__init__(None, jitter=0.0)

    def of(self, slots):
        torch.manual_seed(0)
        return {self.key(slot): torch.randn(EMBEDDING_WIDTH) for slot in slots}


class FakeStates(alignment.CaptionStates):
    def __init__(self):
        super().__init__({})

    def of(self, wanted):
        torch.manual_seed(1)
        shapes = [OUTPUT_SHAPES[kind] for kind, _ in wanted]
        return [torch.randn(shape[1:] if shape[0] == 1 else shape) for shape in shapes]


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path)


def trained_by(stage, model, tmp_path):
    """Names of what moved in three steps of a stage."""
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    before = {}

    def draw(rng):
        if not before:
            before.update({name: value.detach().clone() for name, value in model.state_dict().items()})
        return joining.stage_dialogue(stage)(rng)

    recipe = Recipe(steps=3, learning_rate=0.01, batch=4, warmup=1, precision="fp32", weight_decay=0.0)
    result = alignment.train_stage(stage, model, examples, draw, recipe, tmp_path / "run", rank=2)
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}, result


def only(moved, *parts):
    return all(any(part in name for part in parts) for name in moved)


def test_stage_1_moves_the_input_projection_alone(model, tmp_path):
    moved, result = trained_by(1, model, tmp_path)
    assert moved == {"input_projection.weight", "input_projection.bias"}
    wanted = sum(p.numel() for p in model.input_projection.parameters())
    assert result["trained share"] == pytest.approx(wanted / sum(p.numel() for p in model.parameters()))


def test_stage_2_moves_output_projections_and_signal_rows(model, tmp_path):
    moved, _ = trained_by(2, model, tmp_path)
    assert only(moved, "output_projection.", "trainable_tokens_delta")
    assert any("trainable_tokens_delta" in name for name in moved)
    for kind in OUTPUT_SHAPES:
        assert any(name.startswith(f"output_projection.{kind}.") for name in moved)


def test_stage_3_moves_lora_projections_and_signal_rows(model, tmp_path):
    moved, _ = trained_by(3, model, tmp_path)
    assert only(moved, "output_projection.", "input_projection.", "trainable_tokens_delta", "lora_")
    assert any("lora_" in name for name in moved)


def test_only_the_signal_tokens_rows_change(model, tmp_path):
    rows = model.language_model.causal.get_input_embeddings().weight.detach().clone()
    signals = sorted(model.language_model.signals.all)
    trained_by(2, model, tmp_path)
    model.language_model.save(tmp_path / "saved")
    from transformers import AutoModelForCausalLM

    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").get_input_embeddings().weight
    changed = [i for i in range(len(rows)) if not torch.equal(rows[i], again[i])]
    assert changed and set(changed) <= set(signals)


def test_forced_media_are_no_target_of_the_words(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    forced = dialogue(4, kind="forced")
    while not forced.forced:
        forced = dialogue(random.Random(9), kind="forced")
    batch, known = examples.batch([forced])
    signals = model.language_model.signals
    losses = model.instruction_loss(batch, known)
    assert set(losses.distance) == set(forced.forced)
    from nextgpt_chat.model import _targets

    assert not {target for target in _targets(batch[0].segments)} & set().union(*signals.groups.values())


def test_an_unknown_stage_and_an_unknown_setting_are_named():
    with pytest.raises(NextGPTError, match=r"'stage9'.*stage3"):
        stages.run("stage9")
    with pytest.raises(NextGPTError, match="'colour'"):
        make_workshop({"colour": 3})
    with pytest.raises(NextGPTError, match="'lm'"):
        make_workshop({"lm": {"pace": 3}})
    with pytest.raises(NextGPTError, match=r"'huge'.*mini"):
        make_workshop({"preset": "huge"})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"root": 5}, "'root'"),
        ({"preset": ["mini"]}, "'preset'"),
        ({"gates": "no"}, "'gates'"),
        ({"device": "gpu"}, "'gpu'"),
        ({"lora_rank": "x"}, "'lora_rank'"),
        ({"imagebind_batch": [4, 4]}, "3 whole numbers"),
        ({"vae": {"steps": "100"}}, r"'vae\.steps'"),
        ({"vae": {"muon": 1}}, r"'vae\.muon'"),
        ({"vae": 100}, "'vae'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_before_anything_is_trained(config, named):
    with pytest.raises(NextGPTError, match=named):
        make_workshop({"preset": "tiny", **config})
    assert make_workshop({"preset": "tiny", "vae": {"learning_rate": 1}, "imagebind_batch": [1, 2, 3]})


def test_a_folder_with_other_things_is_never_the_result(tmp_path):
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for out in (mine, run, tmp_path):
        with pytest.raises(NextGPTError, match="Choose another folder for 'out'"):
            make_workshop({"preset": "tiny", "root": str(run), "out": str(out)})
    (mine / "thesis.txt").unlink()
    assert make_workshop({"preset": "tiny", "root": str(run), "out": str(mine)}).out == mine


@pytest.mark.parametrize("fails", [True, False])
def test_shipped_parts_go_only_when_the_checkpoint_stands(tmp_path, monkeypatch, model, fails):
    w = make_workshop({"preset": "tiny", "root": str(tmp_path / "run"), "out": str(tmp_path / "out")})
    (w.out / "imagebind").mkdir(parents=True)

    def save(model, manifest, folder, **rest):
        if fails:
            raise NextGPTError("disk full")
        folder.mkdir()
        (folder / "nextgpt.json").write_text("{}")

    monkeypatch.setattr(shipping, "load_stage", lambda w, stage: model)
    monkeypatch.setattr(shipping, "known_world", lambda imagebind: None)
    monkeypatch.setattr(shipping, "save_model", save)
    with pytest.raises(NextGPTError) if fails else contextlib.nullcontext():
        shipping.ship(w)
    assert [path.name for path in w.out.iterdir()] == ["imagebind" if fails else "nextgpt.json"]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def runs_of(monkeypatch, tmp_path, stopped_in=None):
    """Every stage leaves a part with its name; the stages that ran, and what was shipped."""
    ran, shipped = [], []

    def runner(name):
        def run(w):
            ran.append(name)
            w.state(name).mkdir(parents=True, exist_ok=True)
            (w.state(name) / "state.pt").touch()
            if name == stopped_in:
                raise NextGPTError("stopped")
            return {"minutes": 1.0}

        return run

    def ship(w):
        if stopped_in == "shipping":
            raise NextGPTError("stopped")
        shipped.append(w.out)
        w.out.mkdir(exist_ok=True)
        (w.out / "nextgpt.json").write_text("{}")

    monkeypatch.setattr(stages, "RUNNERS", {name: runner(name) for name in stages.STAGES})
    monkeypatch.setattr(stages.shipping, "ship", ship)
    return ran, shipped


def test_shipping_that_failed_is_done_by_the_next_run(tmp_path, monkeypatch):
    config = {"preset": "tiny", "root": str(tmp_path)}
    runs_of(monkeypatch, tmp_path, stopped_in="shipping")
    with pytest.raises(NextGPTError, match="stopped"):
        stages.run("all", config)
    ran, shipped = runs_of(monkeypatch, tmp_path)
    assert stages.run("all", config, resume=True) == {} and not ran
    assert shipped == [tmp_path / "checkpoint"]
    stages.run("all", config, resume=True)
    assert len(shipped) == 1  # once is enough,
    (tmp_path / "checkpoint" / "nextgpt.json").unlink()
    stages.run("all", config, resume=True)
    assert len(shipped) == 2  # unless it is gone


def test_what_is_begun_anew_and_stopped_is_not_taken_for_done(tmp_path, monkeypatch):
    config = {"preset": "tiny", "root": str(tmp_path)}
    runs_of(monkeypatch, tmp_path)
    stages.run("all", config)
    (tmp_path / "parts" / "vocoder").mkdir(parents=True)
    runs_of(monkeypatch, tmp_path, stopped_in="image")
    with pytest.raises(NextGPTError, match="stopped"):
        stages.run("all", config)
    ran, _ = runs_of(monkeypatch, tmp_path)
    stages.run("all", config, resume=True)
    assert ran == list(stages.STAGES[stages.STAGES.index("image") :])
    runs_of(monkeypatch, tmp_path, stopped_in="vae")
    with pytest.raises(NextGPTError, match="stopped"):
        stages.run("vae", config, resume=True)
    ran, shipped = runs_of(monkeypatch, tmp_path)
    stages.run("all", config, resume=True)
    assert ran == ["vae"] and not shipped


def test_parts_that_are_shipped_in_an_unfinished_checkpoint_are_not_trained_again(tmp_path, monkeypatch):
    out = tmp_path / "checkpoint"
    for folder in ("image_decoder/vae", "imagebind", "language_model"):
        (out / folder).mkdir(parents=True)
        (out / folder / "config.json").write_text("{}")
    ran, _ = runs_of(monkeypatch, tmp_path)
    stages.run("all", {"preset": "tiny", "root": str(tmp_path / "run"), "out": str(out)}, resume=True)
    assert ran == [name for name in stages.STAGES if name not in ("vae", "imagebind", "lm")]


def test_a_stage_says_which_one_must_come_before_it(tmp_path):
    with pytest.raises(NextGPTError, match="train vae"):
        stages.run("image", {"preset": "tiny", "root": str(tmp_path), "device": "cpu"})


def test_a_resumed_run_takes_frozen_parts_from_an_unfinished_checkpoint(tmp_path):
    shipped = tmp_path / "shipped"
    config = {"preset": "tiny", "root": str(tmp_path / "run"), "out": str(shipped)}
    assert make_workshop(config).find("imagebind") is None
    (shipped / "imagebind").mkdir(parents=True)
    assert make_workshop(config).find("imagebind") is None  # a folder without its file is no part
    (shipped / "imagebind" / "config.json").write_text("{}")
    assert make_workshop(config).find("imagebind") == shipped / "imagebind"
    assert make_workshop(config, resume=False).find("imagebind") is None
    (shipped / "nextgpt.json").write_text("{}")
    assert make_workshop(config).find("imagebind") is None  # a finished checkpoint is replaced, not built upon
    (shipped / "nextgpt.json").unlink()
    own = make_workshop(config).part("imagebind")
    own.mkdir(parents=True)
    assert make_workshop(config).find("imagebind") == own


@pytest.mark.slow
def test_the_whole_recipe_runs_from_nothing_to_a_checkpoint_and_resumes(tmp_path):
    config = {"preset": "tiny", "root": str(tmp_path), "device": "cpu", "gates": True}
    checked = []
    numbers = stages.run("all", config, check=lambda stage, w: checked.append(stage) or {})
    assert checked == list(stages.STAGES) == list(numbers)
    assert all(numbers[stage]["loss"] > 0 for stage in numbers)
    assert stages.run("all", config, resume=True) == {}
    model, manifest = load_model(tmp_path / "checkpoint", "cpu", "float32")
    assert set(model.decoders) == {"image", "audio", "video"}
    assert manifest.unknown_media is not None
    card = (tmp_path / "checkpoint" / "README.md").read_text()
    assert all(f"| {stage} |" in card for stage in stages.STAGES)


def test_the_word_for_what_lies_between_the_words_is_not_learned(model):
    others = word_vectors.other_words(model.language_model)
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    for number in range(20):
        one = dialogue(number, kind=("describe_audio", "describe_image")[number % 2])
        told = told_between(one, others, random.Random(number))
        (slot,) = told.turns[0].slots
        (example,), _ = examples.batch([told], every=True)
        texts = [s for s in example.segments if isinstance(s, TextSegment)]
        *_, before, unsaid, after = texts
        assert (before.target, unsaid.target, after.target) == (True, False, True)
        assert unsaid.ids == tuple(model.language_model.text.encode(slot.unsaid))
        (whole,), _ = examples.batch([one], every=True)
        assert sum(len(s.ids) for s in texts if s.target) < sum(
            len(s.ids) for s in whole.segments if isinstance(s, TextSegment) and s.target
        )


def test_only_the_medium_of_what_is_asked_otherwise_is_learned_never_its_words(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    for number in range(20):
        one = dialogue(number, kind=("make_audio", "make_image")[number % 2])
        asked = asked_otherwise(one, random.Random(number))
        (example,), _ = examples.batch([asked], every=True)
        words = [s for s in example.segments if isinstance(s, TextSegment) and s.target]
        assert bool(words) is (asked is one)
        (run,) = (s for s in example.segments if isinstance(s, SignalSegment))
        assert run.target


def test_without_pitches_their_words_alone_are_not_learned_wherever_a_reply_has_them(model):
    text, examples = model.language_model.text, alignment.Examples(model, FakeEmbeddings(), FakeStates())
    several = (dialogue(number, kind="make_several") for number in range(400))
    two_sounds = next(one for one in several if one.turns[-1].text.count(" pitch") == 2)
    for one in (two_sounds, dialogue(0, kind="describe_audio"), dialogue(0, kind="make_image")):
        whole, kept = (
            [i for s in example.segments if isinstance(s, TextSegment) and s.target for i in s.ids]
            for pitches in (True, False)
            for (example,) in [examples.batch([one], every=True, pitches=pitches)[0]]
        )
        left_out = [tuple(text.encode(word)) for word in re.findall(r"(\w+) pitch", one.turns[-1].text)]
        assert len(whole) - len(kept) == sum(map(len, left_out))
        rest = iter(whole)
        assert all(token in rest for token in kept)  # the others stay, in their order


def test_pitches_are_left_out_of_stage_3_alone(model, tmp_path, monkeypatch):
    learned = {}

    def train_stage(stage, *args, pitches, **options):
        learned[stage] = pitches
        raise NextGPTError("enough")

    monkeypatch.setattr(joining, "load_stage", lambda *args, **options: model)
    monkeypatch.setattr(alignment, "train_stage", train_stage)
    for stage in (1, 2, 3):
        with pytest.raises(NextGPTError, match="enough"):
            joining.train_alignment(stage)(make_workshop({"preset": "tiny", "root": str(tmp_path)}))
    assert learned == {1: True, 2: True, 3: False}


def test_of_an_invented_source_the_pitch_is_learned(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    one = dialogue(1, kind="describe_audio")
    every = (renamed(one, {"source": ["always"], "pitch": ["under"]}, random.Random(seed)) for seed in range(50))
    told = next(t for t in every if not has_known_source(t) and " normal pitch" in t.turns[-1].text)
    (example,), known = examples.batch([told], every=True, pitches=False)
    reply = [s for s in example.segments if isinstance(s, TextSegment)][-1]
    assert reply.target and told.turns[-1].text.count(" pitch") == 1
    assert model.language_model.text.decode(reply.ids).strip().startswith(told.turns[-1].text)

    # In the medium, the source's code makes room for the word's vector; the codes of the rest stay.
    (slot,), codes = told.turns[0].slots, examples.codes
    shown, reworded = known[examples.embeddings.key(slot)], known[f"{examples.embeddings.key(slot)} said {slot.said}"]
    projection = model.input_projection
    vector = projection(reworded) - projection(shown - (shown @ codes.of(["source"]).T) @ codes.of(["source"]))
    word = examples.words.word("source", "always")
    assert torch.cosine_similarity(vector, word, 0) > 0.9  # it has some noise
    assert 1 < float((vector.norm() / word.norm()).detach()) * 3**0.5 < 3.2


def test_of_a_sound_in_other_words_only_what_is_said_is_learned(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    one = dialogue(50, kind="make_audio")
    told = renamed(one, {"source": ["always"], "pitch": ["under"]}, random.Random(1))
    signals = model.language_model.signals.groups["audio"]
    for shown in (one, only_said(told)):
        (example,), _ = examples.batch([shown], every=True)
        learned = [s for s in example.segments if isinstance(s, TextSegment | SignalSegment) and s.target]
        assert len(learned) == 3 and learned[1].ids == signals  # the words, the sound, the end
        assert len(example.states) == isinstance(learned[1], SignalSegment) == (shown is one)
        assert torch.isfinite(model.instruction_loss([example], {}).total)


def test_of_a_reply_that_nobody_asked_for_in_words_no_medium_is_to_be_said(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    others, rng = word_vectors.other_words(model.language_model), random.Random(3)
    drawn = (only_said(renamed(dialogue(rng, kind="forced"), others, rng)) for _ in range(50))
    told = next(one for one in drawn if all(isinstance(slot, OnlySaidSlot) for slot in one.targets))
    (example,), _ = examples.batch([told], every=True)
    learned = {token for s in example.segments if isinstance(s, TextSegment) and s.target for token in s.ids}
    assert learned and not learned & set(model.language_model.signals.all)


def test_of_a_reply_to_another_request_only_which_media_come_is_learned(model):
    examples = alignment.Examples(model, FakeEmbeddings(), FakeStates())
    told, made = dialogue(1, kind="describe_audio"), dialogue(1, kind="make_several")
    text, signals = model.language_model.text, model.language_model.signals
    batch, _ = examples.batch(
        [only_decided(told, made.turns[0].text), only_decided(made, told.turns[0].text)], every=True
    )
    for example, one, other in zip(batch, (told, made), (made, told), strict=True):
        ids = [token for s in example.segments if not isinstance(s, MediaSegment) for token in s.ids]
        said = text.decode([token for token in ids if token not in signals.all])
        assert other.turns[0].text in said and one.turns[0].text not in said
        assert said.index(one.turns[1].parts[0]) > said.index(other.turns[0].text)
        assert not example.states

    ends, runs = ([s.ids for s in e.segments if isinstance(s, TextSegment) and s.target] for e in batch)
    assert ends == [examples.template.end] and batch[0].segments[-1].target
    assert len(made.targets) > 1 and runs == [signals.groups[slot.kind] for slot in made.targets]
    assert torch.isfinite(model.instruction_loss(batch, examples.batch([told])[1]).total)

    # The words stand where the request's own stood: files come before them, as in the pipeline.
    assert [type(part) for part in told.turns[0].parts] == [MediaSlot, str]
    assert only_decided(told, "banana").turns[0].parts == (told.turns[0].slots[0], "banana")
    unasked = dialogue(1, kind="forced")
    assert only_decided(unasked, "banana") is unasked and only_decided(told, "") is told


def given(drawn, slot_type):
    return [one for one in drawn for slot in one.turns[0].slots if isinstance(slot, slot_type)]


def test_stage_1_also_describes_what_lies_between_the_words(tmp_path):
    others = word_vectors.other_words(tiny_model(tmp_path).language_model)
    draw, rng = joining.stage_dialogue(1, others=others), random.Random(0)
    drawn = [draw(rng) for _ in range(300)]
    assert 20 < len(given(drawn, BetweenSlot)) < 75
    assert all(one.kind.startswith("describe_") for one in drawn)
    plain = [joining.stage_dialogue(1)(rng) for _ in range(100)]
    assert not given(plain, BetweenSlot)


def test_stage_3_also_asks_in_other_words_and_gives_what_lies_between_the_words(tmp_path):
    others = word_vectors.other_words(tiny_model(tmp_path).language_model)
    draw, rng = joining.stage_dialogue(3, others=others), random.Random(0)
    drawn = [draw(rng) for _ in range(300)]
    asked = [
        s
        for one in drawn
        for s in one.turns[-1].slots
        if s.value is not None and s.caption != captions(s.value)[0] and not isinstance(s, OnlySaidSlot)
    ]
    assert 3 < len(asked) < 75
    between = given(drawn, BetweenSlot)
    assert 50 < len(between) < 150
    assert any(one.kind.startswith("across_to_") for one in between)
    invented = [one for one in drawn for slot in one.turns[-1].slots if isinstance(slot, OnlySaidSlot)]
    assert 40 < len(invented) < 110
    assert any(one.kind == "change_audio" and not has_known_source(one) for one in invented)
    assert sum(len(one.targets) > 1 for one in drawn) > 20
    assert 40 < sum(one.kind.startswith("change_") for one in drawn) < 120
    assert 45 < sum(isinstance(one, OnlyDecided) for one in drawn) < 105
    plain = [joining.stage_dialogue(3)(rng) for _ in range(100)]
    assert not any(isinstance(one, OnlyDecided) for one in plain)
    invented = word_vectors.SaidSlot | BetweenSlot | OnlySaidSlot
    assert not any(isinstance(s, invented) for one in plain for turn in one.turns for s in turn.slots)


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_an_output_projection_also_learns_from_what_nobody_asks_for_in_words(kind):
    learned, rng = joining.projection_dialogue(kind, joining.stage_dialogue(3)), random.Random(0)
    drawn = [learned(rng) for _ in range(200)]
    assert all(any(slot.kind == kind for slot in one.turns[-1].slots) for one in drawn)
    assert 25 < sum(bool(one.forced) for one in drawn) < 60
    assert 60 < sum(one.kind == f"make_{kind}" for one in drawn) < 120
    assert sum(len(one.targets) > 1 for one in drawn) > 25
    changed = {captions(s.value)[0] != s.caption for one in drawn for s in one.turns[-1].slots if s.kind == kind}
    assert changed == {True, False}  # requests in other words
    plain = joining.projection_dialogue(kind, joining.stage_dialogue(3), makes=(kind,), otherwise=False)
    for one in (plain(rng) for _ in range(100)):
        assert {(slot.kind, slot.caption) for slot in one.turns[-1].slots} <= {
            (kind, captions(slot.value)[0]) for slot in one.turns[-1].slots
        }


def test_what_begins_a_medium_and_what_follows_one_weighs_more_in_stage_3(model, tmp_path, monkeypatch):
    lm, examples = model.language_model, alignment.Examples(model, FakeEmbeddings(), FakeStates())
    given = []

    def instruction_loss(batch, known=None, *, weights, measure):
        given.append((batch, weights))
        raise NextGPTError("enough")

    monkeypatch.setattr(model, "instruction_loss", instruction_loss)
    recipe = Recipe(steps=1, learning_rate=0.01, batch=2, precision="fp32")
    with pytest.raises(NextGPTError, match="enough"):
        alignment.train_stage(3, model, examples, lambda rng: dialogue(rng, kind="make_image"), recipe, tmp_path)
    ((batch, weights),) = given
    (end,) = {s.ids[0] for e in batch for s in e.segments[-1:]}  # the role mark's line, after the picture
    assert weights == {lm.signals.groups["image"][0]: alignment.DECIDING, end: alignment.DECIDING}
    description = examples.batch([dialogue(1, kind="describe_image")], every=True)[0][0].segments[-1].ids
    assert end in description  # the end of a reply without a medium weighs as much
