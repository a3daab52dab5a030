"""Many talks, one model: sessions, their media files, and the thread that owns the pipeline. Knows no web page."""

from .chat_service import ChatService
from .cleaning import Cleaner
from .data_folder import DataFolder, default_data_folder
from .media_files import MediaFiles
from .open_talk import OpenTalk
from .runner import Job, Remake, Runner, Status, Waiting
from .service_limits import ServiceLimits
from .sessions import Session, SessionStore
from .talk_library import Cleaned
from .talk_reply import ReplyWriter
from .talk_store import SharedTalk, TalkInfo, TalkStore

__all__ = [
    "ChatService",
    "Cleaned",
    "Cleaner",
    "DataFolder",
    "Job",
    "MediaFiles",
    "OpenTalk",
    "Remake",
    "ReplyWriter",
    "Runner",
    "ServiceLimits",
    "Session",
    "SessionStore",
    "SharedTalk",
    "Status",
    "TalkInfo",
    "TalkStore",
    "Waiting",
    "default_data_folder",
]
