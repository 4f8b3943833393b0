"""The event store's one writing thread: group commits, patience with a disk that refuses, an end for what is old."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from streamvision.clock import Clock
from streamvision.interfaces import StoredEvent
from streamvision.metrics import Metrics
from streamvision.sinks import telling
from streamvision.sinks.ages import Ages
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.database import microseconds, moment
from streamvision.sinks.desk import Desk
from streamvision.sinks.ids import EventIds
from streamvision.sinks.retention import CHUNK_ROWS, GivenUp, Pruned, Retention, prune, used_bytes
from streamvision.sinks.transactions import Load, Row, commit, insert, move_cursors, transaction
from streamvision.sinks.wanted import Wanted
from streamvision.types import Event

log = structlog.get_logger()

STAGE: Final = "store"
RETRY_S: Final = (0.1, 5.0)
CURSOR_DELAY_S: Final = 0.1
"""How long a moved cursor may wait for a commit of events to go with."""
PRUNE_EVERY_S = 60.0
PRUNE_EVERY_ROWS: Final = 20_000
FIRST_PRUNE_S = 60.0
"""Not before every sink of this run has said what it still needs."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """What an event gets on its way to the disk: the host's name, an id of its own, its place in the store's time."""

    host: str
    new_id: EventIds
    ages: Ages


class Writer:
    """The thread. ``retention`` and ``sinks``, those whose deliveries count, may be changed at any time."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        desk: Desk,
        stamps: Stamps,
        clock: Clock,
        *,
        retention: Retention,
        metrics: Metrics,
        beat: Callable[[str], None],
    ) -> None:
        self.retention = retention
        self.sinks: dict[str, Wanted] = {}
        self.prune_at_s = clock.monotonic() + FIRST_PRUNE_S
        self._path = path
        self._connection = connection
        self._desk = desk
        self._stamps = stamps
        self._clock = clock
        self._metrics = metrics
        self._beat = beat
        self._rows_until_prune = PRUNE_EVERY_ROWS
        self._thread = threading.Thread(target=self._guarded, name=STAGE, daemon=True)

    def start(self) -> None:
        """Begin; call once."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False if ``timeout_s`` seconds were not enough."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def story(self, lost: GivenUp) -> Event:
        """Return the event that tells of events given up."""
        return telling.event_of(lost, self.retention, self._clock, self._stamps.new_id())

    def _guarded(self) -> None:
        desk = self._desk
        try:
            self._write_until_closed()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            desk.crashed = error
            log.error("event store stopped", error=str(error), exc_info=error)
        with desk.changed:
            desk.backlog.refuse(desk.closed())
            desk.notify()

    def _write_until_closed(self) -> None:
        desk, backlog = self._desk, self._desk.backlog
        while True:
            self._beat(STAGE)
            with desk.changed:
                desk.changed.wait_for(lambda: backlog.due or desk.closing, backlog.pause_s(1.0))
                if desk.closing and backlog.empty:
                    break
                events, jobs, cursors = backlog.take()
                lost = backlog.take_lost()
                desk.changed.notify_all()
            rows = [self._row(event) for event in [*self._told(lost), *events]]
            if (rows or jobs or cursors) and not self._commit_at_last(Load(rows, jobs, cursors)):
                return
            self._prune_if_due()
        self._keep_age()

    def _told(self, lost: GivenUp | None) -> list[Event]:
        """Say, before what follows them, that events never reached the disk."""
        if lost is None:
            return []
        log.error("events lost while the disk refused", events=lost.count)
        return [self.story(lost)]

    def _row(self, event: Event) -> Row:
        json = to_json(event, self._stamps.host)
        return event.id, event.stream, type_of(event), microseconds(event.time), self._stamps.ages.lived_us, json

    # Commits

    def _commit_at_last(self, load: Load) -> bool:
        """Commit, however often the disk refuses; False if that was given up at the end."""
        desk, pause_s = self._desk, RETRY_S[0]
        while True:
            try:
                answers, position = commit(self._connection, load)
            except sqlite3.Error as error:
                self._refused(error, len(load.rows))
            else:
                break
            with desk.changed:
                if desk.changed.wait_for(lambda: desk.abandoned, pause_s * random.uniform(0.5, 1.0)):
                    return False
            pause_s = min(pause_s * 2, RETRY_S[1])
            self._beat(STAGE)
        self._committed(position, load.rows)
        for job, answer in zip(load.jobs, answers, strict=True):
            job.done.set_result(answer)
        return True

    def _committed(self, position: int, rows: Sequence[Row]) -> None:
        desk, first = self._desk, position - len(rows) + 1
        stored = [
            StoredEvent(first + index, row[0], row[1], row[2], moment(row[3]), row[5]) for index, row in enumerate(rows)
        ]
        self._rows_until_prune -= len(rows)
        if desk.failing is not None:
            log.info("event store writes again", file=str(self._path))
        with desk.changed:
            desk.failing = None
            desk.recent.add(stored, position)
            desk.backlog.done()
            desk.count()
            desk.notify()

    def _refused(self, error: sqlite3.Error, events: int) -> None:
        desk = self._desk
        if desk.failing != str(error):
            log.error("event store cannot write; events wait in memory",
                      file=str(self._path), error=str(error), events=events)  # fmt: skip
        with desk.changed:
            desk.failing = str(error)
            desk.backlog.refused()
            desk.count()
            desk.changed.notify_all()

    def _keep_age(self) -> None:
        """Write down, at the end, for how long the store has lived."""
        age = self._stamps.ages.look()
        try:
            with transaction(self._connection):
                self._stamps.ages.write(self._connection, age.awaited_before_us(self.retention.max_age_s), at_once=True)
        except sqlite3.Error as error:
            log.warning("the age of the store could not be written", file=str(self._path), error=str(error))

    # What is old

    def _prune_if_due(self) -> None:
        if self._clock.monotonic() < self.prune_at_s and self._rows_until_prune > 0:
            return
        self._rows_until_prune = PRUNE_EVERY_ROWS
        pruned = Pruned()
        try:
            pruned = self._prune()
            self._metrics.outbox.bytes = used_bytes(self._connection)
        except sqlite3.Error as error:
            log.warning("old events could not be deleted", file=str(self._path), error=str(error))
        if pruned.deleted < CHUNK_ROWS:
            self.prune_at_s = self._clock.monotonic() + PRUNE_EVERY_S

    def _prune(self) -> Pruned:
        """Delete what is beyond the bounds and store, in the same transaction, what is to be told of it."""
        desk, ages = self._desk, self._stamps.ages
        age = ages.look()
        with desk.changed:
            cursors = desk.backlog.take_cursors()
        try:
            with transaction(self._connection):
                move_cursors(self._connection, cursors)
                pruned = prune(self._connection, self.retention, dict(self.sinks), age)
                ages.write(self._connection, age.awaited_before_us(self.retention.max_age_s))
                rows = [self._row(self.story(lost)) for lost in pruned.given_up if lost.new]
                position = insert(self._connection, rows)
        except sqlite3.Error:
            with desk.changed:
                for sink, cursor in cursors.items():
                    desk.backlog.move(sink, cursor, CURSOR_DELAY_S)
            raise
        for lost in pruned.given_up:
            telling.count(lost, self._metrics)
        with desk.changed:
            desk.recent.delete(pruned.up_to)
        self._committed(position, rows)
        return pruned
