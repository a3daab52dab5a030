"""The chat page. The only part that imports gradio."""

from .launching import App, create_app, launch, launch_arguments
from .options import PageOptions, parse_options

__all__ = ["App", "PageOptions", "create_app", "launch", "launch_arguments", "parse_options"]
