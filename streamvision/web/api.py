"""What every path answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streamvision.errors import StreamvisionError
from streamvision.interfaces import MAX_POSITION, StoredEvent, full_event_type
from streamvision.metrics import CONTENT_TYPE
from streamvision.web.board import Board, StreamStatus
from streamvision.web.endless import MJPEG_TYPE, SSE_TYPE, Endless, event_part, picture_part
from streamvision.web.faults import ApiError
from streamvision.web.live import HubClosed, TooManyWatchers, View, Watcher
from streamvision.web.openapi import document

log = structlog.get_logger()

T = TypeVar("T")

POSITION_HEADER = "Streamvision-Position"
"""The store's position of the newest event that an answer covers; what to ask ``after`` next."""

MAX_EVENTS = 1000
MAX_LISTENERS = 64
POLL_S = 0.3
KEEP_ALIVE_S = 15.0
MIN_WIDTH, MAX_WIDTH = 160, 3840
MAX_WAIT_S = 10.0
RETRY_S = "10"
"""When to ask again for an explanation that is being made."""


class Api:
    """The endpoints over one board. Every method runs in the web thread's loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._reader = ThreadPoolExecutor(1, "web-events")
        self._listeners = 0
        self.stopping = asyncio.Event()

    def end(self) -> None:
        """Send home everybody who waits; called in the loop when the server stops."""
        self.stopping.set()
        self._board.live.close()
        self._reader.shutdown(wait=False)

    async def healthz(self, request: Request) -> Response:
        """Alive: 200, or 503 with the stages that are silent."""
        health = self._board.health()
        return JSONResponse(health.as_json(), HTTPStatus.OK if health.alive else HTTPStatus.SERVICE_UNAVAILABLE)

    async def readyz(self, request: Request) -> Response:
        """Ready: 200, or 503 with the engines that are not."""
        readiness = self._board.readiness()
        status = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(readiness.as_json(), status)

    async def metrics(self, request: Request) -> Response:
        """Everything that is counted."""
        return Response(self._board.metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def openapi(self, request: Request) -> Response:
        """Answer with this very interface."""
        return JSONResponse(document())

    async def streams(self, request: Request) -> Response:
        """Every stream's status."""
        return JSONResponse([stream.as_json() for stream in self._board.streams()])

    async def stream(self, request: Request) -> Response:
        """One stream's status."""
        return JSONResponse(self._known(request).as_json())

    async def events(self, request: Request) -> Response:
        """The newest events, newest first; or with ``after`` those after a position, oldest first."""
        limit = _integer(request, "limit", 100, 1, MAX_EVENTS)
        stream, kind = request.query_params.get("stream"), _event_type(request)
        if "after" in request.query_params:
            position = _integer(request, "after", 0, 0, MAX_POSITION)
            seen = await self._read(lambda: self._board.events.after(position, limit))
            found = [event for event in seen if _matches(event, stream, kind)]
            position = seen[-1].position if seen else position
        else:
            found = await self._read(lambda: self._board.events.latest(limit, stream=stream, type_prefix=kind))
            position = found[0].position if found else await self._newest()
        body = "[" + ",".join(event.json for event in found) + "]"
        return Response(body, media_type="application/json", headers={POSITION_HEADER: str(position)})

    async def event_stream(self, request: Request) -> Response:
        """Events as they happen, as server-sent events; resumes after ``Last-Event-ID``, or ``after``.

        A browser sends the header by itself, and asks never again where that is refused: one that says nothing counts
        as none. A position beyond the store's end, of a store that was replaced, is its end: not silence until then.
        """
        if self._listeners >= MAX_LISTENERS:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too_many", f"{MAX_LISTENERS} listen already")
        asked = _integer(request, "after", MAX_POSITION, 0, MAX_POSITION)
        last = _within(request.headers.get("last-event-id", ""), int, (0, MAX_POSITION))
        position = min(asked if last is None else last, await self._newest())
        stream, kind = request.query_params.get("stream"), _event_type(request)
        return Endless(self._follow(position, stream, kind), SSE_TYPE, self.stopping)

    async def explanation(self, request: Request) -> Response:
        """The map of what an event's network looked at: a JPEG file, 202 while it is being made."""
        event = request.path_params["event"]
        found = await self._read(lambda: self._board.explanation(event))
        if found.jpeg is not None:
            return Response(found.jpeg, media_type="image/jpeg")
        if found.pending:
            body = {"status": "pending", "event": event}
            return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Retry-After": RETRY_S})
        raise ApiError(HTTPStatus.NOT_FOUND, "no_explanation", f"{event[:64]}: {found.reason}")

    async def snapshot(self, request: Request) -> Response:
        """The next analysed picture as a JPEG file."""
        status = self._known(request)
        view = _view(request, MAX_WIDTH)
        wait_s = _number(request, "wait", 5.0, 0.1, MAX_WAIT_S)
        with self._watch(status) as watcher:
            try:
                async with asyncio.timeout(wait_s):
                    shot = await watcher.next()
                    jpeg = await watcher.jpeg(shot, view)
            except TimeoutError:
                raise ApiError(
                    HTTPStatus.GATEWAY_TIMEOUT,
                    "no_picture",
                    f"{status.id}: no picture was analysed within {wait_s:g} s; the stream is {status.state}",
                ) from None
            except HubClosed:
                raise _stopping() from None
        headers = {"Streamvision-Media-Time": f"{shot.analysis.info.media_s:.3f}"}
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    async def live(self, request: Request) -> Response:
        """Annotated pictures for as long as somebody watches."""
        status = self._known(request)
        view = _view(request, 1280)
        watcher = self._watch(status)
        return Endless(_pictures(watcher, view), MJPEG_TYPE, self.stopping, watcher.close)

    async def _follow(self, position: int, stream: str | None, kind: str) -> AsyncGenerator[bytes, None]:
        self._listeners += 1
        try:
            yield b"retry: 2000\n\n"
            quiet_s = 0.0
            while True:
                seen = await self._read(partial(self._board.events.after, position, 200))
                parts = [event_part(one.position, one.json) for one in seen if _matches(one, stream, kind)]
                position = seen[-1].position if seen else position
                quiet_s = 0.0 if parts else quiet_s + POLL_S
                if quiet_s > KEEP_ALIVE_S:
                    parts, quiet_s = [b": still here\n\n"], 0.0
                if parts:
                    yield b"".join(parts)
                if not seen:
                    await asyncio.sleep(POLL_S)
        except StreamvisionError as error:
            log.warning("event stream ended", error=str(error))  # the client comes again by itself
        finally:
            self._listeners -= 1

    def _watch(self, status: StreamStatus) -> Watcher:
        try:
            return self._board.live.watch(status.id)
        except TooManyWatchers:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too_many", "too many watch already") from None
        except HubClosed:
            raise _stopping() from None

    def _known(self, request: Request) -> StreamStatus:
        name = request.path_params["stream"]
        for status in self._board.streams():
            if status.id == name:
                return status
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_stream", f"there is no stream {name!r}")

    async def _newest(self) -> int:
        newest = await self._read(lambda: self._board.events.latest(1))
        return newest[0].position if newest else 0

    async def _read(self, question: Callable[[], T]) -> T:
        """Ask the store, which may block, in the thread kept for it."""
        if self.stopping.is_set():
            raise _stopping()
        return await asyncio.get_running_loop().run_in_executor(self._reader, question)


async def _pictures(watcher: Watcher, view: View) -> AsyncGenerator[bytes, None]:
    """Yield every picture that the client is ready for; the last one again where none comes, to notice dead clients."""
    part = b""
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                part = picture_part(await watcher.jpeg(await watcher.next(), view))
        except TimeoutError:
            pass
        except HubClosed:
            return
        if part:
            yield part


def _stopping() -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "the daemon is going down")


def _matches(event: StoredEvent, stream: str | None, kind: str) -> bool:
    return (not stream or event.stream == stream) and (not kind or event.type.startswith(kind))


def _event_type(request: Request) -> str:
    return full_event_type(request.query_params.get("type", ""))


def _view(request: Request, width: int) -> View:
    """Return how the client wants its pictures: ``width`` and ``annotated``."""
    annotated = bool(_integer(request, "annotated", 1, 0, 1))
    return View(_integer(request, "width", width, MIN_WIDTH, MAX_WIDTH), annotated)


def _integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    return _parsed(request, name, default, int, (low, high))


def _number(request: Request, name: str, default: float, low: float, high: float) -> float:
    return _parsed(request, name, default, float, (low, high))


_Number = TypeVar("_Number", int, float)


def _parsed(
    request: Request, name: str, default: _Number, kind: Callable[[str], _Number], limits: Sequence[_Number]
) -> _Number:
    given = request.query_params.get(name)
    if given is None:
        return default
    value = _within(given, kind, limits)
    if value is None:
        message = f"{name}: expected {limits[0]} to {limits[1]}, got {given[:40]!r}"
        raise ApiError(HTTPStatus.BAD_REQUEST, "bad_parameter", message)
    return value


def _within(text: str, kind: Callable[[str], _Number], limits: Sequence[_Number]) -> _Number | None:
    """Return the number that a text is, None for one beyond the limits, and for what is no number."""
    try:
        value = kind(text)  # of a thousand digits Python makes none
    except ValueError:
        return None
    return value if limits[0] <= value <= limits[1] else None
