"""The checkpoint's safety checker on the way through the pipeline: black instead of refused, and said in words."""

import numpy as np
import pytest
from decoders.test_decoder_folders import checked_decoder
from tiny_checkpoint import MANIFEST, build_model

from nextgpt_chat import Conversation
from nextgpt_chat.content import Finished, MediaProgress, MediaReady, Notice
from nextgpt_chat.pipeline import NextGPTPipeline

REFUSES, PASSES = -2.0, 2.0  # cosines above it are refused


def events(threshold):
    model = build_model()
    model.decoders["image"] = checked_decoder(threshold)
    conversation = Conversation()
    conversation.add_user("draw a red car")
    told = list(NextGPTPipeline(model, MANIFEST).stream(conversation, seed=1, modalities={"image"}))
    return told, conversation


def only(kind, told):
    return [event for event in told if isinstance(event, kind)]


def test_a_refused_picture_is_black_and_the_user_is_told_why():
    told, conversation = events(REFUSES)
    (ready,) = only(MediaReady, told)
    assert not ready.media.pixels.any()
    (notice,) = only(Notice, told)
    assert "safety checker" in notice.message and "another seed" in notice.message
    assert told.index(notice) == told.index(ready) + 1
    assert only(Finished, told)[0].reply.notices == (notice.message,)
    assert not conversation.turns[-1].media[0].media.pixels.any()  # later turns see nothing else either


def test_a_picture_that_passes_comes_as_it_is_and_without_a_word():
    told, _ = events(PASSES)
    assert only(MediaReady, told)[0].media.pixels.any() and not only(Notice, told)


@pytest.mark.parametrize("threshold", [REFUSES, PASSES])
def test_previews_show_no_more_than_a_mosaic_before_the_checker_has_looked(threshold):
    told, _ = events(threshold)
    previews = [event.preview for event in only(MediaProgress, told) if event.preview is not None]
    assert previews
    for preview in previews:
        pixels = np.asarray(preview)
        rows = 1 + (pixels[1:] != pixels[:-1]).any(axis=(1, 2)).sum()
        columns = 1 + (pixels[:, 1:] != pixels[:, :-1]).any(axis=(0, 2)).sum()
        assert rows <= 12 and columns <= 12 < pixels.shape[0]
