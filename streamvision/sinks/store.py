"""The durable outbox: every event goes here first; sinks, `streamvision events`, the API and the page read from here.

One thread writes. It takes everything that is waiting into one transaction (group commit), so that the disk's own
speed sets the batch size. Nothing is dropped: while the disk refuses, events wait in memory, and when that is full,
`append` waits too.
"""

from __future__ import annotations

import random
import socket
import sqlite3
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreError
from streamvision.interfaces import StoredEvent
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.database import EventLog, lock_folder, microseconds, open_store
from streamvision.sinks.retention import CHUNK_ROWS, Retention, prune
from streamvision.types import Event

log = structlog.get_logger()

MAX_WAITING = 10_000
"""Events in memory that are not committed yet; then `EventStore.append` waits."""
MAX_BATCH = 1_000
RETRY_S = (0.1, 5.0)
ANSWER_S = 10.0
PRUNE_EVERY_S = 60.0
FIRST_PRUNE_S = 600.0
"""Not before every sink of this run has said what it still needs."""
_MARKS = 4096

_RESERVE = """
INSERT INTO track_ids VALUES(:stream, coalesce((SELECT value FROM facts WHERE name = 'first_track_id'), 1) + :count)
ON CONFLICT(stream) DO UPDATE SET following = following + :count RETURNING following
"""
_REGISTER = """
INSERT INTO cursors VALUES(?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0))
ON CONFLICT DO NOTHING
"""

Change = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to be done inside a transaction, and who waits for it."""

    change: Change
    done: Future[Any]


class EventStore:
    """The event store of one daemon, an `EventReader` too. Safe for any number of threads.

    ``failing`` says why nothing can be written at present (for readiness); ``crashed`` holds the exception that
    ended the writer before its time.
    """

    STAGE = "store"

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        host: str = "",
        retention: Retention = Retention(),  # noqa: B008 - frozen
        max_waiting: int = MAX_WAITING,
        beat: Callable[[str], None] = lambda stage: None,
    ) -> None:
        """Open or create the store and start its writer. Raises `StoreError`."""
        self.failing: str | None = None
        self.crashed: BaseException | None = None
        self._path = path
        self._clock = clock
        self._host = host or socket.gethostname()
        self._retention = retention
        self._max_waiting = max_waiting
        self._beat = beat
        self._lock_file = lock_folder(path)
        try:
            self._connection = open_store(path, clock)
            self._reader = EventLog(path)
        except BaseException:
            self._lock_file.close()
            raise
        self._position = self._reader.last_position()
        self._marks: deque[tuple[int, float]] = deque([(self._position, clock.monotonic())], maxlen=_MARKS)
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._news = threading.Condition(lock)
        self._events: deque[Event] = deque()
        self._jobs: deque[_Job] = deque()
        self._in_hand = 0
        self._stored = 0
        self._following: dict[str, int] = {}
        self._sinks: set[str] = set()
        self._closing = False
        self._abandoned = False
        self._prune_at_s = clock.monotonic() + FIRST_PRUNE_S
        self._thread = threading.Thread(target=self._guarded, name=self.STAGE, daemon=True)
        self._thread.start()

    # Writing

    def append(self, events: Sequence[Event]) -> None:
        """Store events in order; returns at once unless `MAX_WAITING` events wait for the disk.

        Raises `StoreError` after `close`, also while waiting.
        """
        for start in range(0, len(events), self._max_waiting):
            self._append(events[start : start + self._max_waiting])

    def flush(self, timeout_s: float = ANSWER_S) -> None:
        """Wait until everything appended before is on the disk. Raises `StoreError` if that takes too long."""
        with self._news:
            target = self._stored + self._in_hand + len(self._events)
            if not self._news.wait_for(lambda: self._stored >= target or self.crashed is not None, timeout_s):
                raise self._no_answer(timeout_s)
            if self._stored < target:
                raise StoreError("the event store is closed", where=str(self._path))

    def reserve_ids(self, stream: str, count: int) -> int:
        """Return the first of ``count`` track ids of a stream, from 1, that no one else is ever given.

        Waits for the disk at a stream's first call only. Later reservations are committed before, or together with,
        every event appended after them: an id that the disk does not know of is in no event that anybody has seen.
        """
        with self._changed:
            first = self._following.get(stream)
            if first is not None:
                self._following[stream] = first + count
                self._enqueue(partial(_reserve, stream, count))
                return first
        following = int(self._ask(partial(_reserve, stream, count)))
        with self._changed:
            self._following[stream] = following
        return following - count

    def close(self, timeout_s: float = ANSWER_S) -> None:
        """Write what is waiting and release the file; idempotent.

        Raises `StoreError` if events could not be written in time: they are lost then, and counted in the text.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._news.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            self._abandoned = True
            lost = len(self._events) + self._in_hand
            self._changed.notify_all()
        self._thread.join(RETRY_S[0] * 2)
        if not self._thread.is_alive():
            self._reader.close()
            self._connection.close()
            self._lock_file.close()
        if lost:
            why = self.failing or "the disk is too slow"
            raise StoreError(f"{lost} events could not be stored: {why}", where=str(self._path))

    # Following: one cursor per sink

    @property
    def position(self) -> int:
        """The newest stored position."""
        return self._position

    def register(self, sink: str) -> int:
        """Return a sink's cursor: the position up to which it has delivered.

        A sink never seen before starts at the present end of the store, so that adding one does not flood it with
        the past; register before the first event of a run. From now on the store keeps what this sink still needs.
        """

        def create(connection: sqlite3.Connection) -> int:
            connection.execute(_REGISTER, (sink,))
            return int(connection.execute("SELECT position FROM cursors WHERE sink = ?", (sink,)).fetchone()[0])

        position = int(self._ask(create))
        self._sinks.add(sink)
        return position

    def forget(self, sink: str) -> None:
        """Give up a sink's cursor: nothing is kept for it any more, and one of that name starts at the end again."""
        self._ask(lambda connection: connection.execute("DELETE FROM cursors WHERE sink = ?", (sink,)))
        self._sinks.discard(sink)

    def advance(self, sink: str, position: int) -> None:
        """Remember durably that a sink has delivered everything up to a position; it never goes back."""
        self._ask(
            lambda connection: connection.execute(
                "UPDATE cursors SET position = max(position, ?) WHERE sink = ?", (position, sink)
            )
        )

    def bury(self, sink: str, event: StoredEvent, reason: str, what: str) -> None:
        """Put an event that a sink will never take among the dead letters."""
        row = (sink, event.position, event.id, reason, what, microseconds(self._clock.utcnow()), event.json)
        self._ask(lambda connection: connection.execute("INSERT INTO dead_letters VALUES(?,?,?,?,?,?,?)", row))

    def wait_beyond(self, position: int, timeout_s: float) -> bool:
        """Wait until something newer than a position is stored; False after ``timeout_s`` seconds."""
        with self._news:
            return self._news.wait_for(lambda: self._position > position or self._closing, timeout_s)

    def stored_at_s(self, position: int) -> float:
        """Return about when a position was committed (monotonic seconds); what is older than this run: its start."""
        with self._changed:
            index = bisect_right(self._marks, position - 1, key=lambda mark: mark[0])
            return self._marks[min(index, len(self._marks) - 1)][1]

    # Reading

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        """Return the newest events, newest first."""
        return self._reader.latest(limit, stream=stream, type_prefix=type_prefix)

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, oldest first."""
        return self._reader.after(position, limit)

    # The callers' side of the writer

    def _append(self, events: Sequence[Event]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._refusing or len(self._events) + len(events) <= self._max_waiting)
            self._refuse_if_closed()
            self._events.extend(events)
            self._changed.notify_all()

    def _ask(self, change: Change, timeout_s: float = ANSWER_S) -> Any:
        """Have something done in a transaction and wait for its result."""
        with self._changed:
            done = self._enqueue(change)
        try:
            return done.result(timeout_s)
        except TimeoutError:
            raise self._no_answer(timeout_s) from None

    def _enqueue(self, change: Change) -> Future[Any]:
        self._refuse_if_closed()
        job = _Job(change, Future())
        self._jobs.append(job)
        self._changed.notify_all()
        return job.done

    def _no_answer(self, timeout_s: float) -> StoreError:
        why = self.failing or "the disk is too slow"
        return StoreError(f"no answer within {timeout_s:g} s: {why}", where=str(self._path))

    @property
    def _refusing(self) -> bool:
        return self._closing or self.crashed is not None

    def _refuse_if_closed(self) -> None:
        if self._refusing:
            raise StoreError("the event store is closed", where=str(self._path))

    # The writer's thread

    def _guarded(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("event store stopped", error=str(error), exc_info=error)
        with self._changed:
            for job in self._jobs:
                job.done.set_exception(StoreError("the event store is closed", where=str(self._path)))
            self._changed.notify_all()
            self._news.notify_all()

    def _write_until_closed(self) -> None:
        while True:
            self._beat(self.STAGE)
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._jobs or self._closing, timeout=1.0)
                if self._closing and not (self._events or self._jobs):
                    return
                events, jobs = self._take()
            if (events or jobs) and not self._commit_at_last(events, jobs):
                return
            self._prune_if_due()

    def _take(self) -> tuple[list[Event], list[_Job]]:
        """Take every job and up to a batch of events."""
        events = [self._events.popleft() for _ in range(min(len(self._events), MAX_BATCH))]
        jobs = list(self._jobs)
        self._jobs.clear()
        self._in_hand = len(events)
        self._changed.notify_all()
        return events, jobs

    def _commit_at_last(self, events: list[Event], jobs: list[_Job]) -> bool:
        """Commit, however often the disk refuses; False if that was given up at the end."""
        rows = [self._row(event) for event in events]
        pause_s = RETRY_S[0]
        while True:
            try:
                answers, position = self._commit(rows, jobs)
            except sqlite3.Error as error:
                self._refused(error, len(rows))
            else:
                break
            with self._changed:
                if self._changed.wait_for(lambda: self._abandoned, pause_s * random.uniform(0.5, 1.0)):
                    return False
            pause_s = min(pause_s * 2, RETRY_S[1])
            self._beat(self.STAGE)
        self._committed(position)
        for job, answer in zip(jobs, answers, strict=True):
            job.done.set_result(answer)
        return True

    def _commit(self, rows: list[tuple[Any, ...]], jobs: list[_Job]) -> tuple[list[Any], int]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Jobs first: an event must not be on the disk before the reservation of its track's id.
            answers = [job.change(connection) for job in jobs]
            connection.executemany(
                "INSERT INTO events(id, stream, type, time_us, stored_us, json) VALUES(?,?,?,?,?,?)", rows
            )
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return answers, int(row[0]) if row else 0

    def _committed(self, position: int) -> None:
        if self.failing is not None:
            log.info("event store writes again", file=str(self._path))
        self.failing = None
        with self._changed:
            if position > self._position:
                self._marks.append((position, self._clock.monotonic()))
            self._position = position
            self._stored += self._in_hand
            self._in_hand = 0
            self._news.notify_all()

    def _refused(self, error: sqlite3.Error, events: int) -> None:
        if self.failing != str(error):
            log.error("event store cannot write; events wait in memory",
                      file=str(self._path), error=str(error), events=events)  # fmt: skip
        self.failing = str(error)

    def _row(self, event: Event) -> tuple[Any, ...]:
        stored_us = microseconds(self._clock.utcnow())
        json = to_json(event, self._host)
        return event.id, event.stream, type_of(event), microseconds(event.time), stored_us, json

    def _prune_if_due(self) -> None:
        if self._clock.monotonic() < self._prune_at_s:
            return
        try:
            with self._connection:
                deleted = prune(self._connection, self._retention, self._sinks, self._clock.utcnow())
        except sqlite3.Error as error:
            log.warning("old events could not be deleted", file=str(self._path), error=str(error))
            deleted = 0
        if deleted < CHUNK_ROWS:
            self._prune_at_s = self._clock.monotonic() + PRUNE_EVERY_S


def _reserve(stream: str, count: int, connection: sqlite3.Connection) -> int:
    """Return the id that follows the reserved ones. All rows are fetched: an open statement would block the commit."""
    return int(connection.execute(_RESERVE, {"stream": stream, "count": count}).fetchall()[0][0])
