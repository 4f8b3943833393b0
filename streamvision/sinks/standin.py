"""What stands in for the event store while state_dir cannot be used: a store in memory, moved to its place in the end.

A daemon that starts on a read-only disk still watches, and still delivers. Its events are kept in memory, within
bounds; as soon as the folder can be written they are moved there in their order, with their ids, and so are the sinks'
cursors and the numbers of tracks.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreError, StoreUnusable
from streamvision.metrics import Metrics
from streamvision.paths import STORE_FILE
from streamvision.sinks.database import begin_track_ids, lock_folder, open_store
from streamvision.sinks.retention import Retention
from streamvision.sinks.store import EventStore

log = structlog.get_logger()

MEMORY_BYTES = 64 << 20
"""How large the store in memory may become; the oldest events go first, counted and told like any others."""
TRY_EVERY_S = 2.0

_MOVE = (
    # A sink that the disk does not know starts before what is moved; one that had everything goes on where it is here.
    "CREATE TEMP TABLE ends AS SELECT coalesce((SELECT seq FROM main.sqlite_sequence WHERE name = 'events'), 0) AS old",
    "INSERT OR IGNORE INTO main.cursors(sink, position) SELECT sink, (SELECT old FROM ends) FROM memory.cursors",
    # On the disk they are as old as what is stored there now: the two have lived through different times.
    """INSERT OR IGNORE INTO main.events(id, stream, type, time_us, lived_us, json)
       SELECT id, stream, type, time_us, (SELECT value FROM main.facts WHERE name = 'lived_us'), json
       FROM memory.events ORDER BY position""",
    """UPDATE main.cursors SET position = position + (SELECT count(*) FROM memory.events e
         WHERE e.position <= (SELECT c.position FROM memory.cursors c WHERE c.sink = main.cursors.sink))
       WHERE position = (SELECT old FROM ends) AND sink IN (SELECT sink FROM memory.cursors)""",
    """INSERT INTO main.track_ids(stream, following) SELECT stream, following FROM memory.track_ids WHERE true
       ON CONFLICT(stream) DO UPDATE SET following = max(following, excluded.following)""",
    """INSERT OR IGNORE INTO main.dead_letters(sink, position, id, reason, what, buried_us, json, retry, lived_us)
       SELECT sink, position, id, reason, what, buried_us, json, retry,
         (SELECT value FROM main.facts WHERE name = 'lived_us') FROM memory.dead_letters""",
)


class StandInStore(EventStore):
    """An event store in memory in place of one on a disk; ``why`` says what keeps it from there."""

    def __init__(
        self,
        place: Path,
        why: StoreError,
        clock: Clock,
        *,
        metrics: Metrics,
        beat: Callable[[str], None],
        retention: Retention = Retention(),  # noqa: B008 - frozen
    ) -> None:
        """``place`` is the file that cannot be opened at present, because of ``why``. Raises `StoreError`."""
        self.why = f"{why}; events are kept in memory"
        self._place = place
        self._try_at_s = time.monotonic() + TRY_EVERY_S
        self._usable = False
        self._folder = Path(tempfile.mkdtemp(prefix="streamvision-", dir=_memory()))
        _begin(self._folder / STORE_FILE, clock)
        super().__init__(self._folder / STORE_FILE, clock, retention=_in_memory(retention), metrics=metrics, beat=beat)
        log.error("state_dir cannot be used; events are kept in memory until it can", error=str(why))

    def retain(self, retention: Retention) -> None:
        """Use other bounds from now on; those of the memory stay."""
        super().retain(_in_memory(retention))

    @property
    def usable(self) -> bool:
        """Whether the store's own place can be used by now; it is tried every few seconds."""
        if not self._usable and time.monotonic() >= self._try_at_s:
            self._usable = can_be_used(self._place)
            self._try_at_s = time.monotonic() + TRY_EVERY_S
        return self._usable

    def move(self, clock: Clock) -> int:
        """Move everything to its place, after `close`; return how many events that were.

        Raises `StoreError` when the place still cannot be used and there are events: they are lost then, and counted
        in the text.
        """
        with closing(sqlite3.connect(self._folder / STORE_FILE)) as memory:
            count = int(memory.execute("SELECT count(*) FROM events").fetchone()[0])
        try:
            with ExitStack() as stack:
                stack.enter_context(lock_folder(self._place))
                connection = stack.enter_context(closing(open_store(self._place, clock)))
                _move(connection, self._folder / STORE_FILE)
        except (StoreError, sqlite3.Error) as error:
            if not count:
                return 0
            raise StoreError(f"{count} events in memory are lost: {error}", where=str(self._place)) from error
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        log.info("state_dir can be used again; events moved from memory to the disk", events=count)
        return count


def open_or_stand_in(
    place: Path,
    clock: Clock,
    *,
    metrics: Metrics,
    beat: Callable[[str], None],
    retention: Retention = Retention(),  # noqa: B008 - frozen
) -> EventStore:
    """Return the event store, or what stands in for it while its folder cannot be written.

    Raises `StoreError` for what time does not heal: another daemon has it, or a newer version wrote it.
    """
    try:
        return EventStore(place, clock, metrics=metrics, beat=beat, retention=retention)
    except StoreUnusable as error:
        return StandInStore(place, error, clock, metrics=metrics, beat=beat, retention=retention)


def trouble(store: EventStore) -> str | None:
    """Return why new events are not on the disk at present; None: they are."""
    return store.why if isinstance(store, StandInStore) else store.failing


def can_be_used(place: Path) -> bool:
    """Whether a store could be opened and written at a place."""
    try:
        with lock_folder(place), tempfile.TemporaryFile(dir=place.parent) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
    except (StoreError, OSError):
        return False
    return True


def _in_memory(retention: Retention) -> Retention:
    return replace(retention, max_bytes=min(retention.max_bytes, MEMORY_BYTES))


def _memory() -> str | None:
    """Return a folder that is memory, None where there is none: then the usual folder for temporary files does."""
    shared = "/dev/shm"
    return shared if os.access(shared, os.W_OK) else None


def _begin(path: Path, clock: Clock) -> None:
    """Lay a store out whose track ids are beyond any on the disk, which cannot be read."""
    with closing(open_store(path, clock)) as connection:
        begin_track_ids(connection, clock)


def _move(connection: sqlite3.Connection, memory: Path) -> None:
    connection.execute("ATTACH ? AS memory", (str(memory),))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _MOVE:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
