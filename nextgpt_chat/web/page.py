"""The page's layout and which handler each of its events calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from ..serving import ChatService
from . import texts
from .controls import Controls, build_controls
from .examples import Example
from .handlers import Handlers

UPLOAD_TYPES = ["image", "audio", "video", ".m4a", ".webm", ".mov", ".flac", ".ogg"]
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_AT_ONCE: dict[str, Any] = {**_PRIVATE, "queue": False}
# As quick, but able to show a warning, which Gradio does only for queued events.
_SPEAKING: dict[str, Any] = {**_PRIVATE, "concurrency_limit": None}


def build_page(service: ChatService, examples: Sequence[Example], checkpoint: str, queue_size: int = 16) -> gr.Blocks:
    """The Blocks over ``service``. ``checkpoint`` is what the header says until the model is loaded."""
    handlers = Handlers(service, examples, checkpoint)
    with gr.Blocks(
        title=texts.TITLE, fill_height=True, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86_400)
    ) as page:
        # Only the id: the talk itself never leaves the server's memory.
        session = gr.State(None, delete_callback=service.sessions.close)
        header = gr.HTML(handlers.header(), elem_id="header")
        chatbot = gr.Chatbot(
            elem_id="chatbot",
            label="Talk",
            show_label=False,
            scale=1,
            height="100%",
            layout="bubble",
            buttons=["copy"],
            latex_delimiters=[],
            allow_tags=False,
            placeholder=texts.EMPTY_TALK,
            examples=[_card(example) for example in examples],
        )
        with gr.Row(elem_id="composer-row", equal_height=False):
            composer = gr.MultimodalTextbox(
                elem_id="composer",
                show_label=False,
                label="Message",
                placeholder=texts.PLACEHOLDER,
                sources=["upload", "microphone"],
                file_count="multiple",
                file_types=UPLOAD_TYPES,
                max_plain_text_length=service.limits.characters,
                max_lines=8,
                autofocus=True,
                scale=1,
            )
            stop = gr.Button(
                texts.STOP, elem_id="stop", variant="stop", visible=False, scale=0, min_width=88, size="md"
            )
        footer = gr.HTML(handlers.footer(), elem_id="footer")
        controls = build_controls()
        timer = gr.Timer(1.0)

        talking = [chatbot, composer, stop, session]
        gr.on([composer.submit], handlers.send, [composer, session], talking, trigger_mode="once", **_PRIVATE)
        chatbot.example_select(handlers.send_example, [session], talking, trigger_mode="once", **_PRIVATE)
        chatbot.retry(handlers.retry, [session], talking, trigger_mode="once", **_PRIVATE)
        chatbot.undo(handlers.undo, [session], talking, **_SPEAKING)
        chatbot.clear(handlers.clear, [session], talking, **_SPEAKING)
        stop.click(handlers.stop, [session], None, **_AT_ONCE)

        waiting = [header, footer, timer, *controls.all]
        page.load(handlers.load, [session], [session, chatbot, *waiting], **_AT_ONCE)
        timer.tick(handlers.poll, None, waiting, **_AT_ONCE)
        _connect_controls(controls, handlers, session)
        _add_endpoints(handlers, session)
    # Turns wait in the service's own line, which says how long it is; Gradio's queue is only the outer fence.
    page.queue(default_concurrency_limit=queue_size, max_size=4 * queue_size, api_open=False)
    return page


def _card(example: Example) -> dict[str, Any]:
    card: dict[str, Any] = {"text": example.text, "display_text": example.text}
    if example.files:
        card["files"] = [str(path) for path in example.files]
    elif example.icon:
        card["icon"] = str(example.icon)
    return card


def _connect_controls(controls: Controls, handlers: Handlers, session: gr.State) -> None:
    """``input`` fires for a person's change only, not for the values that we show."""
    for path, slider in controls.sliders.items():
        slider.input(partial(handlers.set_value, path), [slider, session], None, **_AT_ONCE)
    both = [controls.random, controls.seed, session]
    controls.random.input(handlers.set_seed, both, controls.seed, **_SPEAKING)
    controls.seed.input(handlers.set_seed, both, controls.seed, **_SPEAKING)
    controls.conditioning.input(handlers.set_conditioning, [controls.conditioning, session], None, **_AT_ONCE)
    controls.reply_with.input(handlers.set_reply_with, [controls.reply_with, session], None, **_AT_ONCE)
    controls.reset.click(handlers.reset, [session], controls.all, **_AT_ONCE)


def _add_endpoints(handlers: Handlers, session: gr.State) -> None:
    """``/reply`` and ``/stream`` for programs: text, files → text, files."""
    text = gr.Textbox(visible=False, label="text")
    files = gr.File(visible=False, label="files", file_count="multiple")
    said = gr.Textbox(visible=False, label="reply")
    made = gr.File(visible=False, label="media", file_count="multiple")
    for name, handler in (("reply", handlers.reply), ("stream", handlers.stream)):
        gr.Button(visible=False).click(
            handler, [text, files, session], [said, made, session], api_name=name, show_progress="hidden"
        )
