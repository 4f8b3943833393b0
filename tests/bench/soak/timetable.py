"""What happens when: several actors, one thread. An actor is a generator that yields for how many seconds it rests."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Generator, Iterable

Actor = Generator[float, None, None]


class Timetable:
    """Runs actors in turn. What an actor has broken it mends in its ``finally``, which `close` reaches."""

    def __init__(self, actors: Iterable[Actor]) -> None:
        self._actors = list(actors)
        self._numbers = itertools.count()
        now_s = time.monotonic()
        self._due = [(now_s, next(self._numbers), actor) for actor in self._actors]

    def run(self, seconds: float, enough: Callable[[], bool], longest_s: float) -> None:
        """Let the actors act for so long, and until they have done ``enough``; for ``longest_s`` seconds at most."""
        began_s = time.monotonic()
        while self._due and (spent_s := time.monotonic() - began_s) < longest_s and (spent_s < seconds or not enough()):
            due_s, _, actor = heapq.heappop(self._due)
            time.sleep(max(0.0, due_s - time.monotonic()))
            if (rest_s := next(actor, None)) is not None:
                heapq.heappush(self._due, (time.monotonic() + rest_s, next(self._numbers), actor))

    def close(self) -> None:
        """Let every actor mend what it has broken."""
        for actor in self._actors:
            actor.close()
