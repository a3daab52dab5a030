import pytest
import torch
from tiny import FakeImageBind, tiny_audio, tiny_image, tiny_model, tiny_video

from nextgpt_chat.config import TextSettings
from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.language_model import Ended, SignalGroup
from nextgpt_chat.model import Example
from nextgpt_chat.prompting import MediaSegment, Prompt, make_template

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


def test_some_tokens_can_weigh_more_than_the_rest(model, template):
    lm, example = model.language_model, Example(template.example(talk()), (states_for("image"),))
    first = lm.signals.groups["image"][0]
    with torch.no_grad():
        plain, heavy = (model.instruction_loss([example], weights={first: w}).cross_entropy for w in (1.0, 5.0))
        embeds, mask, targets = model.batch([example])
        at = targets[0].tolist().index(first)
        logits = lm.logits(lm.states(embeds, mask)[:, at - 1]).float()
        one = torch.nn.functional.cross_entropy(logits, targets[:, at])
    count = int((targets != -100).sum())
    torch.testing.assert_close(heavy, (plain * count + 4 * one) / (count + 4), atol=1e-4, rtol=1e-4)
    assert not torch.isclose(plain, heavy)


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
