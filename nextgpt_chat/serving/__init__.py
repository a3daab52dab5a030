"""Many talks, one model: sessions, their media files, and the thread that owns the pipeline. Knows no web page."""

from .chat_service import ChatService, ServiceLimits
from .media_files import MediaFiles
from .runner import Job, Runner, Status, Waiting
from .sessions import Session, SessionStore

__all__ = [
    "ChatService",
    "Job",
    "MediaFiles",
    "Runner",
    "ServiceLimits",
    "Session",
    "SessionStore",
    "Status",
    "Waiting",
]
