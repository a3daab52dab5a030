"""Turns and events as Chatbot messages: order, escaping, progress."""

import numpy as np
import PIL.Image

from nextgpt_chat.content import (
    Failed,
    Finished,
    Image,
    MediaPart,
    MediaProgress,
    MediaReady,
    MediaStarted,
    Notice,
    Reply,
    TextDelta,
    TextPart,
    Turn,
)
from nextgpt_chat.serving import Waiting
from nextgpt_chat.web.messages import LiveReply, talk_messages, turn_message


def address(part: MediaPart) -> str:
    return f"media/{part.kind}"


def picture(**facts) -> MediaPart:
    return MediaPart(Image(np.zeros((16, 16, 3), np.uint8)), **facts)


def words(message) -> str:
    return " | ".join(block.get("text", "<file>") for block in message["content"])


def test_a_turn_shows_its_parts_in_order_and_marks_generated_media():
    turn = Turn("assistant", (TextPart("here"), picture(generated=True, caption="a <b>car", details={"seed": 3})))
    message = turn_message(turn, address)
    assert message["role"] == "assistant"
    text, medium = (block["text"] for block in message["content"])
    assert text == "here" and 'src="media/image"' in medium and 'alt="a &lt;b&gt;car"' in medium
    assert "AI-generated picture" in medium and "seed 3" in medium and "<b>" not in medium
    assert "\n" not in medium  # or Markdown would end the HTML there


def test_uploads_are_not_called_generated():
    assert "AI-generated" not in words(turn_message(Turn("user", (picture(),)), address))


def test_a_stopped_turn_says_so():
    assert "Stopped" in words(turn_message(Turn("assistant", (TextPart("half"),), cancelled=True), address))


def test_a_talk_is_rendered_once_and_follows_undo():
    turns = [Turn("user", (TextPart("one"),)), Turn("assistant", (TextPart("two"),))]
    shown = []
    first = talk_messages(turns, shown, address)
    again = talk_messages(turns, shown, address)
    assert all(a is b for a, b in zip(first, again, strict=True))
    other = [turns[0], Turn("assistant", (TextPart("three"),))]
    assert words(talk_messages(other, shown, address)[1]).startswith("three | ")
    assert talk_messages(turns[:1], shown, address) == first[:1] and len(shown) == 1


def test_words_and_media_appear_in_the_order_of_the_reply():
    live = LiveReply(address)
    part = picture(generated=True, caption="a car")
    live.add(TextDelta("Here "))
    live.add(TextDelta("it is."))
    live.add(MediaStarted("m", "image", "a car"))
    assert "starting" in words(live.message())
    live.add(MediaProgress("m", 2, 8, PIL.Image.new("RGB", (400, 300))))
    progress = words(live.message())
    assert "step 2 of 8" in progress and 'value="2"' in progress and "data:image/jpeg;base64," in progress
    live.add(MediaReady("m", part))
    live.add(TextDelta("Do you like it?"))
    assert words(live.message()).startswith("Here it is. | <figure ")
    assert words(live.message()).endswith("Do you like it?")
    live.add(Finished(Reply((), 1)))
    assert words(live.last_message()) == words(live.message())


def test_stages_notices_and_failures_are_said():
    live = LiveReply(address)
    live.add(Waiting(ahead=0, loading=True))
    assert "loading" in words(live.message())
    live.add(Waiting(ahead=3, loading=False))
    assert "3 replies" in words(live.message())
    live.add(Notice("The oldest turns were left out."))
    live.add(MediaStarted("m", "audio", ""))
    live.add(Failed("m", "The sound could not be made."))
    live.add(Finished(Reply((), 1)))
    assert "oldest turns" in words(live.last_message()) and "could not be made" in words(live.last_message())


def test_a_name_within_a_notice_is_no_picture():
    live = LiveReply(address)
    live.add(Notice("![x](http://e/x.png) was left out."))
    assert "![" not in words(live.message())


def test_a_half_made_medium_is_gone_after_a_stop():
    live = LiveReply(address)
    live.add(TextDelta("Here"))
    live.add(MediaStarted("m", "image", "a car"))
    live.add(Finished(Reply((), 1, cancelled=True)))
    assert words(live.last_message()).startswith("Here | ") and "Stopped" in words(live.last_message())
    assert "Painting" not in words(live.last_message())


def test_captions_cannot_break_out_of_the_progress_row():
    live = LiveReply(address)
    live.add(MediaStarted("m", "image", '"><script>\n\n# x'))
    block = live.message()["content"][0]["text"]
    assert "<script" not in block and "\n" not in block
