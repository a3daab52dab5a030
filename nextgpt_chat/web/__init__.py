"""The chat page. The only part that imports gradio."""

from .launching import App, create_app, create_page, launch
from .options import PageOptions, parse_options

__all__ = ["App", "PageOptions", "create_app", "create_page", "launch", "parse_options"]
