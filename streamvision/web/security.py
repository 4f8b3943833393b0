"""Who may look, what a browser may do with what it gets, and what happens when a request fails."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamvision.clock import Clock
from streamvision.web.faults import ApiError, bug_response, refusal
from streamvision.web.limits import REQUESTS, WRONG_TOKENS, Buckets, bounded, client_of, refuse_oversized

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


@dataclass(slots=True)
class Tokens:
    """The bearer tokens of the configuration; without any, everybody who can connect may look."""

    admin: str | None = None
    read: str | None = None

    def renew(self, other: Tokens) -> None:
        """Take other tokens from now on; those that are not among them open nothing any more."""
        self.admin, self.read = other.admin, other.read

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
        # Digests, because comparing texts of two lengths tells the length.
        wanted = [_digest(token) for token in tokens if token]
        found = _digest(given)
        return sum(hmac.compare_digest(each, found) for each in wanted) > 0


_READING = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Puts the security headers on every answer, and decides who is served.

    Where tokens are configured they are asked for; an address that has sent too many wrong ones is told nothing of
    further ones for a while. A right one always passes, and its requests are counted apart: behind a reverse proxy all
    clients have one address, and nobody must be able to lock the others out. Guessing is no use against
    `config.settings.LEAST_TOKEN` characters. Without tokens the server is bound to loopback, and a browser has to
    think that it speaks to this machine (``hosts`` are further names): else a page of another site, whose name it has
    made to lead here (DNS rebinding), could read what the cameras see.
    """

    def __init__(
        self, app: ASGIApp, tokens: Tokens, open_paths: Iterable[str], clock: Clock, hosts: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._open = OPEN_PATHS | frozenset(open_paths)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._requests = Buckets(REQUESTS, clock)
        self._wrong = Buckets(WRONG_TOKENS, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        try:
            self._admit(scope)
        except ApiError as error:
            await refusal(error)(scope, receive, send)
        else:
            await self._serve(scope, bounded(receive), send)

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

    def _admit(self, scope: Scope) -> None:
        """Raise `ApiError` for a request that is not served."""
        client, token = client_of(scope), _token_of(scope)
        known = bool(token) and self._tokens.may_read(token)
        self._spend(self._requests, f"{client} with a token" if known else client)
        refuse_oversized(scope)
        if scope["path"] in self._open:
            return
        if self._tokens.required:
            if not known:
                self._turn_away(client, token)
            if scope["method"] not in _READING and not self._tokens.may_change(token):
                message = "this token may look; what changes something needs admin"
                raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", message)
        elif not self._is_ours(Headers(scope=scope).get("host", "")):
            raise ApiError(
                HTTPStatus.FORBIDDEN, "foreign_host",
                "without tokens this machine is spoken to as localhost or 127.0.0.1; others: server.allowed_hosts",
            )  # fmt: skip

    def _spend(self, buckets: Buckets, client: str) -> None:
        if wait_s := buckets.wait_s(client):
            raise _patience(wait_s)
        buckets.spend(client)

    def _turn_away(self, client: str, token: str) -> NoReturn:
        """Refuse a request without the right token; one with a wrong token is a guess."""
        if token:
            self._spend(self._wrong, client)
        headers = {"WWW-Authenticate": "Bearer"}
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unauthorized", "a bearer token is required", headers)

    def _is_ours(self, host: str) -> bool:
        return is_loopback(host) or host_name(host) in self._hosts


def host_name(host: str) -> str:
    """Return the name in a Host header, lower case, without the port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine as only itself can."""
    name = host_name(host)
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _patience(wait_s: float) -> ApiError:
    seconds = math.ceil(wait_s)
    headers = {"Retry-After": str(seconds)}
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, "too_many", f"too many requests; ask again in {seconds} s", headers)


def _token_of(scope: Scope) -> str:
    """Return the token that came with a request, empty without one."""
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    from_element = scope["method"] in _READING and _from_element(scope["path"])
    return _token_in_query(scope) if from_element else ""


def _from_element(path: str) -> bool:
    """Return whether a browser asks for this path from an element that cannot send headers: images, EventSource."""
    pictures = ("/snapshot.jpg", "/explanation.jpg")
    return path.startswith("/live/") or path.endswith(pictures) or path == "/api/v1/events/stream"


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
