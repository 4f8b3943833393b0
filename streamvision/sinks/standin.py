"""What stands in for the event store while state_dir cannot be used: a store in memory, moved to its place in the end.

A daemon that starts on a read-only disk still watches, and still delivers. Its events are kept in memory, within
bounds; as soon as the folder can be written they are moved there in their order, with their ids, and so are the sinks'
cursors and the numbers of tracks. A daemon that ends before, or is killed, leaves them in memory for its next start:
only the machine's own restart loses them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import tempfile
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
        self._try_at_s = clock.monotonic() + TRY_EVERY_S
        self._usable = False
        self._folder = _memory_for(place)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(self._folder):
            raise StoreError("belongs to somebody else", where=str(self._folder), remedy="remove it")
        if not (self._folder / STORE_FILE).exists():
            _begin(self._folder / STORE_FILE, clock)
        super().__init__(self._folder / STORE_FILE, clock, retention=_in_memory(retention), metrics=metrics, beat=beat)
        log.error("state_dir cannot be used; events are kept in memory until it can", error=str(why))

    def retain(self, retention: Retention) -> None:
        """Use other bounds from now on; those of the memory stay."""
        super().retain(_in_memory(retention))

    @property
    def usable(self) -> bool:
        """Whether the store's own place can be used by now; it is tried every few seconds."""
        if not self._usable and self._clock.monotonic() >= self._try_at_s:
            self._usable = can_be_used(self._place)
            self._try_at_s = self._clock.monotonic() + TRY_EVERY_S
        return self._usable

    def move(self, clock: Clock) -> int:
        """Move everything to its place, after `close`; return how many events that were.

        Raises `StoreError` when the place still cannot be used and there are events: they stay in memory then, for
        the next start, and are counted in the text.
        """
        return _moved(self._folder, self._place, clock)


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


def _memory_for(place: Path) -> Path:
    """Return the folder in memory that belongs to a place: always the same, so that the next start finds it."""
    # systemd empties /dev/shm of what a dynamic user leaves there, but keeps the runtime directory if it is told to.
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    shared = next((one for one in (given, "/dev/shm") if one and os.access(one, os.W_OK)), tempfile.gettempdir())
    name = hashlib.sha256(os.path.realpath(place).encode(errors="surrogateescape")).hexdigest()[:16]
    return Path(shared) / f"streamvision-{os.geteuid()}-{name}"


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have put there what is in a folder; others may write where it lies."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _adopt(place: Path, clock: Clock) -> None:
    """Move to its place what an earlier run had to leave in memory. Raises `StoreError` as `open_or_stand_in` does."""
    folder = _memory_for(place)
    if not _is_ours(folder) or not (folder / STORE_FILE).is_file():
        return
    with lock_folder(folder / STORE_FILE):
        try:
            _moved(folder, place, clock)
        except StoreError as error:
            if not can_be_used(place):
                raise StoreUnusable(error.what, where=error.where) from error
            log.error("what an earlier run left in memory cannot be read", folder=str(folder), error=str(error))


def _moved(folder: Path, place: Path, clock: Clock) -> int:
    """Move a store in memory to its place and take its folder away; return how many events it had."""
    count = 0
    try:
        with closing(sqlite3.connect(folder / STORE_FILE)) as memory:
            count = int(memory.execute("SELECT count(*) FROM events").fetchone()[0])
        with ExitStack() as stack:
            stack.enter_context(lock_folder(place))
            connection = stack.enter_context(closing(open_store(place, clock)))
            _move(connection, folder / STORE_FILE)
    except (StoreError, sqlite3.Error) as error:
        if not count:
            shutil.rmtree(folder, ignore_errors=True)
            return 0
        text = f"{count} events stay in memory, in {folder}, until the next start: {error}"
        raise StoreError(text, where=str(place)) from error
    shutil.rmtree(folder, ignore_errors=True)
    log.info("state_dir can be used again; events moved from memory to the disk", events=count)
    return count


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
