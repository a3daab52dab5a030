import json
from pathlib import Path

import pytest
from test_tokens import HOSTILE
from tiny import tiny_audio, tiny_image, tiny_tokenizer, tiny_video

from nextgpt_chat.content import MediaPart, TextPart, Turn
from nextgpt_chat.errors import CheckpointError, LimitError
from nextgpt_chat.prompting import MediaSegment, SignalSegment, TextSegment, cut, make_template, position_keys
from nextgpt_chat.tokens import PlainTokenizer, SignalTokens, build_tokenizer, contains

GOLDEN = Path(__file__).parent / "data" / "golden"


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


def test_a_message_whose_reply_came_to_nothing_is_not_read_but_its_files_are(clean):
    asked, unanswered = user("draw a red ball", tiny_image(1)), Turn("assistant", (), cancelled=True)
    talk = [*TALK[:2], asked, unanswered, user("a dog"), assistant(), user("what is this?")]
    assert clean.fit(talk, 1000) == clean.fit([*TALK[:2], user("what is this?", tiny_image(1))], 1000)
    assert clean.fit(talk[:3], 1000).segments == clean.prompt(talk[:3]), "the last message is always read"


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


def test_long_examples_are_cut_after_the_prefix_as_the_original_does(parts):
    template = make_template("v0-as-trained", *parts)
    turns = [user("draw a dog", tiny_image()), assistant("Here is a dog.", tiny_image(2))]
    whole = template.example(turns)
    prefix, length = template.prefix_length(turns), len(position_keys(whole))
    assert position_keys(whole)[prefix - 1] == tiny_image().sha256  # BOS, "### Human: <Img>", the medium
    assert template.example(turns, limit=length) == whole
    run = next(s for s in whole if isinstance(s, SignalSegment))
    end = position_keys(whole).index(run.ids[-1])
    for kept in (end + 1, end, end - 1, prefix + 1):
        short = template.example(turns, limit=kept - prefix)
        assert position_keys(short) == position_keys(whole)[:kept]
        assert any(isinstance(s, SignalSegment) for s in short) == (kept > end)
    # What is left of a run is learned like words.
    assert cut(whole, end)[-1].ids[-len(run.ids) + 1 :] == run.ids[:-1] and cut(whole, end)[-1].target
    assert template.prefix_length([user("hello")]) == 1 + len(parts[0].encode("### Human: "))


@pytest.mark.parametrize("name", ["clean", "v0", "v0-as-trained", "v1.5"])
def test_words_are_told_once_and_media_keep_their_order_when_several_come(parts, name):
    plain, _ = parts
    reply = assistant("Here is a dog.", tiny_image(1), "It barks.", tiny_audio(), "It runs.", tiny_video())
    segments = make_template(name, *parts).prompt([user("show me"), reply, user("thanks")])
    words = "".join(plain.decode(s.ids) for s in segments if isinstance(s, TextSegment))
    found = [words.find(said) for said in ("Here is a dog.", "It barks.", "It runs.")]
    assert -1 not in found and found == sorted(found)
    assert all(words.count(said) == 1 for said in ("Here is a dog.", "It barks.", "It runs."))
    kinds = [getattr(s, "kind", None) or s.media.kind for s in segments if not isinstance(s, TextSegment)]
    assert kinds == ["image", "audio", "video"]


@pytest.mark.parametrize("name", ["clean", "v0", "v0-as-trained", "v1.5"])
@pytest.mark.parametrize("run", ["[IMG0] [IMG1]", "[IMG1][IMG0][IMG2][IMG3]", "[AUD7]", "[IMG0][VID1][AUD2]"])
def test_malformed_signal_runs_in_words_degrade_to_text(parts, name, run):
    """As a user types them, and as an imported talk may have them in a reply."""
    plain, signals = parts
    segments = make_template(name, *parts).prompt([user(run), assistant(f"See {run} here"), user("and?")])
    assert all(isinstance(segment, TextSegment) for segment in segments)
    ids = set(position_keys(segments))
    assert not ids & {i for group in signals.groups.values() for i in group}
    assert "".join(plain.decode(s.ids) for s in segments).count(run) == 2


def test_v0_has_a_bos_before_every_text_and_none_before_media(parts):
    """One space on either side of a file is lost, as in the original; the newest words have two in front."""
    plain, signals = parts
    segments = make_template("v0", *parts).prompt([user("what is this?", tiny_image())])
    before, medium, after = segments
    assert before.ids == (1, *plain.encode("### Human:"), signals.open)
    assert medium.media == tiny_image()
    assert after.ids == (signals.close, 1, *plain.encode(" what is this?\n### Assistant:"))
    (only,) = make_template("v0", *parts).prompt([user("what is this?")])
    assert only.ids == (1, *plain.encode("### Human:  what is this?\n### Assistant:"))


def test_v0_as_trained_has_one_bos(parts):
    segments = make_template("v0-as-trained", *parts).prompt([user("what?", tiny_image()), assistant("A."), user("?")])
    assert position_keys(segments).count(1) == 1 == position_keys(segments)[0]


@pytest.mark.parametrize("name", ["clean", "v0", "v0-as-trained"])
def test_both_token_forms_of_the_role_mark_are_one_stop(parts, name):
    """``▁###`` as one piece (after signal tokens) and ``##`` ``#`` (after a line break) are the same characters."""
    plain, _ = parts
    forms = {plain.encode("###"), plain.extend("\n###")}
    assert len(forms) == 2
    assert make_template(name, *parts).stops == ("###",)
    assert all("###" in plain.decode(form) for form in forms)


def test_unknown_template_is_refused(parts):
    with pytest.raises(CheckpointError, match="chatml"):
        make_template("chatml", *parts)


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
