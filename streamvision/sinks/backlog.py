"""What waits for the event store's writer: events within bounds, jobs, moved cursors. Used under the store's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from streamvision.clock import Clock
from streamvision.sinks.retention import GivenUp
from streamvision.sinks.transactions import Change, Job
from streamvision.types import Event

MAX_WAITING = 10_000
"""Events in memory that are not committed yet."""
MAX_BATCH = 1_000
PATIENCE_S = 5.0
"""How long a full memory holds up the analysis while the disk refuses; longer, and it would count as hung."""


class Backlog:
    """Events, jobs and cursors on their way to the disk."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self.settled = 0
        """Events that have met their fate: stored, or given up."""
        self.lost_so_far = 0
        self._clock = clock
        self._events: deque[Event] = deque()
        self._jobs: deque[Job] = deque()
        self._cursors: dict[str, int] = {}
        self._cursors_at_s = float("inf")
        self._in_hand = 0
        self._refused_at_s: float | None = None
        self._lost: GivenUp | None = None

    # Events

    @property
    def waiting(self) -> int:
        """Events that are not on the disk yet."""
        return len(self._events) + self._in_hand

    @property
    def target(self) -> int:
        """What `settled` will be when everything here now has met its fate."""
        return self.settled + self.waiting

    def takes(self, count: int) -> bool:
        """Whether so many more may be added: there is room, or the disk has refused for too long to wait for it."""
        if len(self._events) + count <= self.limit:
            return True
        return self._refused_at_s is not None and self._clock.monotonic() - self._refused_at_s >= PATIENCE_S

    def add(self, events: Sequence[Event]) -> None:
        """Add events; the oldest beyond the limit are given up."""
        self._events.extend(events)
        while len(self._events) > self.limit:
            self._lose(self._events.popleft().time)

    def take_lost(self) -> GivenUp | None:
        """Return what was given up since the last call."""
        lost, self._lost = self._lost, None
        return lost

    def _lose(self, time: datetime) -> None:
        known = self._lost or GivenUp(None, "memory", 0, time, time)
        first, last = min(known.first or time, time), max(known.last or time, time)
        self._lost = GivenUp(None, "memory", known.count + 1, first, last)
        self.lost_so_far += 1
        self.settled += 1

    # Jobs and cursors

    def ask(self, change: Change) -> Future[Any]:
        """Add something to be done inside a transaction."""
        job = Job(change, Future())
        self._jobs.append(job)
        return job.done

    def refuse(self, error: Exception) -> None:
        """Tell everybody who waits for a job that it will not be done."""
        for job in self._jobs:
            if job.wanted():
                job.done.set_exception(error)
        self._jobs.clear()

    def move(self, sink: str, position: int, delay_s: float) -> None:
        """Remember a cursor; it waits for company, at most ``delay_s``."""
        self._cursors[sink] = max(position, self._cursors.get(sink, 0))
        self._cursors_at_s = min(self._cursors_at_s, self._clock.monotonic() + delay_s)

    def take_cursors(self) -> dict[str, int]:
        """Return the cursors that moved."""
        cursors, self._cursors = self._cursors, {}
        self._cursors_at_s = float("inf")
        return cursors

    # The writer's side

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._events or self._jobs or self._cursors)

    @property
    def due(self) -> bool:
        """Whether there is something that cannot wait for company."""
        return bool(self._events or self._jobs) or self._clock.monotonic() >= self._cursors_at_s

    def pause_s(self, longest_s: float) -> float:
        """Return how long the writer may sleep unless something comes."""
        return min(longest_s, max(0.0, self._cursors_at_s - self._clock.monotonic()))

    def take(self) -> tuple[list[Event], list[Job], dict[str, int]]:
        """Take every job and cursor, and up to a batch of events."""
        events = [self._events.popleft() for _ in range(min(len(self._events), MAX_BATCH))]
        jobs = [job for job in self._jobs if job.wanted()]
        self._jobs.clear()
        self._in_hand = len(events)
        return events, jobs, self.take_cursors()

    def refused(self) -> None:
        """The disk did not take what was taken."""
        if self._refused_at_s is None:
            self._refused_at_s = self._clock.monotonic()

    def done(self) -> None:
        """What was taken is on the disk."""
        self.settled += self._in_hand
        self._in_hand = 0
        self._refused_at_s = None
