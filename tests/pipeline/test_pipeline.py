"""The pipeline: replies, events in their order, cancelling, consistency of the conversation."""

import sys

import pytest
from tiny import tiny_image
from tiny_checkpoint import tiny_checkpoint

from nextgpt_chat.config import GenerationSettings
from nextgpt_chat.content import (
    MODALITIES,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    TextDelta,
    TextPart,
    Turn,
)
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError, LimitError
from nextgpt_chat.pipeline import NextGPTPipeline, derive_seed
from pipeline.scripted import MEDIA, TYPES, asked, facts, kinds, script

# --- replies ---------------------------------------------------------------------------------------------------


def test_a_reply_survives_saving_and_loading(pipe, tmp_path):
    first, second = asked("what is in this picture?", tiny_image(9)), asked("what is in this picture?", tiny_image(9))
    reply = pipe.reply(first, seed=3, modalities={"text", "image"})
    pipe.save_pretrained(tmp_path / "again")
    again = NextGPTPipeline.from_pretrained(tmp_path / "again", device="cpu").reply(
        second, seed=3, modalities={"text", "image"}
    )
    assert reply.text and reply.parts == again.parts and reply.seed == again.seed == 3
    assert first.turns == second.turns and first.turns[-1].parts == reply.parts
    assert (tmp_path / "again" / "README.md").read_text() == "# tiny\n"


def test_the_checkpoint_says_what_it_is(pipe):
    assert pipe.name == "tiny" and pipe.modalities == MODALITIES
    assert pipe.summary == "A tiny random checkpoint."
    assert pipe.defaults["image"]["steps"] == 4 and pipe.defaults["image"]["scheduler"] == "dpm++"
    with pytest.raises(CheckpointError, match="no-such"):
        NextGPTPipeline.from_pretrained("no-such")


def test_events_come_in_their_order(pipe, monkeypatch):
    script(monkeypatch, pipe, "Here is a ", "red car.", "image", "It goes brm.", "audio")
    conv = asked()
    events = list(pipe.stream(conv, seed=1))
    assert [facts(event)[0] if isinstance(facts(event), tuple) else type(event).__name__ for event in events] == [
        *("TextDelta", "TextDelta", "MediaStarted", *["MediaProgress"] * 4, "MediaReady"),
        *("TextDelta", "MediaStarted", *["MediaProgress"] * 3, "MediaReady", "Finished"),
    ]
    started = [event for event in events if isinstance(event, MediaStarted)]
    ready = [event for event in events if isinstance(event, MediaReady)]
    assert [event.caption for event in started] == ["Here is a red car.", "It goes brm."]
    assert [event.id for event in started] == [event.id for event in ready] == [event.part.id for event in ready]
    steps = [(event.step, event.steps) for event in events if isinstance(event, MediaProgress)]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4), (1, 3), (2, 3), (3, 3)]
    reply = events[-1].reply
    words = [part.text for part in reply.parts if isinstance(part, TextPart)]
    assert words == ["Here is a red car.", "It goes brm."] and kinds(reply.parts) == ["image", "audio"]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == reply.text
    part = ready[0].part
    assert part.generated and part.details["seed"] == 1 and part.details["steps"] == 4
    assert part.details["guidance_scale"] == 2.0 and ready[1].part.details["seconds"] == 0.5
    assert {"encode", "text", "first_token", "image", "audio", "total"} == reply.timings.keys()
    assert sum(reply.timings[one] for one in ("encode", "text", "image", "audio")) <= reply.timings["total"]
    assert conv.turns[-1] == Turn("assistant", reply.parts)


def test_previews_are_made_for_streams_but_not_for_replies(pipe, monkeypatch):
    asked_for = []
    decoder = pipe.model.decoders["image"]
    preview = decoder.preview
    monkeypatch.setattr(decoder, "preview", lambda latents: asked_for.append(1) or preview(latents))
    events = list(pipe.stream(asked(), seed=1, modalities={"image"}))
    previews = [event.preview for event in events if isinstance(event, MediaProgress)]
    assert previews[2] is not None and [previews[i] for i in (0, 1, 3)] == [None] * 3
    pipe.reply(asked(), seed=1, modalities={"image"})
    assert len(asked_for) == 1


def test_the_same_seed_gives_the_same_reply(pipe):
    wanted = {"text", "image", "audio"}
    first = pipe.reply(asked(), modalities=wanted)
    again = pipe.reply(asked(), seed=first.seed, modalities=wanted)
    by_settings = pipe.reply(asked(), GenerationSettings(seed=first.seed), modalities=wanted)
    other = pipe.reply(asked(), seed=first.seed + 1, modalities=wanted)
    assert first.parts == again.parts == by_settings.parts and first.seed == again.seed
    assert other.parts != first.parts
    assert pipe.reply(asked(), modalities={"text"}).seed != pipe.reply(asked(), modalities={"text"}).seed


def test_a_medium_does_not_depend_on_media_of_other_kinds_before_it(pipe, monkeypatch):
    script(monkeypatch, pipe, "audio", "image", "image")
    mixed = pipe.reply(asked(), seed=5)
    script(monkeypatch, pipe, "image")
    alone = pipe.reply(asked(), seed=5)
    assert kinds(mixed.parts) == ["audio", "image", "image"]
    assert mixed.parts[1].media == alone.parts[0].media != mixed.parts[2].media
    assert derive_seed(5, "image", 0) == 48831417673378533  # fixed for ever: seeds are kept in saved talks


def test_settings_go_over_the_checkpoints_defaults(pipe):
    settings = GenerationSettings().with_value("image.steps", 2).with_value("image.width", 48)
    events = list(pipe.stream(asked(), settings, seed=1, modalities={"image"}))
    assert [event.steps for event in events if isinstance(event, MediaProgress)] == [2, 2]
    assert events[-1].reply.images[0].size == (48, 32)
    with pytest.raises(LimitError, match=r"image\.width is 33 pixels.*multiple of 2"):
        pipe.stream(asked(), GenerationSettings().with_value("image.width", 33))


# --- modalities ------------------------------------------------------------------------------------------------

CELLS = [
    ((), ("image", "text")),
    (("text",), ("text",)),
    (("text",), ("audio",)),
    (("text", "image"), ("text", "audio")),
    (("text", "audio"), ("text", "image", "audio", "video")),
    (("image", "audio", "video"), ("image", "audio")),
    (("text", "image", "audio", "video"), ("video",)),
]


@pytest.mark.parametrize(("given", "wanted"), [cell for cell in CELLS if cell[0]])
def test_exactly_the_modalities_asked_for_are_produced(pipe, given, wanted):
    conv = Conversation()
    conv.add_user("a red car" if "text" in given else "", [MEDIA[kind] for kind in given if kind != "text"])
    events = list(pipe.stream(conv, seed=2, modalities=wanted))
    reply = events[-1].reply
    assert sorted(kinds(reply.parts)) == sorted(kind for kind in wanted if kind != "text")
    assert all(type(part.media) is TYPES[part.kind] for part in reply.parts if isinstance(part, MediaPart))
    said = any(isinstance(event, TextDelta) for event in events)
    assert bool(reply.text) == said == ("text" in wanted)
    assert reply.notices == ()


def test_hidden_words_still_caption_the_media(pipe, monkeypatch):
    script(monkeypatch, pipe, "Sure. Here is a car.", "image", "Bye.")
    reply = pipe.reply(asked(), seed=0, modalities={"image"})
    assert reply.text == "" and [part.caption for part in reply.parts] == ["Here is a car."]


def test_media_without_words_between_share_the_caption(pipe, monkeypatch):
    script(monkeypatch, pipe, "Hello! Here is a car.", "image", "audio")
    assert [part.caption for part in pipe.reply(asked(), seed=0).parts[1:]] == ["Here is a car."] * 2
    script(monkeypatch, pipe, "image")
    assert pipe.reply(asked("a red ball"), seed=0).parts[0].caption == "a red ball"


def test_caption_conditioning_uses_the_decoders_own_text_encoder(pipe, monkeypatch):
    script(monkeypatch, pipe, "Sure. Here is a car.", "image")
    seen = []
    decoder = pipe.model.decoders["image"]
    encode = decoder.encode_text
    monkeypatch.setattr(decoder, "encode_text", lambda captions: seen.append(captions) or encode(captions))
    by_signal = pipe.reply(asked(), seed=0)
    assert seen in ([], [[""]])  # the empty prompt of guidance
    by_caption = pipe.reply(asked(), GenerationSettings(conditioning="caption"), seed=0)
    assert seen[-1] == ["Here is a car."]
    assert by_caption.parts[-1].media != by_signal.parts[-1].media
    assert by_caption.parts[-1].details["conditioning"] == "caption"


@pytest.mark.parametrize("modalities", [(), {"smell"}, "pictures"])
def test_unknown_modalities_are_a_mistake(pipe, modalities):
    with pytest.raises(ValueError, match="modalities"):
        pipe.stream(asked(), modalities=modalities)


def test_a_modality_that_the_checkpoint_lacks_is_refused(pipe, monkeypatch):
    monkeypatch.setattr(pipe.model, "decoders", {"image": pipe.model.decoders["image"]})
    assert pipe.modalities == ("text", "image")
    with pytest.raises(LimitError, match="tiny cannot make sounds or clips; it makes words, pictures"):
        pipe.stream(asked(), modalities=["audio", "video"])


# --- conversation ----------------------------------------------------------------------------------------------


def test_media_of_earlier_turns_are_seen_and_encoded_once(pipe, monkeypatch):
    seen, encoded = [], []
    steps, encode = pipe.model.reply_steps, pipe.model.imagebind.encode_media
    monkeypatch.setattr(
        pipe.model,
        "reply_steps",
        lambda prompt, *rest, **named: seen.append(prompt.keys) or steps(prompt, *rest, **named),
    )
    monkeypatch.setattr(
        pipe.model.imagebind, "encode_media", lambda media: encoded.append(list(media)) or encode(media)
    )
    conv = asked("what is this?", tiny_image(77))
    made = pipe.reply(conv, seed=1, modalities={"text", "audio"})
    conv.add_user("and now?")
    pipe.reply(conv, seed=2, modalities={"text"})
    uploaded, generated = tiny_image(77).sha256, made.audios[0].sha256
    assert uploaded in seen[0] and uploaded in seen[1] and generated in seen[1]
    assert [[one.sha256 for one in media] for media in encoded] == [[uploaded], [generated]]


def test_the_prefix_of_a_talk_is_not_computed_again(pipe, monkeypatch):
    conv = asked("draw a big blue ball in the middle of the night sky " * 6)
    pipe.reply(conv, seed=1, modalities={"text"})
    conv.add_user("now red")
    fed = []
    states = pipe.model.language_model.states
    monkeypatch.setattr(
        pipe.model.language_model,
        "states",
        lambda embeds, *rest, **named: fed.append(embeds.shape[1]) or states(embeds, *rest, **named),
    )
    positions = []
    steps = pipe.model.reply_steps
    monkeypatch.setattr(
        pipe.model,
        "reply_steps",
        lambda prompt, *rest, **named: positions.append(prompt.positions) or steps(prompt, *rest, **named),
    )
    pipe.reply(conv, seed=2, modalities={"text"})
    assert fed[0] < positions[0] / 2


def test_oldest_turns_are_left_out_of_a_long_talk_and_the_user_is_told(pipe):
    conv = Conversation()
    for _ in range(12):
        conv.add_user("tell me more about the big blue ball in the middle of the night sky " * 3)
        conv.add_assistant([TextPart("It is a green frog on the sand.")])
    conv.add_user("and now?")
    before = conv.turns
    events = list(pipe.stream(conv, seed=1, modalities={"text"}))
    assert isinstance(events[0], Notice) and "left out" in events[0].message and "512" in events[0].message
    assert events[-1].reply.notices == (events[0].message,)
    assert conv.turns[:-1] == before and len(events[-1].reply.text) > 0


def test_a_message_longer_than_the_context_is_refused_and_the_talk_intact(pipe):
    conv = asked("word " * 2000)
    with pytest.raises(LimitError, match="Shorten the message"):
        pipe.reply(conv)
    assert [turn.role for turn in conv.turns] == ["user"]
    assert pipe.reply(asked("hello"), seed=1, modalities={"text"}).text


def test_only_a_users_turn_is_answered(pipe):
    conv = Conversation()
    for _ in range(2):
        with pytest.raises(ValueError, match="user's turn"):
            pipe.reply(conv)
        conv = asked()
        conv.add_assistant([TextPart("Yes.")])


def test_nothing_is_read_from_the_checkpoint_during_a_turn(pipe):
    opened, watching = [], [True]

    def hook(event, arguments):
        if watching and event == "open" and str(tiny_checkpoint()) in str(arguments[0]):
            opened.append(arguments[0])

    sys.addaudithook(hook)  # it cannot be taken off, only told to rest
    try:
        pipe.reply(asked("hello", tiny_image(3)), seed=1, modalities=MODALITIES)
        assert opened == []
        (tiny_checkpoint() / "nextgpt.json").read_text()
        assert len(opened) == 1  # the hook does see files
    finally:
        watching.clear()
