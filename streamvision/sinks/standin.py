"""What stands in for the event store while state_dir cannot be used: a store in memory, moved to its place in the end.

A daemon that starts on a read-only disk still watches, and still delivers. Its events are kept in memory, within
bounds; as soon as the folder can be written they are moved there in their order, with their ids, and so are the sinks'
cursors and the numbers of tracks. A daemon that ends before, or is killed, leaves them in memory for its next start:
only the machine's own restart loses them.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreError, StoreUnusable
from streamvision.metrics import Metrics
from streamvision.sinks.database import begin_track_ids, lock_folder, open_store
from streamvision.sinks.memory import Memory
from streamvision.sinks.retention import Retention
from streamvision.sinks.store import EventStore

log = structlog.get_logger()

MEMORY_BYTES = 64 << 20
"""How large the store in memory may become; the oldest events go first, counted and told like any others."""
TRY_EVERY_S = 2.0
_PROBE_BYTES = 1 << 16


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
        self._try_at_s = clock.monotonic() + TRY_EVERY_S
        self._usable = False
        self._memory = Memory.of(place).made()
        _begin(self._memory.file, clock)
        super().__init__(self._memory.file, clock, retention=_in_memory(retention), metrics=metrics, beat=beat)
        log.error("state_dir cannot be used; events are kept in memory until it can", error=str(why))

    def retain(self, retention: Retention) -> None:
        """Use other bounds from now on; those of the memory stay."""
        super().retain(_in_memory(retention))

    @property
    def usable(self) -> bool:
        """Whether the store's own place can be used by now; it is tried every few seconds."""
        if not self._usable and self._clock.monotonic() >= self._try_at_s:
            self._usable = can_be_used(self._place, self._memory.size)
            self._try_at_s = self._clock.monotonic() + TRY_EVERY_S
        return self._usable

    def move(self, clock: Clock) -> int:
        """Move everything to its place, after `close`; return how many events that were.

        Raises `StoreError` when the place still cannot be used and there are events: they stay in memory then, for
        the next start, and are counted in the text.
        """
        waiting = 0
        try:
            waiting = self._memory.waiting()
            self._memory.move_to(self._place, clock)
        except StoreError as error:
            if not waiting:
                self._memory.remove()
                return 0
            text = f"{waiting} events stay in memory, in {self._memory.folder}, until the next start: {error}"
            raise StoreError(text, where=str(self._place)) from error
        except sqlite3.Error as error:
            text = f"what is in memory cannot be read, and stays there: {error}"
            raise StoreError(text, where=str(self._memory.folder)) from error
        log.info("state_dir can be used again; events moved from memory to the disk", events=waiting)
        return waiting


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
        _adopt(place, clock)
        return EventStore(place, clock, metrics=metrics, beat=beat, retention=retention)
    except StoreUnusable as error:
        return StandInStore(place, error, clock, metrics=metrics, beat=beat, retention=retention)


def trouble(store: EventStore) -> str | None:
    """Return why new events are not on the disk at present; None: they are."""
    return store.why if isinstance(store, StandInStore) else store.failing


def can_be_used(place: Path, size: int = 0) -> bool:
    """Whether a store could be opened and written at a place, and so many bytes beside what there is."""
    try:
        with lock_folder(place), tempfile.TemporaryFile(dir=place.parent) as probe:
            os.posix_fallocate(probe.fileno(), 0, size + _PROBE_BYTES)
    except (StoreError, OSError):
        return False
    return True


def _in_memory(retention: Retention) -> Retention:
    return replace(retention, max_bytes=min(retention.max_bytes, MEMORY_BYTES))


def _adopt(place: Path, clock: Clock) -> None:
    """Move to its place what an earlier run had to leave in memory. Raises `StoreError` as `open_or_stand_in` does."""
    memory = Memory.of(place)
    if not memory.ours:
        return
    with lock_folder(memory.file):
        try:
            if not memory.begun():
                return
            waiting = memory.waiting()
        except sqlite3.OperationalError as error:  # for the moment: no room there for SQLite's own files
            log.error("what an earlier run left in memory cannot be read now; the next start tries again",
                      folder=str(memory.folder), error=str(error))  # fmt: skip
            return
        except sqlite3.DatabaseError as error:
            log.error("what an earlier run left in memory is damaged; it was moved aside",
                      moved_to=str(memory.set_aside()), error=str(error))  # fmt: skip
            return
        memory.move_to(place, clock)
        log.info("events that an earlier run left in memory moved to the disk", events=waiting)


def _begin(path: Path, clock: Clock) -> None:
    """Lay a store out whose track ids are beyond any on the disk, which cannot be read."""
    with closing(open_store(path, clock)) as connection:
        begin_track_ids(connection, clock)
