"""The way of a picture from the analysis thread to whoever watches.

The analysis thread hands over a reference to the newest picture of a stream that somebody watches, and nothing more;
the web thread has it drawn and encoded by a worker, once for all watchers of the same view, and only when one of
them is ready for it. A slow watcher misses pictures and slows nobody. A picture whose last watcher has gone is
released at once: it may be a decoder's own buffer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from streamvision.clock import Clock
from streamvision.draw import Trail, Trails, annotate, to_jpeg
from streamvision.types import Analysis, Picture

Shapes = Mapping[str, Sequence[tuple[float, float]]]
"""Names -> points in parts of the picture, 0-1."""

WIDTH_STEP = 160
JPEG_QUALITY = 80


class TooManyWatchers(Exception):  # noqa: N818
    """Every place to watch from is taken."""


class HubClosed(Exception):  # noqa: N818
    """The daemon is going down."""


@dataclass(frozen=True, slots=True)
class View:
    """How a watcher wants its pictures: at most this wide, with or without what is known about them."""

    width: int = 960
    annotated: bool = True

    @property
    def rounded(self) -> View:
        """The view that is encoded: few different widths, so that watchers share their pictures."""
        return View(-(-self.width // WIDTH_STEP) * WIDTH_STEP, self.annotated)


@dataclass(slots=True, eq=False)
class Shot:
    """The newest picture of a stream; ``number`` grows by one per picture. ``files`` holds what is encoded of it."""

    number: int
    analysis: Analysis
    picture: Picture
    zones: Shapes
    lines: Shapes
    trails: Sequence[Trail]
    files: dict[View, Future[bytes]] = field(default_factory=dict)

    def encode(self, view: View) -> bytes:
        """Return the shot as a JPEG file; drawing happens at the size that is sent."""
        width, height = self.picture.size_wh
        wide = min(view.width, width)
        size_wh = (wide, max(1, round(height * wide / width)))
        rgb = self.picture.rgb(size_wh)
        if view.annotated:
            rgb = annotate(rgb, self.analysis, zones=self.zones, lines=self.lines, trails=self.trails)
        return to_jpeg(rgb, JPEG_QUALITY)


@dataclass(slots=True, eq=False)
class _Stage:
    """One stream's newest shot and who waits for the next."""

    trails: Trails = field(default_factory=Trails)
    watchers: int = 0
    due_s: float = 0.0
    number: int = 0
    shot: Shot | None = None
    gone: bool = False
    waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = field(default_factory=list)


class LiveHub:
    """The newest watched picture of every stream. Safe from any thread."""

    def __init__(self, clock: Clock, *, max_fps: float = 10.0, max_watchers: int = 32) -> None:
        self._clock = clock
        self._period_s = 1 / max_fps
        self._max_watchers = max_watchers
        self._stages: dict[str, _Stage] = {}
        self._watched: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._closed = False
        self._workers = ThreadPoolExecutor(2, "web-encode")

    def wanted(self, stream: str) -> bool:
        """Return whether a picture of a stream is worth publishing now; costs next to nothing where it is not."""
        if stream not in self._watched or (stage := self._stages.get(stream)) is None:
            return False
        return self._clock.monotonic() >= stage.due_s

    def publish(self, stream: str, analysis: Analysis, picture: Picture, zones: Shapes, lines: Shapes) -> None:
        """Show a picture to whoever watches ``stream``; returns at once."""
        with self._lock:
            stage = self._stages.get(stream)
            if stage is None or not stage.watchers:
                return
            now_s = self._clock.monotonic()
            stage.due_s = max(stage.due_s + self._period_s, now_s)
            stage.trails.update(analysis)
            stage.number += 1
            stage.shot = Shot(stage.number, analysis, picture, zones, lines, stage.trails.snapshot())
            waiting, stage.waiting = stage.waiting, []
        _wake(waiting)

    def watch(self, stream: str) -> Watcher:
        """Return a new watcher of a stream, to be closed. Raises `TooManyWatchers` or `HubClosed`."""
        return Watcher(self, self._enter(stream))

    def watchers(self) -> int:
        """Return how many watch now."""
        with self._lock:
            return sum(stage.watchers for stage in self._stages.values())

    def forget(self, stream: str) -> None:
        """Send the watchers of a stream home: it is no more."""
        with self._lock:
            stage = self._stages.pop(stream, None)
            if stage is None:
                return
            stage.gone, stage.shot = True, None
            waiting, stage.waiting = stage.waiting, []
            self._note_watched()
        _wake(waiting)

    def close(self) -> None:
        """Send every watcher home; idempotent."""
        with self._lock:
            self._closed = True
            waiting = [one for stage in self._stages.values() for one in stage.waiting]
        _wake(waiting)
        self._workers.shutdown(wait=False)

    def _enter(self, stream: str) -> _Stage:
        with self._lock:
            if self._closed:
                raise HubClosed
            if sum(stage.watchers for stage in self._stages.values()) >= self._max_watchers:
                raise TooManyWatchers
            stage = self._stages.setdefault(stream, _Stage())
            stage.watchers += 1
            self._note_watched()
            return stage

    def _leave(self, stage: _Stage) -> None:
        with self._lock:
            stage.watchers -= 1
            if not stage.watchers:
                stage.shot = None
            self._note_watched()

    def _note_watched(self) -> None:
        self._watched = frozenset(stream for stream, stage in self._stages.items() if stage.watchers)

    def _next(self, stage: _Stage, after: int) -> Shot | asyncio.Future[None]:
        """Return a shot newer than ``after``, or a future that is done when there may be one."""
        with self._lock:
            if self._closed or stage.gone:
                raise HubClosed
            if stage.shot is not None and stage.shot.number > after:
                return stage.shot
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            stage.waiting.append((loop, future))
            return future

    def _forget(self, stage: _Stage, future: asyncio.Future[None]) -> None:
        with self._lock:
            stage.waiting = [one for one in stage.waiting if one[1] is not future]

    def _file(self, shot: Shot, view: View) -> Future[bytes]:
        """Return the shot's file in a view, started by the first who asks. Only the web thread comes here."""
        if view not in shot.files:
            try:
                shot.files[view] = self._workers.submit(shot.encode, view)
            except RuntimeError as error:  # the workers have been sent home
                raise HubClosed from error
        return shot.files[view]


class Watcher:
    """One pair of eyes on one stream; a context that closes itself. Used by coroutines of the web thread."""

    def __init__(self, hub: LiveHub, stage: _Stage) -> None:
        self._hub = hub
        self._stage = stage
        self._seen = stage.number
        self._closed = False

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Watch no more; idempotent."""
        if not self._closed:
            self._closed = True
            self._hub._leave(self._stage)

    async def next(self) -> Shot:
        """Wait for a picture that this watcher has not seen. Raises `HubClosed`."""
        while True:
            found = self._hub._next(self._stage, self._seen)
            if isinstance(found, Shot):
                self._seen = found.number
                return found
            try:
                await found
            finally:
                self._hub._forget(self._stage, found)

    async def jpeg(self, shot: Shot, view: View) -> bytes:
        """Return the shot as a JPEG file, drawn and encoded once for everybody who wants the same."""
        return await asyncio.shield(asyncio.wrap_future(self._hub._file(shot, view.rounded)))


def _wake(waiting: Sequence[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]) -> None:
    for loop, future in waiting:
        try:
            loop.call_soon_threadsafe(_finish, future)
        except RuntimeError:  # the web thread's loop is closed: nobody waits there any more
            continue


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
