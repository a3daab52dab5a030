"""Our own addresses beside Gradio's: media, exports, imports and shared talks, each checked against the browser's id.

What is not there and what belongs to somebody else get the same answer.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import LimitError, NextGPTError
from ..serving import TalkStore, talk_export, talk_page
from .identity import owner_of
from .languages import language_of, texts_in
from .texts import Texts
from .told import told

logger = logging.getLogger(__name__)

_NOUNS = {".png": "picture", ".wav": "sound", ".mp4": "clip"}
_SHOWN = re.compile(r"[A-Za-z0-9_-]{22}")
_INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Routes:
    """``shown``: folder with the files of talks that are not kept, under names nobody can guess."""

    def __init__(self, store: TalkStore, shown: Path) -> None:
        self.store, self.shown = store, shown

    def all(self) -> list[Route]:
        return [
            Route("/media/{media_id}", self.medium),
            Route("/media/{folder}/{name}", self.shown_file),
            Route("/talks/{talk_id}.zip", self.export_zip),
            Route("/talks/{talk_id}.html", self.export_html),
            Route("/talks/import", self.import_zip, methods=["POST"]),
            Route("/shared/{token}", self.shared_talk),
            Route("/shared/{token}/{media_id}", self.shared_medium),
        ]

    def medium(self, request: Request) -> Response:
        """A medium of one of the browser's talks, by its sha256; ``?download`` to save it."""
        owner = self._owner(request)
        media_id = request.path_params["media_id"]
        return _file(request, lambda: self.store.media_path(owner, media_id) if owner else None, media_id[:8])

    def shown_file(self, request: Request) -> Response:
        """A medium of a talk that is not kept. Who knows its name has been shown it."""
        folder, name = request.path_params["folder"], request.path_params["name"]
        stem, suffix = os.path.splitext(name)
        known = _SHOWN.fullmatch(folder) and _SHOWN.fullmatch(stem) and suffix in _NOUNS
        return _file(request, lambda: self.shown / folder / name if known else None, stem[:8])

    def export_zip(self, request: Request) -> Response:
        """A talk as a ZIP file."""
        owner, talk_id = self._owner(request), request.path_params["talk_id"]
        if owner is None:
            return _not_here(_say(request))
        path = Path(tempfile.gettempdir(), f"nextgpt-{secrets.token_hex(16)}.zip")
        try:
            title = self.store.info(owner, talk_id).title
            self.store.export_zip(owner, talk_id, path)
        except NextGPTError as error:
            path.unlink(missing_ok=True)
            return _trouble(error, _say(request))
        return FileResponse(
            path,
            media_type="application/zip",
            headers={**_INERT, "Cache-Control": "no-store", "Content-Disposition": attachment(title, ".zip")},
            background=BackgroundTask(path.unlink, missing_ok=True),
        )

    def export_html(self, request: Request) -> Response:
        """A talk as one page that needs nothing else, to save."""
        owner, talk_id, say = self._owner(request), request.path_params["talk_id"], _say(request)
        if owner is None:
            return _not_here(say)
        try:
            title = self.store.info(owner, talk_id).title
            page = self.store.export_html(owner, talk_id, say.language, {**say.exported, **say.facts})
        except NextGPTError as error:
            return _trouble(error, say)
        headers = {"Cache-Control": "no-store", "Content-Disposition": attachment(title, ".html")}
        return HTMLResponse(page, headers={**_INERT, **headers})

    async def import_zip(self, request: Request) -> Response:
        """Takes a saved talk as the request's body; answers with {"id"} or {"error"}.

        Only for bodies called application/zip: other sites' pages cannot send those without asking first.
        """
        owner = self._owner(request)
        if owner is None:
            return JSONResponse({"error": _say(request).not_kept}, 403)
        if request.headers.get("content-type") != "application/zip":
            return JSONResponse({"error": _say(request).not_a_zip}, 415)
        name = os.path.basename(request.query_params.get("name", "").replace("\\", "/"))[:100] or "talk.zip"
        with tempfile.TemporaryDirectory(prefix="nextgpt-") as folder:
            path = Path(folder, "talk.zip")
            try:
                await _receive(request, path)
                talk_id = await run_in_threadpool(self.store.import_zip, owner, path)
            except NextGPTError as error:
                said = str(error).replace(str(path), name).replace(path.name, name)
                return JSONResponse({"error": told(said, _say(request))}, 400)
            except ClientDisconnect:
                return Response(status_code=400)
        return JSONResponse({"id": talk_id})

    def shared_talk(self, request: Request) -> Response:
        """A talk as those see it who have its link."""
        token, say = request.path_params["token"], _say(request)
        try:
            shared = self.store.shared(token)
        except NextGPTError:
            return _not_here(say)
        address = quote(token, safe="")
        page = talk_page.page(
            shared.conversation,
            shared.title,
            lambda sha256: f"{address}/{sha256}",
            media_from="'self'",
            language=say.language,
            say={**say.exported, **say.facts},
        )
        headers = {name: value for name, value in _INERT.items() if name != "Content-Security-Policy"}
        return HTMLResponse(page, headers={**headers, "Cache-Control": "no-store", "X-Robots-Tag": "noindex"})

    def shared_medium(self, request: Request) -> Response:
        token, media_id = request.path_params["token"], request.path_params["media_id"]
        return _file(request, lambda: self.store.shared_media_path(token, media_id), media_id[:8])

    def _owner(self, request: Request) -> str | None:
        return owner_of(self.store, request.headers.get("cookie"))


def attachment(title: str, suffix: str) -> str:
    """A Content-Disposition that saves a file under a name made of harmless letters of ``title``."""
    name = re.sub(r"[^\w-]+", "-", title).strip("-_")[:60] or "talk"
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-") or "talk"
    return f"attachment; filename=\"{plain}{suffix}\"; filename*=UTF-8''{quote(name + suffix, safe='')}"


def _file(request: Request, find: Callable[[], Path | None], stem: str) -> Response:
    try:
        path = find()
    except NextGPTError:
        path = None
    if path is None or not path.is_file():
        return _not_here(_say(request))
    kind = "attachment" if "download" in request.query_params else "inline"
    name = f"nextgpt-{_NOUNS[path.suffix]}-{re.sub(r'[^0-9A-Za-z]', '', stem)}{path.suffix}"
    headers = {
        **_INERT,
        "Cache-Control": "private, max-age=3600",
        "Vary": "Cookie",
        "Content-Disposition": f'{kind}; filename="{name}"',
    }
    return FileResponse(path, media_type=talk_page.MIME[path.suffix], headers=headers)


async def _receive(request: Request, path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > talk_export.FILE_BYTES:
                raise LimitError(
                    f"The file is larger than {talk_export.FILE_BYTES / 1e6:.0f} MB, the most that is taken. "
                    "Export a shorter talk."
                )
            file.write(chunk)


def _say(request: Request) -> Texts:
    return texts_in(language_of(request))


def _not_here(say: Texts) -> Response:
    return Response(say.not_here, 404, {**_INERT, "Cache-Control": "no-store"}, "text/plain; charset=utf-8")


def _trouble(error: NextGPTError, say: Texts) -> Response:
    """A talk that is not there, or an export that failed on the server's disk."""
    if type(error) is NextGPTError:
        return _not_here(say)
    status = 413 if isinstance(error, LimitError) else 500
    if status == 500:
        logger.error("A talk could not be exported: %s", error)
    return Response(told(str(error), say), status, {**_INERT, "Cache-Control": "no-store"}, "text/plain; charset=utf-8")
