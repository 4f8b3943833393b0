"""Board -> ASGI application."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamvision.clock import Clock, SystemClock
from streamvision.web.api import Api
from streamvision.web.board import Board
from streamvision.web.control import AskReload, Control
from streamvision.web.faults import HANDLERS
from streamvision.web.security import Guard, Tokens

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/page.css": ("page.css", "text/css; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/events.js": ("events.js", "text/javascript; charset=utf-8"),
    "/static/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}


def create_app(
    board: Board,
    tokens: Tokens | None = None,
    reload: AskReload | None = None,
    *,
    hosts: Iterable[str] = (),
    clock: Clock | None = None,
) -> Starlette:
    """Return the application over a board; ``app.state.end`` ends what never ends by itself.

    ``reload`` asks for the configuration to be read again; without it nobody can. ``hosts`` are names, besides
    localhost, by which clients without tokens may call this machine; ``clock`` is what clients' rates are counted by.
    """
    api, tokens = Api(board), tokens or Tokens()
    routes = [
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz),
        Route("/metrics", api.metrics),
        Route("/api/v1/openapi.json", api.openapi),
        Route("/api/v1/streams", api.streams),
        Route("/api/v1/streams/{stream}", api.stream),
        Route("/api/v1/streams/{stream}/snapshot.jpg", api.snapshot),
        Route("/api/v1/events", api.events),
        Route("/api/v1/events/stream", api.event_stream),
        Route("/api/v1/events/{event}/explanation.jpg", api.explanation),
        Route("/live/{stream}", api.live),
        Route("/api/v1/reload", Control(reload, tokens).reload, methods=["POST"]),
        *(Route(path, _file(name, kind), include_in_schema=False) for path, (name, kind) in _FILES.items()),
    ]
    guard = Middleware(Guard, tokens=tokens, open_paths=_FILES, clock=clock or SystemClock(), hosts=(*hosts,))
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=dict(HANDLERS))
    app.state.end = api.end
    return app


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    """Return an endpoint for a file of the page; a browser asks each time whether it has changed."""
    body = (_STATIC / name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"content-type": kind, "ETag": tag, "Cache-Control": "no-cache"}

    def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    return serve
