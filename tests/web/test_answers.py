"""Answers to the example cards, made beforehand: by the checkpoint that is open, to what is asked, or not at all."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chat_page import PATIENCE, await_end, expect

from nextgpt_chat.content import array_of
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.media import read_media
from nextgpt_chat.web import PageOptions, launch
from nextgpt_chat.web.answers import FOLDER, Answers, file_name, make_answers
from nextgpt_chat.web.examples import make_examples
from tests.fake_pipeline import FakePipeline
from tests.shipped import NEXTGPT_MINI


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return make_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def answered(examples, tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    made = make_answers(FakePipeline(steps=2, pause=0), examples, checkpoint / FOLDER)
    return checkpoint, made


def test_every_card_has_its_answer_as_it_was_made(examples, answered):
    checkpoint, made = answered
    for example in examples:
        told = Answers(checkpoint).to(example)
        assert told == made[example.direction]


def test_other_words_or_files_are_not_answered_beforehand(examples, answered, tmp_path):
    answers, asked = Answers(answered[0]), examples[3]
    assert answers.to(replace(asked, text="what is that?")) is None
    assert answers.to(replace(asked, files=(tmp_path / "other.png",))) is None


def test_without_answers_or_with_a_damaged_one_the_model_is_asked(examples, answered, tmp_path):
    checkpoint = Path(shutil.copytree(answered[0], tmp_path / "copy"))
    assert Answers(None).to(examples[0]) is None
    assert Answers(checkpoint / "elsewhere").to(examples[0]) is None
    file = checkpoint / FOLDER / file_name(examples[0])
    file.write_bytes(file.read_bytes()[:200])
    assert Answers(checkpoint).to(examples[0]) is None


@pytest.mark.skipif(not (NEXTGPT_MINI / FOLDER).exists(), reason="nextgpt-mini has no answers made beforehand yet")
def test_the_shipped_answers_are_to_the_cards_as_they_are(examples):
    for example in examples:
        assert Answers(NEXTGPT_MINI).to(example) is not None, example.direction
        asked = Conversation.load(NEXTGPT_MINI / FOLDER / file_name(example)).turns[0]
        for part, path in zip(asked.media, example.files, strict=True):
            stored, drawn = array_of(part.media), array_of(read_media(path))
            assert stored.shape == drawn.shape and np.abs(stored.astype(float) - drawn).mean() < 4, example.direction


@pytest.mark.browser
def test_a_card_is_answered_while_the_model_loads_and_says_that_it_was_made_beforehand(
    open_page,
    answered,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr("nextgpt_chat.web.launching._answers", lambda options: Answers(answered[0]))
    loading = threading.Event()
    options = PageOptions(port=0, data_dir=str(tmp_path))
    app = launch(lambda: loading.wait(60) and FakePipeline(steps=2, pause=0), options, block=False, quiet=True)
    try:
        page = open_page(app.page.local_url)
        page.get_by_text("draw a red car on the grass").click()
        expect(page.locator("#chatbot figure.image img")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#chatbot")).to_contain_text("This answer was made beforehand")
        await_end(page)
        page.reload()
        expect(page.locator("#chatbot figure.image img")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#header .head.loading")).to_be_visible()
        expect(page.locator("#header").get_by_role("progressbar")).to_be_visible()
        loading.set()
        expect(page.locator("#header .head.ready")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#header").get_by_role("progressbar")).to_have_count(0)
    finally:
        loading.set()
        app.close()
