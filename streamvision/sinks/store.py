"""The durable outbox: every event goes here first; sinks, `streamvision events`, the API and the page read from here.

One thread writes, see writer.py. It takes everything that is waiting into one transaction (group commit), so that the
disk's own speed sets the batch size. While the disk refuses, events wait in memory; when that is full, `append` waits
for a while, and then the oldest of them are given up, counted, and told with an event as soon as the disk takes one.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from streamvision.clock import Clock
from streamvision.errors import StoreError
from streamvision.interfaces import StoredEvent
from streamvision.metrics import Metrics
from streamvision.sinks import letters, telling
from streamvision.sinks.ages import Ages
from streamvision.sinks.backlog import MAX_WAITING, Backlog
from streamvision.sinks.database import EventLog, lock_folder, microseconds, newest_id, open_store
from streamvision.sinks.desk import ANSWER_S, Desk
from streamvision.sinks.happenings import Happenings
from streamvision.sinks.ids import EventIds
from streamvision.sinks.reading import SEARCH_S, Reading
from streamvision.sinks.recent import Recent
from streamvision.sinks.retention import GivenUp, Retention, crowded_out
from streamvision.sinks.transactions import following_ids, register, reserve
from streamvision.sinks.wanted import EVERYTHING, Wanted
from streamvision.sinks.writer import CURSOR_DELAY_S, RETRY_S, STAGE, Stamps, Writer
from streamvision.types import Event


class EventStore:
    """The event store of one daemon, an `EventReader` too. Safe for any number of threads.

    ``visitors`` is another `EventReader` over it, for those who only look (API and page): its searches hold up no sink
    and end after `SEARCH_S` seconds. ``failing`` says why nothing can be written at present (for readiness);
    ``crashed`` holds the exception that ended the writer before its time. ``new_id`` makes ids for events, see
    `EventIds`; ``born`` is the position up to which earlier runs have stored; ``happenings`` knows what goes on.
    """

    STAGE = STAGE

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
        metrics = metrics or Metrics()
        self._path = path
        self._clock = clock
        self._metrics = metrics
        self._lock_file = lock_folder(path)
        try:
            self._connection = open_store(path, clock)
            self._ages = Ages(clock, self._connection)
            ids = following_ids(self._connection)
            self._log, self._visitors_log = EventLog(path), EventLog(path, patience_s=SEARCH_S)
        except BaseException:
            self._lock_file.close()
            raise
        self.new_id = EventIds(clock, newest_id(self._connection))
        self.born = self._log.last_position()
        self._first_id, self._following = ids
        self.happenings = Happenings()
        self._desk = Desk(path, Backlog(max_waiting, clock), Recent(self.born, clock), metrics)
        self._own, self.visitors = Reading(self._desk, self._log), Reading(self._desk, self._visitors_log)
        stamps = Stamps(host or socket.gethostname(), self.new_id, self._ages)
        self._writer = Writer(
            path, self._connection, self._desk, stamps, clock, retention=retention, metrics=metrics, beat=beat
        )
        metrics.outbox.open = True
        self._writer.start()

    @property
    def failing(self) -> str | None:
        """Why nothing can be written at present."""
        return self._desk.failing

    @property
    def crashed(self) -> BaseException | None:
        """What ended the writer before its time."""
        return self._desk.crashed

    # Writing

    def append(self, events: Sequence[Event]) -> None:
        """Store events in order; returns at once unless `MAX_WAITING` events wait for the disk.

        Then it waits; where the disk refuses for `PATIENCE_S` seconds, the oldest events in memory are given up and
        counted. Raises `StoreError` after `close`, also while waiting.
        """
        self.happenings.note(events)  # before a sink can have them: what it is told here is never behind them
        for start in range(0, len(events), self._desk.backlog.limit):
            self._desk.add(events[start : start + self._desk.backlog.limit])

    def flush(self, timeout_s: float = ANSWER_S) -> None:
        """Wait until everything appended before is on the disk. Raises `StoreError` if that takes too long."""
        self._desk.wait_settled(timeout_s)

    def reserve_ids(self, stream: str, count: int) -> int:
        """Return the first of ``count`` track ids of a stream, from 1, that no one else is ever given.

        Never waits for the disk. Reservations are committed before, or together with, every event appended after
        them: an id that the disk does not know of is in no event that anybody has seen.
        """
        with self._desk.changed:
            first = self._following.get(stream, self._first_id)
            self._desk.enqueue(partial(reserve, stream, count))
            self._following[stream] = first + count
        return first

    def close(self, timeout_s: float = ANSWER_S) -> None:
        """Write what is waiting and release the file; idempotent.

        Raises `StoreError` if events could not be written in time: they are lost then, and counted in the text.
        """
        with self._desk.changed:
            self._desk.closing = True
            self._desk.notify()
        self._writer.join(timeout_s)
        with self._desk.changed:
            self._desk.abandoned = True
            lost = self._desk.backlog.waiting
            self._desk.changed.notify_all()
        if self._writer.join(RETRY_S[0] * 2):
            self._log.close()
            self._visitors_log.close()
            self._connection.close()
            self._lock_file.close()
        if lost:
            raise StoreError(f"{lost} events could not be stored: {self._desk.why()}", where=str(self._path))

    # Following: one cursor per sink

    @property
    def position(self) -> int:
        """The newest stored position."""
        return self._desk.recent.position

    @property
    def floor(self) -> int:
        """The position up to which events were deleted in this run."""
        return self._desk.recent.floor

    def register(self, sink: str, wanted: Wanted = EVERYTHING) -> int:
        """Return a sink's cursor: the position up to which it has delivered.

        A sink never seen before starts at the present end of the store, so that adding one does not flood it with
        the past; register before the first event of a run. From now on the store keeps what this sink still needs,
        within the bounds of `Retention`. What was deleted while the sink was not configured is told.
        """
        position, gone = self._desk.ask(lambda connection: register(connection, sink))
        self._writer.sinks[sink] = wanted
        if gone:
            lost = GivenUp(sink, "absent", gone, None, None)
            telling.count(lost, self._metrics)
            self.append([self._writer.story(lost)])
            self.advance(sink, position + gone)
        return int(position + gone)

    def forget(self, sink: str) -> None:
        """Give up a sink's cursor: a reload took it away, and one of that name starts at the present end again."""
        self._writer.sinks.pop(sink, None)
        self._desk.ask(lambda connection: connection.execute("DELETE FROM cursors WHERE sink = ?", (sink,)))

    def retain(self, retention: Retention) -> None:
        """Use other bounds from now on."""
        self._writer.retention = retention

    def advance(self, sink: str, position: int) -> None:
        """A sink has delivered everything up to a position; its cursor never goes back.

        It is durable with the next commit, at the latest after `CURSOR_DELAY_S` and a commit: a sink may get once
        more what it took in the last instant before a crash. Waiting for the disk here would cost each batch a sync.
        """
        with self._desk.changed:
            self._desk.refuse_if_closed()
            self._desk.backlog.move(sink, position, CURSOR_DELAY_S)
            self._desk.changed.notify_all()

    def bury(self, sink: str, event: StoredEvent, reason: str, what: str) -> None:
        """Put an event that a sink will never take among the dead letters; too many, and the oldest are given up."""
        now_us, lived_us = microseconds(self._clock.utcnow()), self._ages.lived_us
        row = (sink, event.position, event.id, reason, what, now_us, event.json, lived_us)

        def change(connection: sqlite3.Connection) -> list[GivenUp]:
            letters.bury(connection, row)
            return crowded_out(connection, self._writer.retention)

        for lost in self._desk.ask(change):
            telling.count(lost, self._metrics)
            self.append([self._writer.story(lost)])

    def letters(self, sink: str, limit: int) -> tuple[int, list[StoredEvent]]:
        """Return how many dead letters a sink has, and the first of those for which another attempt was asked."""
        return self._log.letters(sink, limit)

    def settle(self, sink: str, events: Sequence[StoredEvent]) -> None:
        """Dead letters have been delivered after all."""
        ids = [event.id for event in events]
        self._desk.ask(lambda connection: letters.settle(connection, sink, ids))

    def wait_beyond(self, position: int, timeout_s: float) -> bool:
        """Wait until something newer than a position is stored; False after ``timeout_s`` seconds."""
        return self._desk.wait_beyond(position, timeout_s)

    def stored_at_s(self, position: int) -> float:
        """Return about when a position was committed (monotonic seconds); what is older than this run: its start."""
        with self._desk.changed:
            return self._desk.recent.stored_at_s(position)

    # Reading

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        """Return the newest events, newest first."""
        return self._own.latest(limit, stream=stream, type_prefix=type_prefix)

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, oldest first."""
        return self._own.after(position, limit)
