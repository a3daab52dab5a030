"""Which browser a request comes from: a random id in a cookie that no script can read, and what is kept of it."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import NextGPTError
from ..serving import TalkStore

COOKIE = "nextgpt_browser"
_SECONDS = 400 * 86_400  # the longest that browsers keep a cookie; every visit begins it anew


def browser_id(cookies: str | None) -> str | None:
    """The id in a Cookie header, as the browser sent it: it may be anything."""
    found = re.search(rf"(?:^|;)\s*{COOKIE}=([^;]*)", cookies or "")
    return found.group(1).strip() if found else None


def owner_of(store: TalkStore | None, cookies: str | None) -> str | None:
    """The owner's key of the browser that sent this Cookie header; None where it has no id, or no valid one."""
    sent = browser_id(cookies)
    if store is None or sent is None:
        return None
    try:
        return store.owner_of(sent)
    except NextGPTError:
        return None


def requester(store: TalkStore | None, request: Any) -> str | None:
    """As :func:`owner_of`, of a ``gr.Request``; None for calls from within the program."""
    headers = getattr(request, "headers", None)
    return owner_of(store, headers.get("cookie") if headers is not None else None)


class BrowserCookie:
    """ASGI middleware that gives a browser its id with the page, and keeps the id it has."""

    def __init__(self, app: ASGIApp, store: TalkStore) -> None:
        self.app, self.store = app, store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not _is_page(scope):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookies = headers.get("cookie")
        known = browser_id(cookies) if owner_of(self.store, cookies) else None
        cookie = set_cookie(known or self.store.new_browser_id(), secure=_is_secure(scope, headers))

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.append("set-cookie", cookie)
                answer.setdefault("cache-control", "no-store")  # a shared cache must not give it to others
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def set_cookie(value: str, secure: bool) -> str:
    """A Set-Cookie header's value. ``secure``: the page came by https, perhaps within another site's frame, as on
    Hugging Face Spaces: then the cookie is partitioned by that site, so that browsers accept it."""
    text = f"{COOKIE}={value}; Max-Age={_SECONDS}; Path=/; HttpOnly"
    return text + ("; SameSite=None; Secure; Partitioned" if secure else "; SameSite=Lax")


def _is_page(scope: Scope) -> bool:
    return scope["path"].removeprefix(scope.get("root_path", "")) in ("", "/")


def _is_secure(scope: Scope, headers: Headers) -> bool:
    """Whether the browser used https: a proxy in front says so. Who forges that harms only the own cookie."""
    forwarded = headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return (forwarded or scope["scheme"]) == "https"
