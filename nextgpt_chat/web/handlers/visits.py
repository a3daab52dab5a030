"""What every handler begins and ends with: whose session an event is about, and one plain sentence for a trouble."""

from __future__ import annotations

import html
import logging
import threading
import weakref
from typing import Any

import gradio as gr

from ...errors import NextGPTError
from ...serving import ChatService, Session
from ..identity import requester
from ..languages import language_of, texts_in
from ..messages import Message, address_of, talk_messages
from ..told import told

logger = logging.getLogger(__name__)


class Visits:
    """Sessions of browsers. ``service`` does the work."""

    def __init__(self, service: ChatService) -> None:
        self.service = service
        self._pages: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def session(self, session_id: str | None, request: gr.Request | None) -> Session:
        """The session of this id where it is this browser's. Else a new one, with the talk that the page's address
        names where it is the browser's own: a page that outlived the server goes on with its talk.

        Whoever is quick sends a message before the page has been told its id: then it is the page that counts, by the
        hash that Gradio keeps the id itself under, so that both get one session and not one each.
        """
        page = getattr(request, "session_hash", None) or ""
        with self._lock:
            known = self.service.sessions.get(session_id) or self._pages.get(page)
            known_id = None if known is None else known.id
            session = self.service.session(known_id, requester(self.service.store, request))
            if page:
                self._pages[page] = session
        session.language = language_of(request)
        if session is not known:
            try:
                self.open_named(session, request)
            except NextGPTError:  # its page is still to be told, see Talks.load
                logger.debug("An address names a talk that is not there")
        return session

    def open_named(self, session: Session, request: gr.Request | None) -> None:
        """Opens the talk that the page's address names (``/?talk=…``). Raises NextGPTError where there is none."""
        talk_id = _named(request)
        if talk_id and session.talk.id != talk_id:
            self.service.open(session, talk_id)


def messages_of(session: Session) -> list[Message]:
    """The Chatbot's messages of the open talk, without the reply in the making."""
    talk = session.talk
    with talk.lock:
        return talk_messages(
            talk.conversation.turns,
            talk.shown,
            address_of(talk),
            talk.notices,
            talk.ratings,
            texts_in(session.language),
        )


def tell(error: BaseException, language: str = "en") -> None:
    """One plain sentence for the user; the details of a fault of ours for the log."""
    say = texts_in(language)
    if isinstance(error, NextGPTError):
        gr.Warning(html.escape(told(str(error), say)), duration=12)
    else:
        logger.error("A turn failed", exc_info=error)
        gr.Warning(say.fault, duration=12)


def _named(request: gr.Request | None) -> str:
    parameters: Any = getattr(request, "query_params", None)
    named = parameters.get("talk") if parameters is not None else None
    return named if isinstance(named, str) else ""
