"""What happens when: several actors, one thread. An actor is a generator that yields for how many seconds it rests."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Generator, Iterable

Actor = Generator[float, None, None]


class Timetable:
    """Runs actors in turn. What an actor has broken it mends in its ``finally``, which `close` reaches."""

    def __init__(self, actors: Iterable[Actor]) -> None:
        self._actors = list(actors)
        self._numbers = itertools.count()
        now_s = time.monotonic()
        self._due = [(now_s, next(self._numbers), actor) for actor in self._actors]

    def run(self, seconds: float) -> None:
        """Let the actors act for so long; ends earlier when all of them are done."""
        until_s = time.monotonic() + seconds
        while self._due and self._due[0][0] < until_s:
            due_s, _, actor = heapq.heappop(self._due)
            time.sleep(max(0.0, due_s - time.monotonic()))
            if (rest_s := next(actor, None)) is not None:
                heapq.heappush(self._due, (time.monotonic() + rest_s, next(self._numbers), actor))
        if self._due:
            time.sleep(max(0.0, until_s - time.monotonic()))

    def close(self) -> None:
        """Let every actor mend what it has broken."""
        for actor in self._actors:
            actor.close()
