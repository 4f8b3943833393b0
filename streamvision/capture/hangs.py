"""Calls that do not return: how long one may take, and how many threads may be left behind in one.

A thread in native code cannot be ended. It is left where it is, another takes its place, and what it brings back is
thrown away. Each one keeps its memory and its connection, so their number is bounded.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from streamvision.clock import Clock
from streamvision.errors import CaptureError, CaptureHung

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""What a call of a source may take that has no deadline of its own."""

MARGIN_S: Final = 15.0
"""By how much a call may exceed its own deadline: FFmpeg's look-up of a name knows no deadline."""


def hung(stream: str) -> CaptureHung:
    """Return what to say of a stream whose source hangs."""
    remedy = "with isolation: process, what hangs is ended"
    return CaptureHung("the source hangs in native code and was given up", where=stream, remedy=remedy)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long a source's calls may take before they count as hung, in seconds."""

    open_s: float = PATIENCE_S + MARGIN_S
    read_s: float = PATIENCE_S + MARGIN_S


class LeftBehind(Exception):  # noqa: N818
    """Another thread has taken this one's place: it ends, and touches nothing any more."""


class Abandoned:
    """The threads that were left behind, at most ``per_stream`` of one stream and ``in_all``. For any thread.

    Those that are in a call since before the machine slept, or since before a reload took their stream's capture away,
    should come back by the call's own deadline, and all streams may have them at once: they have a larger bound of
    their own, ``in_time``, for those that do not come back after all.
    """

    def __init__(self, per_stream: int = 3, in_all: int = 24, in_time: int = 256) -> None:
        self.per_stream = per_stream
        self.in_all = in_all
        self.in_time = in_time
        self._hanging: Counter[str] = Counter()
        self._in_time: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, stream: str, *, in_time: bool = False) -> None:
        """Note that one more thread of a stream hangs, or was left in a call that is ``in_time`` still."""
        with self._lock:
            (self._in_time if in_time else self._hanging)[stream] += 1

    def remove(self, stream: str, *, in_time: bool = False) -> None:
        """Note that one has come back and ended; ``in_time`` as when it was added."""
        with self._lock:
            (self._in_time if in_time else self._hanging)[stream] -= 1

    def obstacle(self, stream: str) -> str:
        """Return why a stream must not open its source now; empty if it may."""
        with self._lock:
            own = self._hanging[stream] + self._in_time[stream]
            total, in_time = self._hanging.total(), self._in_time.total()
        if own >= self.per_stream:
            return f"{own} earlier connections hang in native code; the next one waits until one of them returns"
        if total >= self.in_all:
            return f"{total} connections of this daemon hang in native code; the next one waits until one returns"
        if in_time >= self.in_time:
            return f"{in_time} connections of this daemon were left and are not back yet; the next one waits for one"
        return ""


class Relay:
    """The thread that works for one stream, and the next one where it is left behind in a call.

    ``work`` is what each does from its start to its end; it is told why the thread before it was left behind, None
    for the first. A thread left behind notices it when its call returns: `call` raises `LeftBehind` there.
    """

    def __init__(
        self, stream: str, work: Callable[[CaptureError | None], None], clock: Clock, abandoned: Abandoned
    ) -> None:
        self._stream = stream
        self._work = work
        self._clock = clock
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._due_s: float | None = None
        self._over = self._disowned = False
        self._in_time: dict[threading.Thread, bool] = {}
        """The threads left behind, and whether each was in time still."""
        self._thread = self._worker(None)

    def start(self) -> None:
        """Start the first thread; call once."""
        self._thread.start()

    def join(self, timeout_s: float | None) -> bool:
        """Wait for the end of the thread that works now; False if ``timeout_s`` seconds were not enough."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def left_behind(self) -> bool:
        """Whether another thread has taken the caller's place."""
        return threading.current_thread() is not self._thread

    def call(self, call: Callable[[], T], limit_s: float) -> T:
        """Call into native code. Raises `LeftBehind` where it took so long that another thread has gone on."""
        with self._lock:
            self._due_s = self._clock.monotonic() + limit_s
        try:
            return call()
        finally:
            with self._lock:
                if self.left_behind:
                    raise LeftBehind
                self._due_s = None

    def look(self) -> CaptureHung | bool:
        """Return whether the thread is in a call, and in time; where it is not, leave it behind and return what to say.

        For another thread, a few times per second.
        """
        with self._lock:
            if self._due_s is None:
                return False
            if self._clock.monotonic() < self._due_s:
                return True
            why = hung(self._stream)
            self._relieve(why, in_time=False)
            return why

    def interrupt(self, why: CaptureError) -> bool:
        """Leave the thread behind in its call, because the machine has slept; False if it is in none."""
        with self._lock:
            if self._due_s is None:
                return False
            self._relieve(why, in_time=True)
            return True

    def leave(self) -> None:
        """Count the thread that works now among those left behind until it ends; nobody takes its place here."""
        with self._lock:
            if not self._over and not self._disowned:
                self._disowned = True
                self._abandoned.add(self._stream, in_time=True)

    def _relieve(self, why: CaptureError, *, in_time: bool) -> None:
        self._abandoned.add(self._stream, in_time=in_time)
        self._in_time[self._thread] = in_time
        self._due_s = None
        self._thread = self._worker(why)
        self._thread.start()

    def _worker(self, why: CaptureError | None) -> threading.Thread:
        return threading.Thread(target=self._run, args=(why,), name=f"capture-{self._stream}", daemon=True)

    def _run(self, why: CaptureError | None) -> None:
        try:
            self._work(why)
        except LeftBehind:
            with self._lock:
                in_time = self._in_time.pop(threading.current_thread())
            self._abandoned.remove(self._stream, in_time=in_time)
        else:
            with self._lock:
                self._over = True
                if self._disowned:
                    self._abandoned.remove(self._stream, in_time=True)
