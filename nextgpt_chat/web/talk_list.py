"""The list of talks as HTML. Titles came from anyone and are escaped; assets/talks.js acts on what is pressed."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from ..errors import NextGPTError
from ..serving import ChatService, Session, TalkInfo
from .languages import ENGLISH, texts_in
from .texts import Texts
from .told import told

_SPOKEN = (
    "sure",
    "sure_about",
    "delete",
    "keep",
    "new_title",
    "importing",
    "failed_request",
    "link_copied",
    "link_is",
)
"""What the script says."""


def talk_list(service: ChatService, session: Session) -> str:
    """The list for a session's owner, as far as it is searched; a sentence where no talks are kept."""
    store, owner, say = service.store, session.owner, texts_in(session.language)
    if store is None or owner is None:
        return _navigation(f'<p class="empty">{html.escape(say.not_kept)}</p>', None, "", False, say)
    try:
        talks = store.talks(owner, session.search)
    except NextGPTError as error:
        return _navigation(f'<p class="empty">{html.escape(told(str(error), say))}</p>', session.talk.id, "", True, say)
    return list_html(talks, session.talk.id, store.sharing, bool(session.search.strip()), say)


def list_html(
    talks: Sequence[TalkInfo],
    opened: str | None,
    sharing: bool = False,
    searched: bool = False,
    say: Texts = ENGLISH,
) -> str:
    """``opened``: id of the talk that the page shows. ``sharing``: whether links may be given out."""
    title = next((talk.title for talk in talks if talk.id == opened), "")
    if not talks:
        said = say.nothing_found if searched else say.no_talks
        return _navigation(f'<p class="empty">{html.escape(said)}</p>', opened, title, True, say)
    items = "".join(_item(talk, talk.id == opened, sharing, say) for talk in talks)
    return _navigation(f"<ul>{items}</ul>", opened, title, True, say)


def _navigation(inner: str, opened: str | None, title: str, kept: bool, say: Texts) -> str:
    spoken = html.escape(json.dumps({name: getattr(say, name) for name in _SPOKEN}))
    take = (
        f'<label class="take" tabindex="0" role="button">{html.escape(say.import_talk)}'
        '<input type="file" accept=".zip,application/zip" hidden></label>'
        if kept
        else ""
    )
    return (
        f'<nav class="talks" aria-label="{html.escape(say.talks)}" data-opened="{html.escape(opened or "")}" '
        f'data-title="{html.escape(title)}" data-spoken="{spoken}">{inner}{take}'
        '<p class="said" role="status" aria-live="polite"></p></nav>'
    )


def _item(talk: TalkInfo, opened: bool, sharing: bool, say: Texts) -> str:
    title = html.escape(talk.title or say.untitled)
    when = datetime.fromtimestamp(talk.updated, UTC)
    shared = f'<span class="badge">{html.escape(say.shared)}</span>' if talk.shared else ""
    at = html.escape(talk.id)
    return (
        f'<li class="talk{" opened" if opened else ""}" data-id="{at}">'
        f'<button type="button" class="pick" data-do="pick"{" aria-current=page" if opened else ""} title="{title}">'
        f'<span class="title" dir="auto">{title}</span>'
        f'<span class="when"><time datetime="{when.isoformat()}">{when:%Y-%m-%d}</time>{shared}</span></button>'
        f'<details class="more"><summary aria-label="{html.escape(say.more.format(title=talk.title))}">⋯</summary>'
        f'<div class="menu">{_press("rename", say.rename)}'
        f'<a href="talks/{at}.zip" download>{html.escape(say.save_zip)}</a>'
        f'<a href="talks/{at}.html" download>{html.escape(say.save_page)}</a>'
        f"{_sharing(talk, say) if sharing else ''}{_press('remove', say.delete)}</div></details></li>"
    )


def _sharing(talk: TalkInfo, say: Texts) -> str:
    if not talk.token:
        return _press("publish", say.share)
    said = html.escape(say.copy_link)
    link = f'<button type="button" data-do="link" data-token="{html.escape(talk.token)}">{said}</button>'
    return link + _press("unpublish", say.unshare)


def _press(action: str, label: str) -> str:
    return f'<button type="button" data-do="{action}">{html.escape(label)}</button>'
