"""The durable outbox: every event goes here first; sinks, `streamvision events`, the API and the page read from here.

One thread writes. It takes everything that is waiting into one transaction (group commit), so that the disk's own
speed sets the batch size. While the disk refuses, events wait in memory; when that is full, `append` waits for a
while, and then the oldest of them are given up, counted, and told with an event as soon as the disk takes one.
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
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreError
from streamvision.interfaces import StoredEvent
from streamvision.metrics import Metrics
from streamvision.sinks import letters, telling
from streamvision.sinks.ages import Ages
from streamvision.sinks.backlog import MAX_WAITING, PATIENCE_S, Backlog
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.database import EventLog, lock_folder, microseconds, moment, newest_id, open_store
from streamvision.sinks.ids import EventIds
from streamvision.sinks.retention import CHUNK_ROWS, GivenUp, Pruned, Retention, crowded_out, prune, used_bytes
from streamvision.sinks.transactions import (
    Change,
    Load,
    Row,
    commit,
    insert,
    move_cursors,
    register,
    reserve,
    transaction,
)
from streamvision.sinks.wanted import EVERYTHING, Wanted
from streamvision.types import Event

log = structlog.get_logger()

RETRY_S = (0.1, 5.0)
ANSWER_S = 10.0
CURSOR_DELAY_S = 0.1
"""How long a moved cursor may wait for a commit of events to go with."""
PRUNE_EVERY_S = 60.0
PRUNE_EVERY_ROWS = 20_000
FIRST_PRUNE_S = 60.0
"""Not before every sink of this run has said what it still needs."""
_MARKS = 4096
_RECENT = 4096
"""Newest events kept in memory, so that a sink that keeps up never reads the disk."""


class EventStore:
    """The event store of one daemon, an `EventReader` too. Safe for any number of threads.

    ``failing`` says why nothing can be written at present (for readiness); ``crashed`` holds the exception that
    ended the writer before its time. ``new_id`` makes ids for events, see `EventIds`; ``born`` is
    the position up to which earlier runs have stored.
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
        metrics: Metrics | None = None,
        beat: Callable[[str], None] = lambda stage: None,
    ) -> None:
        """Open or create the store and start its writer; ``metrics`` is where it counts. Raises `StoreError`."""
        self.failing: str | None = None
        self.crashed: BaseException | None = None
        self._path = path
        self._clock = clock
        self._host = host or socket.gethostname()
        self._retention = retention
        self._metrics = metrics or Metrics()
        self._beat = beat
        self._lock_file = lock_folder(path)
        try:
            self._connection = open_store(path, clock)
            self._ages = Ages(clock, self._connection)
            self._reader = EventLog(path)
        except BaseException:
            self._lock_file.close()
            raise
        self.new_id = EventIds(clock, newest_id(self._connection))
        self._position = self.born = self._reader.last_position()
        self._floor = 0
        self._recent: deque[StoredEvent] = deque(maxlen=_RECENT)
        self._marks: deque[tuple[int, float]] = deque([(self._position, clock.monotonic())], maxlen=_MARKS)
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._news = threading.Condition(lock)
        self._backlog = Backlog(max_waiting, clock)
        self._following: dict[str, int] = {}
        self._sinks: dict[str, Wanted] = {}
        self._closing = False
        self._abandoned = False
        self._prune_at_s = clock.monotonic() + FIRST_PRUNE_S
        self._rows_until_prune = PRUNE_EVERY_ROWS
        self._metrics.outbox.open = True
        self._thread = threading.Thread(target=self._guarded, name=self.STAGE, daemon=True)
        self._thread.start()

    # Writing

    def append(self, events: Sequence[Event]) -> None:
        """Store events in order; returns at once unless `MAX_WAITING` events wait for the disk.

        Then it waits; where the disk refuses for `PATIENCE_S` seconds, the oldest events in memory are given up and
        counted. Raises `StoreError` after `close`, also while waiting.
        """
        for start in range(0, len(events), self._backlog.limit):
            some = events[start : start + self._backlog.limit]
            with self._changed:
                while not self._backlog.takes(len(some)) and not self._refusing:
                    self._changed.wait(PATIENCE_S / 10)
                self._refuse_if_closed()
                self._backlog.add(some)
                self._count_waiting()
                self._changed.notify_all()

    def flush(self, timeout_s: float = ANSWER_S) -> None:
        """Wait until everything appended before is on the disk. Raises `StoreError` if that takes too long."""
        backlog = self._backlog
        with self._news:
            target = backlog.target
            if not self._news.wait_for(lambda: backlog.settled >= target or self.crashed is not None, timeout_s):
                raise self._no_answer(timeout_s)
            if backlog.settled < target:
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
                self._enqueue(partial(reserve, stream, count))
                return first
        following = int(self._ask(partial(reserve, stream, count)))
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
            lost = self._backlog.waiting
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

    @property
    def floor(self) -> int:
        """The position up to which events were deleted in this run."""
        return self._floor

    def register(self, sink: str, wanted: Wanted = EVERYTHING) -> int:
        """Return a sink's cursor: the position up to which it has delivered.

        A sink never seen before starts at the present end of the store, so that adding one does not flood it with
        the past; register before the first event of a run. From now on the store keeps what this sink still needs,
        within the bounds of `Retention`. What was deleted while the sink was not configured is told.
        """
        position, gone = self._ask(lambda connection: register(connection, sink))
        self._sinks[sink] = wanted
        if gone:
            lost = GivenUp(sink, "absent", gone, None, None)
            telling.count(lost, self._metrics)
            self.append([self._story(lost)])
            self.advance(sink, position + gone)
        return int(position + gone)

    def forget(self, sink: str) -> None:
        """Give up a sink's cursor: a reload took it away, and one of that name starts at the present end again."""
        self._sinks.pop(sink, None)
        self._ask(lambda connection: connection.execute("DELETE FROM cursors WHERE sink = ?", (sink,)))

    def retain(self, retention: Retention) -> None:
        """Use other bounds from now on."""
        self._retention = retention

    def advance(self, sink: str, position: int) -> None:
        """A sink has delivered everything up to a position; its cursor never goes back.

        It is durable with the next commit, at the latest after `CURSOR_DELAY_S` and a commit: a sink may get once
        more what it took in the last instant before a crash. Waiting for the disk here would cost each batch a sync.
        """
        with self._changed:
            self._refuse_if_closed()
            self._backlog.move(sink, position, CURSOR_DELAY_S)
            self._changed.notify_all()

    def bury(self, sink: str, event: StoredEvent, reason: str, what: str) -> None:
        """Put an event that a sink will never take among the dead letters; too many, and the oldest are given up."""
        now_us, lived_us = microseconds(self._clock.utcnow()), self._ages.lived_us
        row = (sink, event.position, event.id, reason, what, now_us, event.json, lived_us)

        def change(connection: sqlite3.Connection) -> list[GivenUp]:
            letters.bury(connection, row)
            return crowded_out(connection, self._retention)

        for lost in self._ask(change):
            telling.count(lost, self._metrics)
            self.append([self._story(lost)])

    def letters(self, sink: str, limit: int) -> tuple[int, list[StoredEvent]]:
        """Return how many dead letters a sink has, and the first of those for which another attempt was asked."""
        return self._reader.letters(sink, limit)

    def settle(self, sink: str, events: Sequence[StoredEvent]) -> None:
        """Dead letters have been delivered after all."""
        ids = [event.id for event in events]
        self._ask(lambda connection: letters.settle(connection, sink, ids))

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
        with self._changed:
            recent = self._recent
            if recent and recent[0].position <= position + 1:
                start = position + 1 - recent[0].position
                return list(islice(recent, start, start + limit))
        return self._reader.after(position, limit)

    # The callers' side of the writer

    def _ask(self, change: Change, timeout_s: float = ANSWER_S) -> Any:
        """Have something done in a transaction and wait for its result."""
        with self._changed:
            done = self._enqueue(change)
        try:
            return done.result(timeout_s)
        except TimeoutError:
            done.cancel()
            raise self._no_answer(timeout_s) from None

    def _enqueue(self, change: Change) -> Future[Any]:
        self._refuse_if_closed()
        done = self._backlog.ask(change)
        self._changed.notify_all()
        return done

    def _no_answer(self, timeout_s: float) -> StoreError:
        why = self.failing or "the disk is too slow"
        return StoreError(f"no answer within {timeout_s:g} s: {why}", where=str(self._path))

    @property
    def _refusing(self) -> bool:
        return self._closing or self.crashed is not None

    def _refuse_if_closed(self) -> None:
        if self._refusing:
            raise StoreError("the event store is closed", where=str(self._path))

    def _count_waiting(self) -> None:
        self._metrics.outbox.waiting = self._backlog.waiting
        if self._backlog.lost_so_far:
            self._metrics.outbox.lost["memory"] = self._backlog.lost_so_far

    # The writer's thread

    def _guarded(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("event store stopped", error=str(error), exc_info=error)
        with self._changed:
            self._backlog.refuse(StoreError("the event store is closed", where=str(self._path)))
            self._changed.notify_all()
            self._news.notify_all()

    def _write_until_closed(self) -> None:
        backlog = self._backlog
        while True:
            self._beat(self.STAGE)
            with self._changed:
                self._changed.wait_for(lambda: backlog.due or self._closing, backlog.pause_s(1.0))
                if self._closing and backlog.empty:
                    break
                events, jobs, cursors = backlog.take()
                lost = backlog.take_lost()
                self._changed.notify_all()
            rows = [self._row(event) for event in [*self._told(lost), *events]]
            if (rows or jobs or cursors) and not self._commit_at_last(Load(rows, jobs, cursors)):
                return
            self._prune_if_due()
        self._keep_age()

    def _keep_age(self) -> None:
        """Write down, at the end, for how long the store has lived."""
        age = self._ages.look()
        try:
            with transaction(self._connection):
                self._ages.write(self._connection, age.awaited_before_us(self._retention.max_age_s), at_once=True)
        except sqlite3.Error as error:
            log.warning("the age of the store could not be written", file=str(self._path), error=str(error))

    def _told(self, lost: GivenUp | None) -> list[Event]:
        """Say, before what follows them, that events never reached the disk."""
        if lost is None:
            return []
        log.error("events lost while the disk refused", events=lost.count)
        return [self._story(lost)]

    def _story(self, lost: GivenUp) -> Event:
        return telling.event_of(lost, self._retention, self._clock, self.new_id())

    def _commit_at_last(self, load: Load) -> bool:
        """Commit, however often the disk refuses; False if that was given up at the end."""
        pause_s = RETRY_S[0]
        while True:
            try:
                answers, position = commit(self._connection, load)
            except sqlite3.Error as error:
                self._refused(error, len(load.rows))
            else:
                break
            with self._changed:
                if self._changed.wait_for(lambda: self._abandoned, pause_s * random.uniform(0.5, 1.0)):
                    return False
            pause_s = min(pause_s * 2, RETRY_S[1])
            self._beat(self.STAGE)
        self._committed(position, load.rows)
        for job, answer in zip(load.jobs, answers, strict=True):
            job.done.set_result(answer)
        return True

    def _committed(self, position: int, rows: Sequence[Row]) -> None:
        if self.failing is not None:
            log.info("event store writes again", file=str(self._path))
        self.failing = None
        first = position - len(rows) + 1
        stored = [
            StoredEvent(first + index, row[0], row[1], row[2], moment(row[3]), row[5]) for index, row in enumerate(rows)
        ]
        self._rows_until_prune -= len(rows)
        with self._changed:
            if position > self._position:
                self._marks.append((position, self._clock.monotonic()))
            self._recent.extend(stored)
            self._position = position
            self._backlog.done()
            self._count_waiting()
            self._metrics.outbox.failing = False
            self._news.notify_all()
            self._changed.notify_all()

    def _refused(self, error: sqlite3.Error, events: int) -> None:
        if self.failing != str(error):
            log.error("event store cannot write; events wait in memory",
                      file=str(self._path), error=str(error), events=events)  # fmt: skip
        self.failing = str(error)
        with self._changed:
            self._backlog.refused()
            self._metrics.outbox.failing = True
            self._changed.notify_all()

    def _row(self, event: Event) -> Row:
        json = to_json(event, self._host)
        return event.id, event.stream, type_of(event), microseconds(event.time), self._ages.lived_us, json

    def _prune_if_due(self) -> None:
        if self._clock.monotonic() < self._prune_at_s and self._rows_until_prune > 0:
            return
        self._rows_until_prune = PRUNE_EVERY_ROWS
        pruned = Pruned()
        try:
            pruned = self._prune()
            self._metrics.outbox.bytes = used_bytes(self._connection)
        except sqlite3.Error as error:
            log.warning("old events could not be deleted", file=str(self._path), error=str(error))
        if pruned.deleted < CHUNK_ROWS:
            self._prune_at_s = self._clock.monotonic() + PRUNE_EVERY_S

    def _prune(self) -> Pruned:
        """Delete what is beyond the bounds and store, in the same transaction, what is to be told of it."""
        age = self._ages.look()
        with self._changed:
            cursors = self._backlog.take_cursors()
        try:
            with transaction(self._connection):
                move_cursors(self._connection, cursors)
                pruned = prune(self._connection, self._retention, dict(self._sinks), age)
                self._ages.write(self._connection, age.awaited_before_us(self._retention.max_age_s))
                rows = [self._row(self._story(lost)) for lost in pruned.given_up if lost.new]
                position = insert(self._connection, rows)
        except sqlite3.Error:
            with self._changed:
                for sink, cursor in cursors.items():
                    self._backlog.move(sink, cursor, CURSOR_DELAY_S)
            raise
        for lost in pruned.given_up:
            telling.count(lost, self._metrics)
        with self._changed:
            self._floor = max(self._floor, pruned.up_to)
            while self._recent and self._recent[0].position <= self._floor:
                self._recent.popleft()
        self._committed(position, rows)
        return pruned
