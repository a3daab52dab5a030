"""What happens when something is pressed: from Gradio's events to the chat service, and back as updates.

The Chatbot is only ever an output: what a browser sends of it is never looked at. State holds a session's id, and
who a browser is says its cookie.
"""

from .programs import Programs
from .settings import Settings
from .status import Status
from .talking import Talking
from .talks import Talks
from .visits import Visits

__all__ = ["Programs", "Settings", "Status", "Talking", "Talks", "Visits"]
