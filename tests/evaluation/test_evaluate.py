"""The evaluation against scripted pipelines: rates come out as the script says."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from nextgpt_chat.content import Audio, Image, MediaPart, Reply, TextPart, Video
from nextgpt_chat.evaluation import cells, picturebook, report, requests
from nextgpt_chat.evaluation.cases import attributes, choose, render
from nextgpt_chat.picturebook import CLIP_FPS, SAMPLE_RATE, Clip, Scene, Sound, captions, is_held_out, parse
from nextgpt_chat.picturebook.dialogues import UNKNOWN_MEDIA_TEXT, cell, complete
from tests.evaluation.test_gates import ReadingDecoder

LIMIT = 4


def as_medium(value, seed):
    array = render(value, seed)
    if isinstance(value, Scene):
        return Image(array)
    return Audio(array, SAMPLE_RATE) if isinstance(value, Sound) else Video(array, CLIP_FPS)


def fits(text: str, templates) -> bool:
    return any(
        text.startswith(template.split("{0}")[0]) and text.endswith(template.split("{0}")[-1]) for template in templates
    )


class Listener:
    """A pipeline that understands every request; ``spoil(case, values)`` may change what it then makes."""

    def __init__(self, known, spoil=lambda case, values: values):
        self.known, self.spoil, self.asked = known, spoil, []
        self.model = SimpleNamespace(decoders={kind: ReadingDecoder(kind) for kind in ("image", "audio", "video")})

    def reply(self, talk, settings=None, seed=None, modalities=None):
        text = talk.turns[-1].text
        self.asked.append(text)
        shown = [self.known[part.media.sha256] for turn in talk.turns for part in turn.media]
        words, values = self._answer(text, shown)
        made = [MediaPart(as_medium(value, 77 + seed), generated=True) for value in self.spoil(seed, values)]
        for part, value in zip(made, self.spoil(seed, values), strict=True):
            self.known[part.media.sha256] = value
        parts = (TextPart(words), *made)
        talk.add_assistant(parts)
        return Reply(parts, seed=seed)

    def _answer(self, text, shown):
        for key, question in requests.QUESTIONS.items():
            if text == question:
                return f"a {attributes(shown[-1])[key]} thing", []
        if any(text in texts for texts in requests._DESCRIBE.values()):
            return captions(shown[-1])[0], []
        for (_, asked), texts in requests._CROSS.items():
            if text in texts:
                return "Here.", [complete(asked, {"thing": parse_thing(shown[-1])})]
        for kinds, texts in requests._SEVERAL.items():
            if fits(text, texts):
                return "Well.", [complete(kind, parse(text)) for kind in kinds]
        for kind, texts in requests._MAKE.items():
            if fits(text, texts):
                named = parse(text)
                return "Here it is.", [complete(kind, {"thing": named.get("source"), **named})]
        if not shown:
            return "There is nothing yet.", []
        value = shown[-1]
        kind = {Scene: "image", Sound: "audio", Clip: "video"}[type(value)]
        return "Changed.", [complete(kind, {"thing": parse_thing(value), **attributes(value), **parse(text)})]


def parse_thing(value):
    words = attributes(value)
    return words.get("thing") or words["source"]


@pytest.fixture
def known(monkeypatch):
    """What every uploaded medium shows."""
    table, original = {}, picturebook.medium_of

    def remembering(value, seed):
        medium = original(value, seed)
        table[medium.sha256] = value
        return medium

    monkeypatch.setattr(picturebook, "medium_of", remembering)
    monkeypatch.setattr(cells, "medium_of", remembering)
    return table


def test_a_pipeline_that_understands_everything_has_every_row_right(known):
    steps = []
    rows = picturebook.evaluate(Listener(known), limit=LIMIT, progress=lambda *step: steps.append(step))
    assert {name: row["rate"] for name, row in rows.items() if row["rate"] < 1} == {}
    made = {f"{NAME}/{key}" for NAME, key in (("picture", "size"), ("sound", "pitch"), ("clip", "motion"))}
    told = {"words from picture/place", "words from sound/source", "words from clip/motion"}
    rest = {"modalities", "change/changed", "change/kept", "cross/picture to sound", "cross/sound to picture"}
    alone = {"autoencoder/picture/thing", "autoencoder/sound/source", "autoencoder/clip/motion", "vocoder/speed"}
    assert made | told | rest | alone <= set(rows)
    assert set(rows["modalities"]) == {"n", "distinct", "correct", "rate", "low95", "ceiling"}
    assert rows["picture/thing"]["ceiling"] == 1.0
    assert rows["change/changed"]["ceiling"] is rows["cross/sound to picture"]["ceiling"] is None
    assert rows["picture/thing"]["n"] == LIMIT and rows["change/kept"]["n"] > LIMIT
    assert ("picture", LIMIT, LIMIT) in steps


def test_a_ceiling_is_measured_with_all_settings_of_the_pipeline():
    given = {"steps": 5, "guidance_scale": 2.0, "frames": 8, "fps": 8.0}
    decoder, asked = ReadingDecoder("video"), []

    def decode(conditioning, **settings):
        asked.append(settings)
        return ReadingDecoder.decode(decoder, conditioning, **settings)

    decoder.decode = decode
    pipeline = SimpleNamespace(model=SimpleNamespace(decoders={"video": decoder}), defaults={"video": given})
    assert picturebook.ceilings(pipeline, "video", 3, 0, None, None)["clip/motion"]["n"] == 3
    assert given.items() <= asked[0].items()


def test_wrong_colours_and_missing_media_show_in_their_rows_alone(known):
    def spoil(case, values):
        if case % 4 == 1:
            return []
        if case % 4 == 2 and values and isinstance(values[0], Scene):
            other = "green" if values[0].colour != "green" else "red"
            return [Scene(values[0].thing, other, *(attributes(values[0])[k] for k in ("size", "position", "place")))]
        return values

    rows = picturebook.evaluate(Listener(known, spoil), limit=LIMIT, with_ceilings=False)
    assert rows["picture/thing"]["correct"] == 3
    assert rows["picture/colour"]["correct"] == 2
    assert rows["sound/pitch"]["correct"] == rows["clip/motion"]["correct"] == 3
    assert rows["cross/picture to sound"]["correct"] == 3
    assert rows["words from picture/colour"]["rate"] == 1.0
    assert 0.6 < rows["modalities"]["rate"] < 1
    assert "autoencoder/picture/thing" not in rows


def test_the_same_requests_come_again_with_the_same_seed(known):
    talks = []
    for seed in (0, 0, 1):
        listener = Listener(known)
        picturebook.evaluate(listener, limit=2, seed=seed, with_ceilings=False)
        talks.append(listener.asked)
    assert talks[0] == talks[1] != talks[2]


def test_changes_end_in_held_out_values_and_differ_in_one_attribute():
    for case in range(60):
        kind = ("image", "audio", "video")[case % 3]
        before, attribute, after = picturebook.change_case(kind, random.Random(case))
        assert is_held_out(after)
        first, second = attributes(before), attributes(after)
        assert [key for key in first if first[key] != second[key]] == [attribute]


def test_requests_name_every_attribute_that_is_judged():
    for kind in ("image", "audio", "video"):
        for number, value in enumerate(choose(kind, 60)):
            said = parse(requests.make(kind, value, random.Random(number)))
            assert attributes(value).items() <= said.items()


def test_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="limit"):
        picturebook.evaluate(None, limit=0)


class Scripted:
    """Answers the cells' dialogues with their own targets, but for those that make a sound."""

    def reply(self, talk, settings=None, seed=None, modalities=None):
        user = talk.turns[-1]
        inputs = tuple(sorted({*(part.kind for part in user.media), *(["text"] if user.text else [])}))
        dialogue = self.dialogues[inputs, user.text, tuple(part.media.sha256 for part in user.media)]
        self.forced.append(modalities)
        parts = [TextPart(dialogue.turns[-1].text)]
        parts += [MediaPart(as_medium(slot.value, 5)) for slot in dialogue.targets if slot.kind != "audio"]
        return Reply(tuple(parts), seed=seed)

    def __init__(self, chosen, seeds):
        self.dialogues, self.forced = {}, []
        for inputs, outputs in chosen:
            for seed in range(seeds):
                dialogue = cell(inputs, outputs, seed, held_out=True)
                user = dialogue.turns[-2]
                media = tuple(as_medium(slot.value, slot.seed).sha256 for slot in user.slots)
                self.dialogues[tuple(sorted(inputs)), user.text, media] = dialogue


def test_cells_succeed_with_exactly_their_media(monkeypatch):
    assert len(cells.CELLS) == 120
    chosen = (
        (("text",), ("image",)),
        (("text",), ("image", "audio")),
        (("image",), ("video",)),
        (("text", "image"), ()),
    )
    monkeypatch.setattr(cells, "CELLS", chosen)
    pipeline = Scripted(chosen, seeds=2)
    table = cells.cells(pipeline, seeds=2)
    assert [right for right, _ in table.values()] == [2, 0, 2, 2]
    assert pipeline.forced == [None] * 4 + [{"text", "video"}] * 2 + [None] * 2
    written = report.cells_as_markdown(
        {(given, asked): table.get((given, asked), (0, "")) for given, _ in chosen for _, asked in chosen}, seeds=2
    )
    assert "**2/2**" in written and "| words + picture |" in written


def test_rows_are_written_as_a_table():
    row = {"n": 200, "distinct": 150, "correct": 180, "rate": 0.9, "low95": 0.851, "ceiling": None}
    assert "| picture/thing | 200 | 150 | 90.0 % | 85.1 % |  |" in report.rows_as_markdown({"picture/thing": row})


def test_a_section_of_a_card_is_replaced_and_the_rest_stays():
    card = report.with_section("# Card\n\nWords.\n", "Speed", "| old |\n")
    assert card == "# Card\n\nWords.\n\n## Speed\n\n| old |\n"
    card = report.with_section(card + "\n## Limits\n\nSome.\n", "Speed", "| new |")
    assert card == "# Card\n\nWords.\n\n## Speed\n\n| new |\n\n## Limits\n\nSome.\n"
    assert report.with_section(card, "Speed", "| new |") == card
    assert report.with_section("", "Speed", "fast") == "## Speed\n\nfast\n"


def test_unknown_media_are_counted_by_what_is_said():
    class Doubter:
        def reply(self, talk, settings=None, seed=None, modalities=None):
            known = talk.turns[-1].media[0].media.pixels.mean() < 1
            words = "I see a red ball." if known else UNKNOWN_MEDIA_TEXT
            return Reply((TextPart(words),), seed=seed)

    files = [Image(np.full((4, 4, 3), level, np.uint8)) for level in (0, 90, 200, 255)]
    assert cells.unknown_share(Doubter(), files) == 0.75
    with pytest.raises(ValueError, match="no files"):
        cells.unknown_share(Doubter(), [])
