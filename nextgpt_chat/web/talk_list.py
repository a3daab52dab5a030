"""The list of talks as HTML. Titles came from anyone and are escaped; assets/talks.js acts on what is pressed."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from ..errors import NextGPTError
from ..serving import ChatService, Session, TalkInfo
from . import texts

_SPOKEN = {
    "sure": texts.SURE,
    "sure_about": texts.SURE_ABOUT,
    "delete": texts.DELETE,
    "keep": texts.KEEP,
    "new_title": texts.NEW_TITLE,
    "importing": texts.IMPORTING,
    "failed": texts.FAILED_REQUEST,
    "copied": texts.LINK_COPIED,
    "link_is": texts.LINK_IS,
}
"""What the script says."""


def talk_list(service: ChatService, session: Session) -> str:
    """The list for a session's owner, as far as it is searched; a sentence where no talks are kept."""
    store, owner = service.store, session.owner
    if store is None or owner is None:
        return _navigation(f'<p class="empty">{html.escape(texts.NOT_KEPT)}</p>', None, "", False)
    try:
        talks = store.talks(owner, session.search)
    except NextGPTError as error:
        return _navigation(f'<p class="empty">{html.escape(str(error))}</p>', session.talk.id, "", True)
    return list_html(talks, session.talk.id, sharing=store.sharing, searched=bool(session.search.strip()))


def list_html(talks: Sequence[TalkInfo], opened: str | None, sharing: bool = False, searched: bool = False) -> str:
    """``opened``: id of the talk that the page shows. ``sharing``: whether links may be given out."""
    title = next((talk.title for talk in talks if talk.id == opened), "")
    if not talks:
        said = texts.NOTHING_FOUND if searched else texts.NO_TALKS
        return _navigation(f'<p class="empty">{html.escape(said)}</p>', opened, title, True)
    items = "".join(_item(talk, talk.id == opened, sharing) for talk in talks)
    return _navigation(f"<ul>{items}</ul>", opened, title, True)


def _navigation(inner: str, opened: str | None, title: str, kept: bool) -> str:
    spoken = html.escape(json.dumps(_SPOKEN))
    take = (
        f'<label class="take" tabindex="0" role="button">{html.escape(texts.IMPORT)}'
        '<input type="file" accept=".zip,application/zip" hidden></label>'
        if kept
        else ""
    )
    return (
        f'<nav class="talks" aria-label="{html.escape(texts.TALKS)}" data-opened="{html.escape(opened or "")}" '
        f'data-title="{html.escape(title)}" data-spoken="{spoken}">{inner}{take}'
        '<p class="said" role="status" aria-live="polite"></p></nav>'
    )


def _item(talk: TalkInfo, opened: bool, sharing: bool) -> str:
    title = html.escape(talk.title or texts.UNTITLED)
    when = datetime.fromtimestamp(talk.updated, UTC)
    shared = f'<span class="badge">{html.escape(texts.SHARED)}</span>' if talk.shared else ""
    at = html.escape(talk.id)
    return (
        f'<li class="talk{" opened" if opened else ""}" data-id="{at}">'
        f'<button type="button" class="pick" data-do="pick"{" aria-current=page" if opened else ""} title="{title}">'
        f'<span class="title" dir="auto">{title}</span>'
        f'<span class="when"><time datetime="{when.isoformat()}">{when:%Y-%m-%d}</time>{shared}</span></button>'
        f'<details class="more"><summary aria-label="{html.escape(texts.MORE.format(title=talk.title))}">⋯</summary>'
        f'<div class="menu">{_press("rename", texts.RENAME)}'
        f'<a href="talks/{at}.zip" download>{html.escape(texts.SAVE_ZIP)}</a>'
        f'<a href="talks/{at}.html" download>{html.escape(texts.SAVE_PAGE)}</a>'
        f"{_sharing(talk) if sharing else ''}{_press('remove', texts.DELETE)}</div></details></li>"
    )


def _sharing(talk: TalkInfo) -> str:
    if not talk.token:
        return _press("publish", texts.SHARE)
    link = f'<button type="button" data-do="link" data-token="{html.escape(talk.token)}">{texts.COPY_LINK}</button>'
    return link + _press("unpublish", texts.UNSHARE)


def _press(action: str, label: str) -> str:
    return f'<button type="button" data-do="{action}">{html.escape(label)}</button>'
