"""Answers without an end: pictures as multipart/x-mixed-replace, events as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BOUNDARY = "streamvision-picture"
MJPEG_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
SSE_TYPE = "text/event-stream; charset=utf-8"

_PATIENCE_S = 30.0
"""How long a client may take nothing before it counts as gone."""


def picture_part(jpeg: bytes) -> bytes:
    """Return one picture of a multipart answer."""
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


def event_part(position: int, data: str) -> bytes:
    """Return one server-sent event; ``position`` is what a client resumes after."""
    return f"id: {position}\nevent: event\ndata: {data}\n\n".encode()


class Endless(Response):
    """Sends parts until there are no more, the client has gone, or the daemon stops."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        media_type: str,
        stopping: asyncio.Event,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """``on_end`` is called once when the answer is over, however it ended."""
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self._parts = parts
        self._stopping = stopping
        self._on_end = on_end
        self.init_headers({"content-type": media_type, "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        sending = asyncio.create_task(self._send(send))
        watching = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait((sending, *watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *watching):
                task.cancel()
            await asyncio.wait((sending, *watching))
            await self._parts.aclose()
            if self._on_end is not None:
                self._on_end()
        if sending.cancelled():
            await _end(send)
        elif not self._stopping.is_set():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for part in self._parts:
                async with asyncio.timeout(_PATIENCE_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            return
        await _end(send)


async def _gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})
