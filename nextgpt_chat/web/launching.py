"""From options to a running server, and its end: folders, limits, routes, look."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.mcp
from starlette.middleware import Middleware

from ..checkpoints import locate
from ..errors import NextGPTError
from ..serving import (
    ChatService,
    Cleaner,
    DataFolder,
    Runner,
    ServiceLimits,
    TalkStore,
    default_data_folder,
)
from .answers import Answers
from .examples import make_examples
from .health import health_routes
from .identity import BrowserCookie
from .languages import translations
from .options import PageOptions
from .page import ASSETS, COMPOSED, KEEPING, build_page
from .routes import Routes
from .texts import Texts

logger = logging.getLogger(__name__)

MCP_PACKAGES = "-r requirements-mcp.txt -c constraints.txt"


@dataclass
class App:
    """A page that is not served yet, and what works behind it."""

    page: gr.Blocks
    service: ChatService
    store: TalkStore
    folder: DataFolder
    cleaner: Cleaner
    options: PageOptions

    def close(self) -> None:
        """Stops the work, then the server."""
        self.cleaner.close()
        self.service.close()
        self.page.close(verbose=False)
        self.folder.close()


def create_app(pipeline_or_loader: Any, options: PageOptions | None = None) -> App:
    """Builds the page and starts loading the model in a thread.

    ``pipeline_or_loader``: a pipeline, or a function without arguments that returns one. Raises NextGPTError where
    the data folder is in use, damaged or cannot be written.
    """
    options = options or PageOptions()
    folder = DataFolder(Path(options.data_dir) if options.data_dir else default_data_folder())
    try:
        store = TalkStore(
            folder.root,
            quota_bytes=options.media_quota_gb * 1_000_000_000,
            max_age_days=options.keep_media_days or None,
            sharing=options.allow_sharing,
        )
    except BaseException:
        folder.close()
        raise
    logger.info("Talks are kept in %s", folder.root)
    # Components read this when they are made: uploads belong to our folder, not to one shared by all programs.
    os.environ["GRADIO_TEMP_DIR"] = str(folder.uploads)
    gradio.mcp.DEFAULT_TEMP_DIR = str(folder.uploads)  # read once, at import; what lies elsewhere is refused later
    examples = make_examples(folder.root / "examples")
    # Served from where they are: no copies that outlive the talk, no hashing at every update.
    gr.set_static_paths([folder.shown, folder.root / "examples"])
    load: Callable[[], Any] = pipeline_or_loader
    if hasattr(pipeline_or_loader, "stream"):
        load = lambda: pipeline_or_loader  # noqa: E731
    runner = Runner(load, capacity=options.queue_size, turn_seconds=options.turn_seconds)
    limits = ServiceLimits()
    limits = replace(limits, media=replace(limits.media, bytes=options.max_file_size * 1_000_000))
    service = ChatService(runner, folder.shown, limits, store)
    page = build_page(service, examples, _answers(options), options.checkpoint, options.queue_size, options.mcp)
    cleaner = Cleaner(service.clean)
    runner.start()
    cleaner.start()
    return App(page, service, store, folder, cleaner, options)


def launch(
    pipeline_or_loader: Any, options: PageOptions | None = None, *, block: bool = True, quiet: bool = False
) -> App:
    """Serves the page; with ``block``, until it is interrupted. Raises NextGPTError as :func:`create_app` does, where
    the port is taken and where an MCP server is asked for without its packages."""
    if options is not None and options.mcp and importlib.util.find_spec("mcp") is None:
        raise NextGPTError(f"--mcp needs more packages. Install them: pip install {MCP_PACKAGES}")
    app = create_app(pipeline_or_loader, options)
    try:
        try:
            app.page.launch(**launch_arguments(app), prevent_thread_lock=True, quiet=quiet)
        except OSError as error:  # Gradio's words name variables that we do not read
            raise NextGPTError(
                f"Nothing can be served at {app.options.host}, port {app.options.port}: it is taken, perhaps by a chat "
                "that is running already, or not this machine's. Choose another --port or --host."
            ) from error
        if block:
            app.page.block_thread()
    except BaseException:
        app.close()
        raise
    if block:
        app.close()
    return app


def launch_arguments(app: App) -> dict[str, Any]:
    """Gradio's ``launch`` arguments: where to listen, our routes, the look, and everything that would tell others, off.

    For hosts that launch ``app.page`` themselves.
    """
    options = app.options
    routes = [*Routes(app.store, app.folder.shown).all(), *health_routes(lambda: app.service.runner.status)]
    return {
        "server_name": options.host,
        "server_port": options.port or None,
        "share": options.share,
        "mcp_server": options.mcp,
        "max_file_size": options.max_file_size * 1_000_000,
        # Each page that follows a reply has a thread of Gradio's most of the time; the page itself comes from others.
        "max_threads": 40 + 4 * options.queue_size,
        "theme": theme(),
        "css_paths": [ASSETS / "style.css"],
        "js": (ASSETS / "line.js").read_text(encoding="utf-8"),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "allowed_paths": [],
        "blocked_paths": [str(app.folder.root / name) for name in ("talks.sqlite3", "secret", "media")],
        "app_kwargs": {"routes": routes, "middleware": [Middleware(BrowserCookie, store=app.store)]},
        "ssr_mode": False,
        "i18n": translations({**COMPOSED, KEEPING: lambda say: _keeping(options, say)}),
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
    ).set(  # the theme's own are paler than people with weak eyes can read
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
        block_title_text_color="*primary_700",
        block_title_text_color_dark="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def _answers(options: PageOptions) -> Answers:
    try:
        return Answers(locate(options.checkpoint))
    except NextGPTError:  # a pipeline of the caller's own may go by any name
        return Answers(None)


def _keeping(options: PageOptions, say: Texts) -> str:
    """What the settings say about what is kept."""
    said = [say.keeping, say.quota.format(quota=options.media_quota_gb)]
    if options.keep_media_days:
        said.append(say.age.format(days=options.keep_media_days))
    return " ".join(said)
