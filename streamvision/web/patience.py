"""uvicorn's HTTP/1.1 with an end to its patience: slow requests are cut off, and connections are bounded.

Slow clients (RFC 9110 has no word for them; the attack is known as Slowloris) would otherwise hold a connection each,
for ever, without having sent one whole request.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamvision.web.tls import outdated

REQUEST_S = 15.0
"""From a connection's first byte, or its opening, to the last byte of a request."""
MAX_CONNECTIONS = 512
MAX_PER_CLIENT = 128
_UNFINISHED = (h11.IDLE, h11.SEND_BODY)


class PatientProtocol(H11Protocol):
    """One connection; see the module."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it at once where there are too many, or its certificates count no more."""
        super().connection_made(transport)
        if self._too_many() or outdated(transport):
            transport.close()
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the clock runs on until they make a whole request."""
        super().data_received(data)
        if self.conn.their_state in _UNFINISHED:
            self._await_request()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _too_many(self) -> bool:
        host = self.client[0] if self.client else ""
        held = sum(isinstance(each, H11Protocol) and (each.client or ("",))[0] == host for each in self.connections)
        return len(self.connections) > MAX_CONNECTIONS or held > MAX_PER_CLIENT

    def _await_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        self.transport.abort()
