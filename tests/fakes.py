"""Fakes that several folders of tests share: a clock that is moved by hand, and a source that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from streamvision.capture.picture import ArrayPicture
from streamvision.errors import CaptureError, EndOfStream
from streamvision.interfaces import SourcePicture


class FakeClock:
    """A clock that moves only when it is told to. Safe for several threads.

    `advance` moves everything, `jump` the wall clock alone, `sleep` what goes on while the machine sleeps.
    """

    def __init__(self, start_s: float = 100.0, utc: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.error_s = 0.0
        self.follows: bool | None = None
        self._now_s = start_s
        self._asleep_s = 0.0
        self._utc_at_zero = utc - timedelta(seconds=start_s)
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        with self._lock:
            return self._now_s

    def boottime(self) -> float:
        with self._lock:
            return self._now_s + self._asleep_s

    def utcnow(self) -> datetime:
        with self._lock:
            return self._utc_at_zero + timedelta(seconds=self._now_s + self._asleep_s)

    def uncertainty_s(self) -> float:
        return self.error_s

    def synchronised(self) -> bool | None:
        return self.follows

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now_s += seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._asleep_s += seconds

    def jump(self, seconds: float) -> None:
        with self._lock:
            self._utc_at_zero += timedelta(seconds=seconds)


def blank_picture(width: int = 64, height: int = 48, value: int = 0) -> ArrayPicture:
    return ArrayPicture(np.full((height, width, 3), value, np.uint8))


def source_pictures(
    count: int,
    *,
    fps: float = 25.0,
    clock: FakeClock | None = None,
    corrupt: Sequence[int] = (),
    wh: tuple[int, int] = (64, 48),
) -> list[SourcePicture]:
    """Return pictures with even pts, received when the clock says now."""
    now_s = clock.monotonic() if clock else 100.0
    return [
        SourcePicture(blank_picture(*wh, value=index % 256), index / fps, now_s + index / fps, corrupt=index in corrupt)
        for index in range(count)
    ]


Step = SourcePicture | CaptureError | Exception | Callable[[], Sequence[SourcePicture]]
"""What one `read` does: give a picture, raise, or call."""


@dataclass
class ScriptedSource:
    """A source that opens (or fails to) and then does one step per read; after the last one it ends."""

    steps: Sequence[Step] = ()
    live: bool = True
    open_error: Exception | None = None
    closed: int = 0
    opened: int = 0
    started_at: datetime | None = None
    _at: int = field(default=0, init=False)

    def open(self) -> None:
        self.opened += 1
        if self.open_error is not None:
            raise self.open_error

    def read(self) -> Sequence[SourcePicture]:
        if self._at >= len(self.steps):
            raise EndOfStream("the script is over")
        step = self.steps[self._at]
        self._at += 1
        if isinstance(step, Exception):
            raise step
        return [step] if isinstance(step, SourcePicture) else step()

    def close(self) -> None:
        self.closed += 1
