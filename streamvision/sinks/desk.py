"""Where the event store's callers and its writer meet."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from streamvision.errors import StoreError
from streamvision.metrics import Metrics
from streamvision.sinks.backlog import PATIENCE_S, Backlog
from streamvision.sinks.recent import Recent
from streamvision.sinks.transactions import Change
from streamvision.types import Event

ANSWER_S: Final = 10.0
"""How long somebody waits for the disk before it counts as too slow."""


class Desk:
    """What waits for the writer and what it has stored last, all under one lock.

    ``changed`` is notified when there is something to do, or room; ``news`` when something was stored. ``failing``
    says why the disk refuses at present; ``crashed`` holds what ended the writer before its time. ``closing``: write
    what waits, then end; ``abandoned``: end although the disk refuses.
    """

    def __init__(self, path: Path, backlog: Backlog, recent: Recent, metrics: Metrics) -> None:
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self.news = threading.Condition(lock)
        self.backlog = backlog
        self.recent = recent
        self.failing: str | None = None
        self.crashed: BaseException | None = None
        self.closing = False
        self.abandoned = False
        self._path = path
        self._outbox = metrics.outbox

    def add(self, events: Sequence[Event]) -> None:
        """Leave events for the writer; waits for room as `EventStore.append` says, which limits their number."""
        with self.changed:
            while not self.backlog.takes(len(events)) and not self._refusing:
                self.changed.wait(PATIENCE_S / 10)
            self.refuse_if_closed()
            self.backlog.add(events)
            self.count()
            self.changed.notify_all()

    def enqueue(self, change: Change) -> Future[Any]:
        """Leave something to be done inside a transaction."""
        with self.changed:
            self.refuse_if_closed()
            done = self.backlog.ask(change)
            self.changed.notify_all()
            return done

    def ask(self, change: Change) -> Any:
        """Have something done inside a transaction and wait for its result."""
        done = self.enqueue(change)
        try:
            return done.result(ANSWER_S)
        except TimeoutError:
            done.cancel()
            raise self.no_answer(ANSWER_S) from None

    def wait_beyond(self, position: int, timeout_s: float) -> bool:
        """Wait until something newer than a position is stored; False after ``timeout_s`` seconds."""
        with self.news:
            return self.news.wait_for(lambda: self.recent.position > position or self.closing, timeout_s)

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until everything left here before is on the disk. Raises `StoreError` if that takes too long."""
        with self.news:
            target = self.backlog.target
            if not self.news.wait_for(lambda: self.backlog.settled >= target or self.crashed is not None, timeout_s):
                raise self.no_answer(timeout_s)
            if self.backlog.settled < target:
                raise self.closed()

    def notify(self) -> None:
        """Wake everybody."""
        self.changed.notify_all()
        self.news.notify_all()

    def count(self) -> None:
        """Bring the metrics up to date."""
        self._outbox.waiting = self.backlog.waiting
        self._outbox.failing = self.failing is not None
        if self.backlog.lost_so_far:
            self._outbox.lost["memory"] = self.backlog.lost_so_far

    def why(self) -> str:
        """Return why the disk does not take what waits."""
        return self.failing or "the disk is too slow"

    def closed(self) -> StoreError:
        """Return what to tell those who come too late."""
        return StoreError("the event store is closed", where=str(self._path))

    def no_answer(self, timeout_s: float) -> StoreError:
        """Return what to tell those who have waited in vain."""
        return StoreError(f"no answer within {timeout_s:g} s: {self.why()}", where=str(self._path))

    def refuse_if_closed(self) -> None:
        """Raise `StoreError` if nothing more is taken."""
        if self._refusing:
            raise self.closed()

    @property
    def _refusing(self) -> bool:
        return self.closing or self.crashed is not None
