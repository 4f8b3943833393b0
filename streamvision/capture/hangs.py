"""Calls that do not return: how long one may take, and how many threads may be left behind in one.

A thread in native code cannot be ended. It is left where it is, another takes its place, and what it brings back is
thrown away. Each one keeps its memory and its connection, so their number is bounded.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from streamvision.errors import CaptureHung

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

    Those that are in a call since before the machine slept come back by the call's own deadline: they count for their
    stream only, because all streams have them at once.
    """

    def __init__(self, per_stream: int = 3, in_all: int = 24) -> None:
        self.per_stream = per_stream
        self.in_all = in_all
        self._hanging: Counter[str] = Counter()
        self._slept: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, stream: str, *, slept: bool = False) -> None:
        """Note that one more thread of a stream hangs, or that the machine has ``slept`` while it was in a call."""
        with self._lock:
            (self._slept if slept else self._hanging)[stream] += 1

    def remove(self, stream: str) -> None:
        """Note that one has come back and ended."""
        with self._lock:
            (self._slept if self._slept[stream] else self._hanging)[stream] -= 1

    def obstacle(self, stream: str) -> str:
        """Return why a stream must not open its source now; empty if it may."""
        with self._lock:
            own, total = self._hanging[stream] + self._slept[stream], self._hanging.total()
        if own >= self.per_stream:
            return f"{own} earlier connections hang in native code; the next one waits until one of them returns"
        if total >= self.in_all:
            return f"{total} connections of this daemon hang in native code; the next one waits until one returns"
        return ""
