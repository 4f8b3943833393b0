"""Time: monotonic and wall clocks that tests can replace."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the daemon knows of time. Injected everywhere, so that tests do not wait."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def utcnow(self) -> datetime:
        """Wall time, aware, in UTC; may jump."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return ``time.monotonic()`` in seconds."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """Return the present UTC time."""
        return datetime.now(UTC)
