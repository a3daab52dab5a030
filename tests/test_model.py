import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_language_model import golden_model
from tiny import FakeImageBind, tiny_audio, tiny_image, tiny_model, tiny_video

from nextgpt_chat.config import TextSettings
from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.language_model import Ended, LanguageModel, SignalGroup
from nextgpt_chat.model import IGNORED, Example, NextGPTModel
from nextgpt_chat.projections import (
    InputProjection,
    OutputProjectionConfig,
    build_output_projection,
    rename_published,
)
from nextgpt_chat.prompting import MediaSegment, Prompt, SignalSegment, make_template, position_keys

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = json.loads((GOLDEN / "training.json").read_text())["cases"]
MEDIA = {"image": tiny_image, "audio": tiny_audio, "video": tiny_video}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def template(model):
    return make_template("clean", model.language_model.text, model.language_model.signals)


def talk(kind="image"):
    words = Turn("user", (MediaPart(tiny_audio()), MediaPart(tiny_image(5)), TextPart("draw it")))
    return [words, Turn("assistant", (TextPart("Here it is."), MediaPart(MEDIA[kind]())))]


def test_each_content_is_encoded_once(model):
    model.imagebind, before = FakeImageBind(), model.imagebind
    try:
        media = [tiny_image(40), tiny_audio(50), tiny_image(40)]
        first = model.embed_media(media)
        again = model.embed_media([tiny_image(40), tiny_image(41)])
    finally:
        asked, model.imagebind = model.imagebind.calls, before
    assert asked == [[media[0].sha256, media[1].sha256], [tiny_image(41).sha256]]
    assert first.shape == (3, 64)
    torch.testing.assert_close(first[0], first[2])
    torch.testing.assert_close(first[0], again[0])
    known = {media[1].sha256: torch.ones(24)}
    torch.testing.assert_close(model.encode_media([media[1]], known)[0], torch.ones(24))


def test_prompts_become_one_position_a_key(model, template):
    prompt = Prompt(template.prompt(talk()[:1]))
    embeds = model.embed_segments(prompt.segments)
    assert embeds.shape == (1, prompt.positions, 64)
    at = prompt.keys.index(tiny_image(5).sha256)
    torch.testing.assert_close(embeds[0, at], model.embed_media([tiny_image(5)])[0])
    assert model.embed_media([]).shape == (0, 64)


def test_a_reply_gives_conditionings_in_the_decoders_shapes(model, template):
    prompt = Prompt(template.prompt(talk()[:1]))
    settings = TextSettings(temperature=0, max_new_tokens=4)
    steps = list(model.reply_steps(prompt, settings, modalities={"image", "audio", "video"}))
    shapes = {s.kind: tuple(model.condition(s).shape) for s in steps if isinstance(s, SignalGroup)}
    assert shapes == {"image": (1, 6, 20), "audio": (1, 12), "video": (1, 5, 28)}
    assert isinstance(steps[-1], Ended)


def states_for(kind):
    return {"image": torch.zeros(6, 20), "audio": torch.zeros(12), "video": torch.zeros(5, 28)}[kind]


def test_loss_is_the_same_in_a_batch_and_alone(model, template):
    examples = [Example(template.example(talk(kind)), (states_for(kind),)) for kind in ("image", "image", "video")]
    short = [talk()[0], Turn("assistant", (TextPart("No."),))]
    examples.append(Example(template.example(short)))
    with torch.no_grad():
        batch = model.alignment_loss(examples)
        single = [model.alignment_loss([example]) for example in examples]
    counts = [sum(len(s.ids) for s in e.segments if not isinstance(s, MediaSegment) and s.target) for e in examples]
    mean = sum(loss.cross_entropy * n for loss, n in zip(single, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(batch.cross_entropy, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch.distance["video"], single[2].distance["video"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(batch.total, batch.cross_entropy + sum(batch.distance.values()))
    assert "audio" not in batch.distance
    video_twice = model.instruction_loss(examples[2:3])
    torch.testing.assert_close(video_twice.total, video_twice.cross_entropy + 2 * video_twice.distance["video"])


def test_gradients_reach_what_each_stage_trains(model, template):
    example = Example(template.example(talk()), (states_for("image"),))
    model.zero_grad()
    model.captioning_loss([example]).total.backward()
    assert model.input_projection.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.output_projection.parameters())
    model.zero_grad()
    model.alignment_loss([example]).total.backward()
    assert model.output_projection["image"].fc.weight.grad.abs().sum() > 0
    assert model.output_projection["video"].fc.weight.grad is None
    model.zero_grad()


def test_missing_or_misshapen_caption_states_are_refused(model, template):
    segments = template.example(talk())
    with pytest.raises(ValueError, match="fewer caption states"):
        model.alignment_loss([Example(segments)])
    with pytest.raises(ValueError, match="caption states"):
        model.alignment_loss([Example(segments, (torch.zeros(2, 20),))])


# --- the original's training, number by number -------------------------------------------------------------------


@pytest.fixture(scope="module")
def original():
    """The original's weights in our model, with LoRA (stage 3) and without (stages 1 and 2)."""
    _, language_model = golden_model()
    projections = {}
    for suffix, kind in (("", "image"), ("_audio", "audio"), ("_video", "video")):
        weights = load_file(GOLDEN / f"generation_gen_text_hidden_fcs{suffix}_weights.safetensors")
        names = {k: rename_published(k.removeprefix("delta.")) for k in weights}
        state = {name.removeprefix(f"output_projection.{kind}."): weights[k] for k, name in names.items()}
        count = len(language_model.signals.groups[kind])
        projections[kind] = build_output_projection(OutputProjectionConfig.from_state(state, num_in=count))
        projections[kind].load_state_dict(state)
    projection = InputProjection(32, 64)
    tensors = load_file(GOLDEN / "generation_llm_weights.safetensors")
    projection.load_state_dict({k: tensors[f"delta.llama_proj.{k}"] for k in ("weight", "bias")})
    return NextGPTModel(None, projection, language_model, projections).eval()


def golden_examples(case, model, tensors):
    """The case's conversations through our v0-as-trained template: examples and the media embeddings given."""
    language_model, kind = model.language_model, case.split("_")[1]
    template = make_template("v0-as-trained", language_model.text, language_model.signals)
    facts, captions = CASES[case], load_file(GOLDEN / "training_caption_embs.safetensors")
    talks = []
    if facts["stage"] == 1:
        question = TextPart("generate a caption")
        for number, caption in enumerate(facts["captions"]):
            medium = MediaPart(MEDIA[kind](number) if kind == "image" else MEDIA[kind](220.0 * (number + 1)))
            talks.append([Turn("user", (medium, question)), Turn("assistant", (TextPart(caption),))])
    elif facts["stage"] == 2:
        for caption in facts["captions"]:
            reply = Turn("assistant", (TextPart(caption), MediaPart(MEDIA[kind]())))
            talks.append([Turn("user", (TextPart(caption),)), reply])
    else:
        for number, conversation in enumerate(facts["conversations"]):
            turns = []
            for turn in conversation:
                words = TextPart(turn["value"])
                if turn["from"] == "human":
                    files = (MediaPart(tiny_image(number)),) if turn["input_modality"] == "image" else ()
                    turns.append(Turn("user", (*files, words)))
                else:
                    made = turn["output_modality"]
                    files = (MediaPart(MEDIA[made]()),) if made != "text" else ()
                    turns.append(Turn("assistant", (words, *files)))
            talks.append(turns)
    examples = []
    for number, turns in enumerate(talks):
        segments = template.example(turns, every=True)
        runs = sum(isinstance(s, SignalSegment) for s in segments)
        examples.append(Example(segments, (captions[kind][number].float(),) * runs if runs else ()))
    return examples


@pytest.mark.parametrize("case", [name for name in CASES if name != "trunc_stage2"])
def test_training_batches_and_losses_equal_the_original(case, original):
    tensors = load_file(GOLDEN / "training.safetensors")
    facts = CASES[case]
    examples = golden_examples(case, original, tensors)
    # Ids and targets.
    full, tail = tensors[f"{case}.full_targets"], tensors[f"{case}.input_ids"]
    for row, example in enumerate(examples):
        keys = position_keys(example.segments)
        learned = []
        for segment in example.segments:
            ids = (IGNORED,) if isinstance(segment, MediaSegment) else segment.ids
            learned += ids if not isinstance(segment, MediaSegment) and segment.target else [IGNORED] * len(ids)
        prefix = full.shape[1] - tail.shape[1]
        assert list(keys[prefix:]) == tail[row, : len(keys) - prefix].tolist()
        assert learned == full[row, : len(keys)].tolist()
        assert int(tensors[f"{case}.full_attention_mask"][row].sum()) == len(keys)
    # Losses. The golden media embeddings are already projected, so the projection is bypassed.
    media = [s.media for e in examples for s in e.segments if isinstance(s, MediaSegment)]
    if media:
        projected = iter(tensors[f"{case}.mm_embeds"][:, 0])
        vectors = torch.stack([next(projected) for _ in media])
        original.embed_media = lambda media, known=None: vectors
    lora = original.language_model.network
    if facts["stage"] < 3:
        lora.disable_adapter_layers()
    try:
        with torch.no_grad():
            losses = [original.captioning_loss, original.alignment_loss, original.instruction_loss][facts["stage"] - 1](
                examples
            )
    finally:
        lora.enable_adapter_layers()
        original.__dict__.pop("embed_media", None)
    assert losses.total.item() == pytest.approx(facts["loss"], rel=1e-4)
    if facts.get("mse_loss"):
        distance = next(iter(losses.distance.values()))
        assert distance.item() == pytest.approx(facts["mse_loss"], rel=1e-4)


def test_gradients_equal_the_original(original):
    facts = CASES["stage3_image"]
    for parameter in original.parameters():
        parameter.requires_grad_(True)
    original.zero_grad()
    original.instruction_loss(golden_examples("stage3_image", original, {})).total.backward()
    network: LanguageModel = original.language_model
    found = {f"llama_model.{name}": p.grad for name, p in network.network.named_parameters()}
    image = original.output_projection["image"]
    found |= {f"gen_text_hidden_fcs.0.{name}": p.grad for name, p in image.named_parameters()}
    for name, norm in facts["grad_norms"].items():
        assert found[name].norm().item() == pytest.approx(norm, rel=1e-3), name
    original.zero_grad()
