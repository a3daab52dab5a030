"""What every handler begins and ends with: whose session an event is about, and one plain sentence for a trouble."""

from __future__ import annotations

import html
import logging
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...config import GenerationSettings
from ...errors import NextGPTError
from ...serving import ChatService, Session
from ..identity import requester
from ..languages import language_of, texts_in
from ..messages import Message, address_of, talk_messages
from ..told import told

logger = logging.getLogger(__name__)


_REMEMBERED = 1000


@dataclass(frozen=True)
class _Chosen:
    owner: str | None
    settings: GenerationSettings
    modalities: frozenset[str] | None


class Visits:
    """Sessions of browsers. ``service`` does the work."""

    def __init__(self, service: ChatService) -> None:
        self.service = service
        self._pages: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
        self._chosen: OrderedDict[str, _Chosen] = OrderedDict()
        """By page: what was set in a session that was given up."""
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
            if session is not known:
                session.opening.acquire()
                self._choose_again(session, page)
        if session is known:
            session.language = language_of(request)
            with session.opening:  # the talk of its address may still be read
                return session
        try:
            session.language = language_of(request)
            self.open_named(session, request)
        except NextGPTError:  # its page is still to be told, see Talks.load
            logger.debug("An address names a talk that is not there")
        finally:
            session.opening.release()
        return session

    def close(self, session_id: str | None) -> None:
        """Gradio gave a page's session up, an hour after its line was lost: one that stands open still comes back."""
        session = self.service.sessions.get(session_id)
        with self._lock:
            for page, one in list(self._pages.items()):
                if one is session:
                    self._chosen[page] = _Chosen(session.owner, session.settings, session.modalities)
                    self._chosen.move_to_end(page)
            while len(self._chosen) > _REMEMBERED:
                self._chosen.popitem(last=False)
        self.service.sessions.close(session_id)

    def _choose_again(self, session: Session, page: str) -> None:
        """What a page shows as set stays set."""
        chosen = self._chosen.pop(page, None)
        if chosen is not None and chosen.owner == session.owner:
            session.settings, session.modalities = chosen.settings, chosen.modalities

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
