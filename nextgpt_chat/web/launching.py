"""From options to a running server, and its end: folders, limits, look."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ..serving import ChatService, Runner, ServiceLimits
from .examples import make_examples
from .options import PageOptions
from .page import build_page

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@dataclass
class App:
    """A page that is not served yet, and what works behind it."""

    page: gr.Blocks
    service: ChatService
    options: PageOptions

    def close(self) -> None:
        """Stops the work, then the server."""
        self.service.close()
        self.page.close(verbose=False)


def create_app(pipeline_or_loader: Any, options: PageOptions | None = None) -> App:
    """Builds the page and starts loading the model in a thread.

    ``pipeline_or_loader``: a pipeline, or a function without arguments that returns one. The folder of the options
    is made; without one, a temporary folder is, and goes with the program.
    """
    options = options or PageOptions()
    folder = _data_folder(options)
    # Components read this when they are made: uploads belong to our folder, not to one shared by all programs.
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    talks = folder / "talks"
    talks.mkdir(mode=0o700, exist_ok=True)
    examples = make_examples(folder / "examples")
    # Served from where they are: no copies that outlive the talk, no hashing at every update.
    gr.set_static_paths([talks, folder / "examples"])
    load: Callable[[], Any] = pipeline_or_loader
    if hasattr(pipeline_or_loader, "stream"):
        load = lambda: pipeline_or_loader  # noqa: E731
    runner = Runner(load, capacity=options.queue_size, turn_seconds=options.turn_seconds)
    limits = ServiceLimits()
    limits = replace(limits, media=replace(limits.media, bytes=options.max_file_size * 1_000_000))
    service = ChatService(runner, talks, limits)
    page = build_page(service, examples, options.checkpoint, options.queue_size)
    runner.start()
    return App(page, service, options)


def create_page(pipeline_or_loader: Any, options: PageOptions | None = None) -> gr.Blocks:
    """As :func:`create_app`, only the Blocks, for hosts that launch them themselves with :func:`launch_arguments`."""
    return create_app(pipeline_or_loader, options).page


def launch(
    pipeline_or_loader: Any, options: PageOptions | None = None, *, block: bool = True, quiet: bool = False
) -> App:
    """Serves the page; with ``block``, until it is interrupted. Raises OSError where the port is taken."""
    app = create_app(pipeline_or_loader, options)
    try:
        app.page.launch(**launch_arguments(app.options), prevent_thread_lock=True, quiet=quiet)
        if block:
            app.page.block_thread()
    except BaseException:
        app.close()
        raise
    if block:
        app.close()
    return app


def launch_arguments(options: PageOptions) -> dict[str, Any]:
    """Gradio's ``launch`` arguments: where to listen, the look, and everything that would tell others, off."""
    return {
        "server_name": options.host,
        "server_port": options.port or None,
        "share": options.share,
        "max_file_size": options.max_file_size * 1_000_000,
        "theme": theme(),
        "css_paths": [ASSETS / "style.css"],
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "allowed_paths": [],
        "ssr_mode": False,
    }


def theme() -> gr.themes.Base:
    """Our colours, and fonts that every system has: nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"],
    )


def _data_folder(options: PageOptions) -> Path:
    if options.data_dir:
        folder = Path(options.data_dir).expanduser().resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Talks of an earlier run cannot be opened any more.
        shutil.rmtree(folder / "talks", ignore_errors=True)
        return folder
    folder = Path(tempfile.mkdtemp(prefix="nextgpt-page-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
