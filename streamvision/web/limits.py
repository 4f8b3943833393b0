"""How much one client may ask for: requests and wrong tokens by address, and the size of a request."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Message, Receive, Scope

from streamvision.clock import Clock
from streamvision.web.faults import ApiError

MAX_BODY_BYTES = 64 << 10
MAX_HEADERS = 64
MAX_HEAD_BYTES = 16 << 10
"""Of a request's line and headers together."""
MAX_TARGET_BYTES = 4096
"""Of path and query together."""
MAX_CLIENTS = 4096
"""Addresses that are remembered; the one that was silent the longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket: ``burst`` at once, and ``per_second`` of them come back."""

    burst: float
    per_second: float


REQUESTS = Allowance(burst=400, per_second=100)
WRONG_TOKENS = Allowance(burst=10, per_second=1 / 6)


class Buckets:
    """One token bucket per client, in bounded memory. Used by one thread, the server's loop."""

    def __init__(self, allowance: Allowance, clock: Clock, max_clients: int = MAX_CLIENTS) -> None:
        self._allowance = allowance
        self._clock = clock
        self._max_clients = max_clients
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Return after how many seconds a client has something left to spend; 0: now."""
        return max(0.0, 1 - self._level(client)) / self._allowance.per_second

    def spend(self, client: str) -> None:
        """Take one from a client's bucket, down to nothing."""
        self._left[client] = (max(0.0, self._level(client) - 1), self._clock.monotonic())
        self._left.move_to_end(client)
        if len(self._left) > self._max_clients:
            self._left.popitem(last=False)

    def _level(self, client: str) -> float:
        level, at_s = self._left.get(client, (self._allowance.burst, 0.0))
        return min(self._allowance.burst, level + (self._clock.monotonic() - at_s) * self._allowance.per_second)


def client_of(scope: Scope) -> str:
    """Return whom requests are counted by: an IPv4 address, or the /64 that one IPv6 client usually has whole."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host


def refuse_oversized(scope: Scope) -> None:
    """Raise `ApiError` for a request whose line, headers or announced body are larger than any that is served."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        raise ApiError(HTTPStatus.REQUEST_URI_TOO_LONG, "too_long", f"a URL has at most {MAX_TARGET_BYTES} bytes")
    held = sum(len(name) + len(value) for name, value in scope["headers"])
    if len(scope["headers"]) > MAX_HEADERS or held > MAX_HEAD_BYTES:
        most = f"a request has at most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes in all"
        raise ApiError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers", most)
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    if not announced.isdigit() or int(announced) > MAX_BODY_BYTES:
        raise _too_large()


def bounded(receive: Receive) -> Receive:
    """Return ``receive`` that raises `ApiError` once a body is larger than `MAX_BODY_BYTES`, announced or not."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return counting


def _too_large() -> ApiError:
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
