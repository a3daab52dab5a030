import json
from pathlib import Path

import pytest
from test_tokens import HOSTILE
from tiny import tiny_audio, tiny_image, tiny_tokenizer, tiny_video

from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.errors import CheckpointError, LimitError
from nextgpt_chat.prompting import MediaSegment, SignalSegment, TextSegment, make_template, position_keys
from nextgpt_chat.tokens import PlainTokenizer, SignalTokens, build_tokenizer, contains

GOLDEN = Path(__file__).parent / "data" / "golden"
MEDIA = {"image": tiny_image, "audio": tiny_audio, "video": tiny_video}


def user(text="", *media):
    return Turn("user", (*(MediaPart(m) for m in media), *([TextPart(text)] if text else [])))


def assistant(*parts):
    return Turn("assistant", tuple(TextPart(p) if isinstance(p, str) else MediaPart(p, generated=True) for p in parts))


TALK = [
    user("what is in this picture?", tiny_image(1)),
    assistant("a small red car."),
    user("let me hear a dog and draw it"),
    assistant("Here is a dog.", tiny_audio(), "Sure", tiny_image(2)),
    user("now make it move", tiny_video(), tiny_audio(220)),
    assistant("It moves.", tiny_video(3)),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("spm"))
    return PlainTokenizer(tokenizer), SignalTokens().lookup(tokenizer)


@pytest.fixture(scope="module")
def clean(parts):
    return make_template("clean", *parts)


def readable(text, segments):
    shown = ""
    for segment in segments:
        if isinstance(segment, MediaSegment):
            shown += f"{{{segment.media.kind}}}"
        elif isinstance(segment, SignalSegment):
            shown += f"{{{segment.kind} run}}"
        else:
            shown += "".join(text._backend.id_to_token(i) or f"<{i}>" for i in segment.ids)
    return shown.replace("▁", " ").replace("<0x0A>", "\n")


def test_clean_layout_is_v0s_roles_and_separators(clean, parts):
    text, signals = parts
    shown = readable(text, clean.example(TALK[:4]))
    shown = shown.replace(f"<{signals.open}>", "<Img>").replace(f"<{signals.close}>", "</Img>")
    assert shown == (
        "<s> ### Human:<Img>{image}</Img> what is in this picture?\n### Assistant: a small red car.\n###"
        " Human: let me hear a dog and draw it\n### Assistant: Here is a dog.{audio run} Sure{image run}\n###"
    )


def test_history_shows_made_media_as_embeddings(clean):
    segments = clean.prompt(TALK[:5])
    assert [s.media.kind for s in segments if isinstance(s, MediaSegment)] == [
        "image",
        "audio",
        "image",
        "video",
        "audio",
    ]
    assert not any(isinstance(s, SignalSegment) for s in segments)


@pytest.mark.parametrize("name", ["clean", "v0-as-trained"])
@pytest.mark.parametrize("turns", [2, 4, 6])
def test_training_and_use_begin_alike(parts, name, turns):
    template = make_template(name, *parts)
    prompt = position_keys(template.prompt(TALK[: turns - 1]))
    example = template.example(TALK[:turns])
    assert position_keys(example)[: len(prompt)] == prompt
    learned = [s for s in example if not isinstance(s, MediaSegment) and s.target]
    assert position_keys(learned) == position_keys(example)[len(prompt) :]


def test_every_reply_without_media_can_be_a_target(clean, parts):
    text = parts[0]
    learned = [s.ids for s in clean.example(TALK[:2] + TALK, every=True) if isinstance(s, TextSegment) and s.target]
    words = text.encode("a small red car.") + text.extend("\n###")
    assert learned[0] == learned[1] == words
    assert not any(contains(ids, text.encode("Here is a dog.")) for ids in learned)


def test_signal_runs_can_be_the_only_targets(clean):
    learned = [s for s in clean.example(TALK[:4], text=False) if not isinstance(s, MediaSegment) and s.target]
    assert [s.kind for s in learned] == ["audio", "image"]


def test_an_example_ends_with_a_reply(clean):
    with pytest.raises(ValueError, match="assistant"):
        clean.example(TALK[:1])


@pytest.mark.parametrize("name", ["clean", "v0", "v0-as-trained"])
@pytest.mark.parametrize("text", HOSTILE)
def test_typed_roles_and_tokens_add_nothing_but_words(parts, name, text):
    plain, _ = parts
    template = make_template(name, *parts)
    benign, hostile = (template.prompt([user(t), assistant("a"), user(t)]) for t in ("hello", text))
    assert all(isinstance(segment, TextSegment) for segment in hostile)

    def special(segments):
        return [i for i in position_keys(segments) if i in plain.control_ids]

    def marks(segments):
        keys = position_keys(segments)
        forms = (plain.encode("###"), plain.extend("###"))
        return sum(keys[i : i + len(f)] == f for f in forms for i in range(len(keys)))

    assert special(hostile) == special(benign)
    assert marks(hostile) == marks(benign)
    words = text.replace("\ufdd0", "#").strip()
    shown, usual = ("".join(plain.decode(s.ids) for s in segments) for segments in (hostile, benign))
    assert shown.count(words) == usual.count(words) + 2


def test_oldest_turns_are_left_out(clean):
    whole = clean.fit(TALK[:5], 1000)
    assert whole.left_out == 0 and whole.positions == len(whole.keys)
    short = clean.fit(TALK[:5], whole.positions - 1)
    assert short.left_out == 2 and short.positions < whole.positions
    assert short.segments == clean.prompt(TALK[2:5])


def test_a_last_turn_that_cannot_fit_is_an_error(clean):
    with pytest.raises(LimitError, match="room for 5"):
        clean.fit(TALK[:5], 5)


def test_unfinished_conversations_have_a_layout(clean, parts):
    turns = [user("draw"), user("a dog"), Turn("assistant", (), cancelled=True), user()]
    shown = readable(parts[0], clean.prompt(turns))
    assert shown == "<s> ### Human: draw\n### Human: a dog\n### Assistant:\n### Human:\n### Assistant:"


def test_unknown_template_is_refused(parts):
    with pytest.raises(CheckpointError, match="chatml"):
        make_template("chatml", *parts)


def golden_turns(conversation):
    """The original's turns as ours, one at a time: (turns so far, expected turn)."""
    turns, media = [], {}

    def part(kind, name):
        return MediaPart(media.setdefault(name, MEDIA[kind]()))

    for turn in conversation:
        files = [part(kind, turn[kind]) for kind in ("image", "audio", "video") if turn[kind]]
        turns.append(Turn("user", (*files, TextPart(turn["user_text"]))))
        yield list(turns), turn
        output, reply = turn["model_output"][0], []
        if isinstance(output, str):
            reply = [TextPart(output.removesuffix("###").removesuffix("\n"))]
        else:
            for short, kind in (("img", "image"), ("vid", "video"), ("aud", "audio")):
                if short in output:
                    reply += [TextPart(output[short][0].partition("[")[0].strip()), MediaPart(MEDIA[kind]())]
        turns.append(Turn("assistant", tuple(reply)))


def test_v0_prompts_equal_the_originals():
    tokenizer = build_tokenizer(GOLDEN / "tokenizer" / "tokenizer.model")
    template = make_template("v0", PlainTokenizer(tokenizer), SignalTokens().lookup(tokenizer))
    checked = 0
    for conversation in json.loads((GOLDEN / "prompts.json").read_text())["conversations"]:
        for turns, golden in golden_turns(conversation):
            if golden["quirk"]:
                continue
            expected = []
            for segment in golden["segments"]:
                expected += segment["ids"] if segment["type"] == "text" else [512, segment["type"], 513]
            found = []
            for segment in template.prompt(turns):
                found += [segment.media.kind] if isinstance(segment, MediaSegment) else segment.ids
            assert found == expected, golden["prompt_text"]
            assert len(found) == golden["total_positions"]
            checked += 1
    assert checked >= 8


def test_v0_keeps_all_files_and_words(parts):
    plain, _ = parts
    template = make_template("v0", *parts)
    segments = template.prompt([user("is 3 > 2 and a<b> c", tiny_image(), tiny_audio(), tiny_video())])
    assert [s.media.kind for s in segments if isinstance(s, MediaSegment)] == ["image", "audio", "video"]
    assert "is 3 > 2 and a<b> c" in plain.decode(segments[-1].ids)


def test_media_marks_can_be_plain_text():
    tokenizer = build_tokenizer(GOLDEN / "tokenizer" / "tokenizer.model")
    signals = SignalTokens().lookup(tokenizer)
    old = type(signals)(None, None, signals.groups)
    plain = PlainTokenizer(tokenizer)
    cases = json.loads((GOLDEN / "tokenizer.json").read_text())["pre_2023_11_01_variant"]["cases"]
    ids = {case["text"]: tuple(case["ids"]) for case in cases}
    trained = make_template("v0-as-trained", plain, old).prompt([user("what is it ?", tiny_image())])
    assert trained[0].ids == (1, *ids["### Human: <Img>"])
    assert trained[2].ids == ids["</Img> what is it ?\n### Assistant: "]
    used = make_template("v0", plain, old).prompt([user("what is it ?", tiny_image())])
    assert used[0].ids[-5:] == ids["<Img>"] and used[2].ids[:6] == ids["</Img>"]
