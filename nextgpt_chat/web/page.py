"""The page's layout and which handler each of its events calls."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..serving import ChatService
from .acts import spoken
from .answers import Answers
from .controls import Controls, build_controls, build_reply_with
from .examples import Example, card
from .handlers import Programs, Settings, Status, Talking, Talks, Visits
from .languages import ENGLISH, SAID_IN_BROWSER
from .texts import Texts

ASSETS = Path(__file__).resolve().parents[2] / "assets"
UPLOAD_TYPES = ["image", "audio", "video", ".m4a", ".webm", ".mov", ".flac", ".ogg"]
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_AT_ONCE: dict[str, Any] = {**_PRIVATE, "queue": False}
# As quick, but able to show a warning, which Gradio does only for queued events.
_SPEAKING: dict[str, Any] = {**_PRIVATE, "concurrency_limit": None}
_ONCE: dict[str, Any] = {**_PRIVATE, "trigger_mode": "once"}
# Every press counts, whatever the one before is still waited for; of what is set, the last value does.
_EACH: dict[str, Any] = {**_SPEAKING, "trigger_mode": "multiple"}
_LAST: dict[str, Any] = {**_AT_ONCE, "trigger_mode": "always_last"}
_LAST_SPEAKING: dict[str, Any] = {**_SPEAKING, "trigger_mode": "always_last"}
_ANY_LENGTH = 2**31 - 1
"""Gradio makes a file of a text that is pasted and longer than a limit of its own, which nobody could send."""
_said = SAID_IN_BROWSER
KEEPING = "keeping_told"
"""What the settings say about what is kept, as Markdown; depends on the options."""
COMPOSED: dict[str, Callable[[Texts], str]] = {
    "talks_heading": lambda say: f"<h2>{html.escape(say.talks)}</h2>",
    "settings_heading": lambda say: f"### {say.settings}",
    "spoken": spoken,
    "camera": lambda say: _camera_html(say),
}
"""What stands on the page from the start but is more than a sentence: name → what it is in one language."""


@dataclass
class _Panel:
    """The side bar with the talks."""

    new: gr.Button
    search: gr.Textbox
    talks: gr.HTML


def build_page(
    service: ChatService,
    examples: Sequence[Example],
    answers: Answers,
    checkpoint: str,
    queue_size: int = 16,
    mcp: bool = False,
) -> gr.Blocks:
    """The Blocks over ``service``. ``answers`` are those to the examples; ``checkpoint`` is what the header says until
    the model is loaded; ``mcp``: whether the endpoints for programs are tools for other assistants."""
    visits = Visits(service)
    status = Status(service, checkpoint, examples)
    with gr.Blocks(
        title=ENGLISH.title, fill_height=True, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86_400)
    ) as page:
        # Only the id: the talk itself stays on the server.
        session = gr.State(None, delete_callback=visits.close)
        panel = _build_panel()
        header = gr.HTML(status.header(), elem_id="header")
        chatbot = _build_chatbot(examples)
        with gr.Row(elem_id="composer-row", equal_height=False):
            composer = _build_composer()
            _build_camera()
            stop = gr.Button(
                _said("stop"), elem_id="stop", variant="stop", visible=False, scale=0, min_width=88, size="md"
            )
        reply_with = build_reply_with()
        footer = gr.HTML(status.footer(), elem_id="footer")
        controls = build_controls(reply_with, _said(KEEPING))
        # Off until the page's first question finds the model loading: a second answer would undo what is set meanwhile.
        timer = gr.Timer(1.0, active=False)

        talking = Talking(visits, examples, answers)
        turn = [chatbot, composer, stop, session, panel.talks, _build_given(composer)]
        at_sending = (ASSETS / "sent.js").read_text(encoding="utf-8")
        composer.submit(talking.send, [composer, session], turn, js=at_sending, **_PRIVATE, trigger_mode="multiple")
        chatbot.example_select(talking.send_example, [session], turn, **_ONCE)
        chatbot.retry(talking.retry, [session], turn, **_ONCE)
        chatbot.undo(talking.undo, [session], turn, **_SPEAKING)
        chatbot.clear(talking.clear, [session], turn, **_SPEAKING)
        acts = gr.HTML(
            _said("spoken"),
            elem_id="acts",
            js_on_load=(ASSETS / "actions.js").read_text(encoding="utf-8") + "\n// 'act'",
            apply_default_css=False,
        )
        acts.act(talking.act, [session], turn, **_SPEAKING, trigger_mode="multiple")
        stop.click(talking.stop, [session], None, **_AT_ONCE)

        waiting = [header, footer, timer, chatbot, *controls.sliders.values(), controls.reply_with]
        timer.tick(status.poll, [session], waiting, **_AT_ONCE)
        page.load(status.poll, [session], waiting, **_AT_ONCE)
        _connect_talks(page, panel, Talks(visits), talking, session, turn)
        _connect_controls(controls, Settings(visits), session)
        _add_endpoints(Programs(service), session, mcp)
    # Turns wait in the service's own line, which says how long it is; Gradio's queue is only the outer fence.
    page.queue(default_concurrency_limit=None, max_size=4 * queue_size, api_open=False)
    return page


def _build_panel() -> _Panel:
    with gr.Sidebar(position="left", open=False, elem_id="talks", width=300):
        gr.HTML(_said("talks_heading"), elem_classes="panel-title")
        new = gr.Button(_said("new_talk"), elem_id="new-talk", variant="primary", size="md")
        search = gr.Textbox(
            label=_said("search"),
            show_label=False,
            placeholder=_said("search"),
            elem_id="search-talks",
            max_lines=1,
            max_length=200,
            container=False,
            html_attributes=gr.InputHTMLAttributes(enterkeyhint="search", spellcheck=False),
        )
        script = (ASSETS / "talks.js").read_text(encoding="utf-8")
        talks = gr.HTML("", elem_id="talk-list", js_on_load=f"{script}\n// {_EVENTS}", apply_default_css=False)
    return _Panel(new, search, talks)


_EVENTS = "'pick' 'rename' 'remove' 'publish' 'unpublish'"
"""Gradio knows an element's own events by their quoted names in its script."""


def _build_chatbot(examples: Sequence[Example]) -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chatbot",
        label=_said("talk"),
        show_label=False,
        scale=1,
        height="100%",
        layout="bubble",
        buttons=["copy"],
        latex_delimiters=[],
        allow_tags=False,
        placeholder=_said("empty_talk"),
        examples=[card(example) for example in examples],
    )


def _build_composer() -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        elem_id="composer",
        show_label=False,
        label=_said("message"),
        placeholder=_said("placeholder"),
        sources=["upload", "microphone"],
        file_count="multiple",
        file_types=UPLOAD_TYPES,
        max_plain_text_length=_ANY_LENGTH,
        max_lines=8,
        autofocus=True,
        scale=1,
    )


def _build_given(composer: gr.MultimodalTextbox) -> gr.HTML:
    """What handlers give to the composer: only the browser knows what is in it by then, and it shows none of this."""
    given = gr.HTML(
        None,
        html_template="",
        elem_id="given",
        js_on_load="watch('value', () => trigger('given'))",
        apply_default_css=False,
    )
    beside = (ASSETS / "given.js").read_text(encoding="utf-8")
    given.given(None, [given, composer], [composer], js=beside, **_AT_ONCE)
    return given


def _build_camera() -> gr.HTML:
    return gr.HTML(
        _said("camera"),
        elem_id="camera",
        js_on_load=(ASSETS / "camera.js").read_text(encoding="utf-8"),
        apply_default_css=False,
    )


def _camera_html(say: Texts) -> str:
    names = ("title", "take", "waiting", "refused")
    words = {name: getattr(say, f"photo_{name}") for name in names} | {"cancel": say.cancel}
    said = " ".join(f'data-{name}="{html.escape(text)}"' for name, text in words.items())
    about = html.escape(say.photo_about)
    return f'<button type="button" class="camera" title="{about}" {said} hidden>{html.escape(say.photo)}</button>'


def _connect_talks(
    page: gr.Blocks, panel: _Panel, talks: Talks, talking: Talking, session: gr.State, turn: list[Any]
) -> None:
    """A talk that is opened is shown at once, and then followed where a reply is being made in it."""
    chatbot, _, stop, *_ = turn
    shown = [chatbot, stop, session, panel.talks]
    at_load = (ASSETS / "load.js").read_text(encoding="utf-8")
    opened = [
        page.load(talks.load, [session], shown, js=at_load, **_SPEAKING),
        panel.talks.pick(talks.pick, [session], shown, **_EACH),
    ]
    for event in opened:
        event.then(talking.follow, [session], turn, **_EACH)
    panel.new.click(talks.new, [session], shown, **_SPEAKING)
    panel.talks.remove(talks.remove, [session], shown, **_EACH)
    for change, handler in (("rename", talks.rename), ("publish", talks.share), ("unpublish", talks.unshare)):
        getattr(panel.talks, change)(handler, [session], [panel.talks], **_EACH)
    panel.search.input(talks.search, [panel.search, session], [panel.talks], **_LAST)


def _connect_controls(controls: Controls, settings: Settings, session: gr.State) -> None:
    """``input`` fires for a person's change only, not for the values that we show."""
    for path, slider in controls.sliders.items():
        # What is typed beside a slider comes as it is typed, out of its range for a moment, which Gradio would refuse.
        slider.input(settings.setter(path), [slider, session], None, preprocess=False, **_LAST)
    both = [controls.random, controls.seed, session]
    controls.random.input(settings.set_seed, both, controls.seed, **_LAST_SPEAKING)
    controls.seed.input(settings.set_seed, both, controls.seed, **_LAST_SPEAKING)
    controls.conditioning.input(settings.set_conditioning, [controls.conditioning, session], None, **_LAST)
    controls.reply_with.input(settings.set_reply_with, [controls.reply_with, session], None, **_LAST)
    controls.reset.click(settings.reset, [session], controls.all, **_AT_ONCE)


def _add_endpoints(programs: Programs, session: gr.State, mcp: bool) -> None:
    """``/reply`` and ``/stream`` for programs: text, files → text, files; ``/ask`` in their place where the endpoints
    are tools: all callers of tools share one session of Gradio's, and must not share a talk."""
    text = gr.Textbox(visible=False, label="text")
    files = gr.File(visible=False, label="files", file_count="multiple")
    said = gr.Textbox(visible=False, label="reply")
    made = gr.File(visible=False, label="media", file_count="multiple")
    if mcp:
        file = gr.File(visible=False, label="file")  # Gradio's tools know no lists of files
        first = [gr.File(visible=False, label=kind) for kind in ("picture", "sound", "clip")]
        ask = gr.Button(visible=False).click  # not queued: a queued tool's answer arrives as the text of a list
        ask(programs.ask, [text, file], [said, *first], api_name="ask", queue=False)
    for name, handler in (("reply", programs.reply), ("stream", programs.stream)):
        gr.Button(visible=False).click(
            handler,
            [text, files, session],
            [said, made, session],
            api_name=name,
            api_visibility="undocumented" if mcp else "public",
            show_progress="hidden",
        )
