"""Two addresses for machines: ``/healthz`` (the process answers) and ``/readyz`` (the model is loaded)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..serving.runner import Status

_WORDS = {
    "ready": "The model is loaded.",
    "loading": "The model is still loading.",
    # Not the error itself: anyone may ask here, and it may name folders of the server.
    "failed": "The model could not be loaded. The server's log says why.",
}
_FRESH = {"Cache-Control": "no-store"}


def health_routes(status: Callable[[], Status]) -> list[Route]:
    """Routes for Gradio's ``launch(app_kwargs={"routes": …})`` or any other Starlette app; no login guards them.

    ``/healthz`` answers 200 as long as the process does. ``/readyz`` answers 200 when ``status()`` is "ready", else
    503 with the phase ("loading" or "failed") and a sentence. Both answer GET and HEAD with JSON that names no path.
    """

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers=_FRESH)

    async def readyz(request: Request) -> JSONResponse:
        now = status()
        said = {"status": now.phase, "message": _WORDS[now.phase], "seconds": round(now.seconds, 1)}
        if now.phase == "ready":
            return JSONResponse(said, headers=_FRESH)
        again = {"Retry-After": "5"} if now.phase == "loading" else {}
        return JSONResponse(said, status_code=503, headers=_FRESH | again)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
