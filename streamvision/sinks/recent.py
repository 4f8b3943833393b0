"""The newest end of the event store, in memory: how far it goes, what was stored last, and when."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from streamvision.clock import Clock
from streamvision.interfaces import StoredEvent

KEPT: Final = 4096
"""Newest events kept in memory, so that a sink that keeps up never reads the disk."""
_MARKS: Final = 4096


class Recent:
    """Used under the store's lock. ``position`` is the newest stored one; what was deleted lies up to ``floor``."""

    def __init__(self, position: int, clock: Clock) -> None:
        self.position = position
        self.floor = 0
        self._clock = clock
        self._events: deque[StoredEvent] = deque(maxlen=KEPT)
        self._marks: deque[tuple[int, float]] = deque([(position, clock.monotonic())], maxlen=_MARKS)

    def add(self, stored: Sequence[StoredEvent], position: int) -> None:
        """A commit has brought the store to a position."""
        if position > self.position:
            self._marks.append((position, self._clock.monotonic()))
        self._events.extend(stored)
        self.position = position

    def delete(self, up_to: int) -> None:
        """Everything up to a position was deleted from the store."""
        self.floor = max(self.floor, up_to)
        while self._events and self._events[0].position <= self.floor:
            self._events.popleft()

    def after(self, position: int, limit: int) -> list[StoredEvent] | None:
        """Return events after a position, oldest first; None where they lie further back than this goes."""
        if not self._events or self._events[0].position > position + 1:
            return None
        start = min(position + 1 - self._events[0].position, len(self._events))  # islice takes no number at all
        return list(islice(self._events, start, start + limit))

    def stored_at_s(self, position: int) -> float:
        """Return about when a position was committed (monotonic seconds); what is older than this run: its start."""
        index = bisect_right(self._marks, position - 1, key=lambda mark: mark[0])
        return self._marks[min(index, len(self._marks) - 1)][1]
