"""Who may look, what a browser may do with what it gets, and what happens when a request fails."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamvision.web.faults import bug_response, error_response

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/api/v1/openapi.json"})
"""Paths that tell nothing worth protecting: probes, and the page's own files, which ask for a token."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The bearer tokens of the configuration; without any, everybody who can connect may look."""

    admin: str | None = None
    read: str | None = None

    def __repr__(self) -> str:
        return f"Tokens(admin={'***' if self.admin else None}, read={'***' if self.read else None})"

    @property
    def required(self) -> bool:
        """Whether requests need a token."""
        return bool(self.admin or self.read)

    def may_read(self, given: str) -> bool:
        """Return whether a token opens the reading side; takes equally long for any wrong one."""
        return self._one_of(given, self.admin, self.read)

    def may_change(self, given: str) -> bool:
        """Return whether a token opens what changes the daemon."""
        return self._one_of(given, self.admin)

    @staticmethod
    def _one_of(given: str, *tokens: str | None) -> bool:
        known = [token for token in tokens if token]
        return sum(hmac.compare_digest(token.encode(), given.encode()) for token in known) > 0


_READING = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Puts the security headers on every answer, and asks for a token where tokens are configured."""

    def __init__(self, app: ASGIApp, tokens: Tokens, open_paths: Iterable[str]) -> None:
        self._app = app
        self._tokens = tokens
        self._open = OPEN_PATHS | frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._allowed(scope):
            await self._serve(scope, receive, _with_headers(send))
        else:
            answer = error_response(HTTPStatus.UNAUTHORIZED, "unauthorized", "a bearer token is required")
            answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, _with_headers(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001  a request's border: one that fails must not end the server
            answer = bug_response(scope["path"], error)
            if not begun:
                await answer(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        if not self._tokens.required or scope["path"] in self._open:
            return True
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scope["method"] not in _READING:
            return kind.lower() == "bearer" and self._tokens.may_change(token.strip())
        if kind.lower() == "bearer":
            return self._tokens.may_read(token.strip())
        return _from_element(scope["path"]) and self._tokens.may_read(_token_in_query(scope))


def _from_element(path: str) -> bool:
    """Return whether a browser asks for this path from an element that cannot send headers: images, EventSource."""
    return path.startswith("/live/") or path.endswith("/snapshot.jpg") or path == "/api/v1/events/stream"


def _token_in_query(scope: Scope) -> str:
    return str(QueryParams(scope["query_string"]).get("token", ""))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
