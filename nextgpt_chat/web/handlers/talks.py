"""The list of talks: a page is opened, a talk picked, begun, sought, renamed, deleted, shared."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import NextGPTError
from ...serving import Session
from ..talk_list import talk_list
from .visits import Visits, messages_of, tell

Shown = tuple[Any, Any, Any, Any]
"""For chatbot, stop, session id, list of talks."""


class Talks:
    """Handlers of the side bar with the talks. What a browser says of a talk is its id only, checked each time."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self.service = visits.service

    def load(self, session_id: str | None, request: gr.Request = None) -> Shown:
        """A page was opened, with the talk that its address names."""
        session = self.visits.session(session_id, request)
        try:
            self.visits.open_named(session, request)
        except NextGPTError as error:
            tell(error, session.language)
        return self._shown(session)

    def pick(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> Shown:
        session = self.visits.session(session_id, request)
        try:
            self.service.open(session, _talk_id(event))
        except NextGPTError as error:
            tell(error, session.language)
        return self._shown(session)

    def new(self, session_id: str | None, request: gr.Request = None) -> Shown:
        session = self.visits.session(session_id, request)
        if len(session.conversation):
            self.service.new(session)
        return self._shown(session)

    def search(self, words: str | None, session_id: str | None, request: gr.Request = None) -> str:
        session = self.visits.session(session_id, request)
        session.search = (words or "")[:200]
        return talk_list(self.service, session)

    def rename(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> str:
        title = event._data.get("title")
        return self._change(
            session_id, request, lambda store, owner: store.rename(owner, _talk_id(event), str(title or ""))
        )

    def share(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> str:
        return self._change(session_id, request, lambda store, owner: store.share(owner, _talk_id(event)))

    def unshare(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> str:
        return self._change(session_id, request, lambda store, owner: store.unshare(owner, _talk_id(event)))

    def remove(self, event: gr.EventData, session_id: str | None, request: gr.Request = None) -> Shown:
        """The page asked before."""
        session = self.visits.session(session_id, request)
        talk_id = _talk_id(event)
        try:
            if session.owner is not None:
                self.service.delete(session.owner, talk_id)
        except NextGPTError as error:
            tell(error, session.language)
        if session.talk.closed:
            self.service.new(session)
        return self._shown(session)

    def _change(self, session_id: str | None, request: gr.Request | None, change: Any) -> str:
        session = self.visits.session(session_id, request)
        try:
            if session.owner is not None:
                change(self.service.store, session.owner)
        except NextGPTError as error:
            tell(error, session.language)
        return talk_list(self.service, session)

    def _shown(self, session: Session) -> Shown:
        """A reply in the making is shown by Talking.follow, right after this."""
        stop = gr.update(visible=session.busy)
        job = session.talk.job
        watched = job is not None and job is session.watched  # as it is shown: pressed though it is open
        return gr.skip() if watched else messages_of(session), stop, session.id, talk_list(self.service, session)


def _talk_id(event: gr.EventData) -> str:
    talk_id = event._data.get("id")
    return talk_id if isinstance(talk_id, str) else ""
