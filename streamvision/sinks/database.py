"""The store's SQLite file: its layout, how it is opened, and what happens to one that is broken."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreError, StoreUnusable
from streamvision.interfaces import MAX_POSITION, StoredEvent

log = structlog.get_logger()

VERSION = 4
"""Of the layout; 1: dead letters that could not be retried, 2: believed the wall clock, 3: no index of types."""
# AUTOINCREMENT: a position is never used twice, also after the newest rows were deleted.
_LAYOUT = """
CREATE TABLE events(
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, stream TEXT NOT NULL, type TEXT NOT NULL,
    time_us INTEGER NOT NULL, stored_us INTEGER NOT NULL, json TEXT NOT NULL);
CREATE INDEX events_by_stream ON events(stream);
CREATE INDEX events_by_time ON events(time_us);
CREATE TABLE cursors(sink TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE dead_letters(
    sink TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, what TEXT NOT NULL,
    buried_us INTEGER NOT NULL, json TEXT NOT NULL);
CREATE TABLE track_ids(stream TEXT PRIMARY KEY, following INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
# `retry`: 1 once somebody has asked for another attempt. rowid is the order of burial.
_LETTERS = """
ALTER TABLE dead_letters ADD COLUMN retry INTEGER NOT NULL DEFAULT 0;
DELETE FROM dead_letters WHERE rowid NOT IN (SELECT max(rowid) FROM dead_letters GROUP BY sink, id);
CREATE UNIQUE INDEX dead_letters_once ON dead_letters(sink, id);
CREATE INDEX dead_letters_to_retry ON dead_letters(sink) WHERE retry = 1;
"""
# `lived_us`: see ages.py. Version 2 had the wall clock's time there; its events are as old as the first of them.
_AGES = """
ALTER TABLE events RENAME COLUMN stored_us TO lived_us;
ALTER TABLE dead_letters ADD COLUMN lived_us INTEGER NOT NULL DEFAULT 0;
CREATE TABLE away(at_us INTEGER PRIMARY KEY, us INTEGER NOT NULL);
INSERT OR REPLACE INTO facts VALUES(
    'lived_us', coalesce((SELECT CAST(lived_us AS INTEGER) FROM events ORDER BY position LIMIT 1), 0));
UPDATE dead_letters SET lived_us = (SELECT value FROM facts WHERE name = 'lived_us');
"""
_TYPES = "CREATE INDEX events_by_type ON events(type);"
_STEPS = (_LAYOUT, _LETTERS, _AGES, _TYPES)
"""What makes each version of the one before it; 0 is an empty file."""
_WRITTEN_S = 1_780_000_000
_WAL_LIMIT_BYTES = 64 << 20
_TO_RETRY = "SELECT position, id, json FROM dead_letters WHERE sink = ? AND retry = 1 ORDER BY position LIMIT ?"
_COLUMNS = "position, id, stream, type, time_us, json"
# A type's newest events lie together in its index, but those of several types do not. There are few types: from each
# that begins so, found by one look into the index, come as many of the newest as are wanted. Their position is bounded
# rather than their number, because SQLite joins nothing to the outcome of a LIMIT.
_LATEST_OF_TYPES = f"""
WITH RECURSIVE kinds(kind) AS (
    SELECT min(type) FROM events WHERE type >= :prefix
    UNION ALL
    SELECT (SELECT min(type) FROM events WHERE type > kind) FROM kinds WHERE substr(kind, 1, :size) = :prefix)
SELECT {_COLUMNS} FROM kinds CROSS JOIN events
WHERE substr(kind, 1, :size) = :prefix AND type = kind AND position >= coalesce(
    (SELECT position FROM events WHERE type = kind ORDER BY position DESC LIMIT 1 OFFSET :limit - 1), 0)
ORDER BY position DESC LIMIT :limit
"""
_LOOK_EVERY_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock: a fraction of a millisecond."""
_SEARCH_LESS = "ask for a stream or a type alone, or read on from a position, page by page"


def microseconds(time: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return round(time.timestamp() * 1_000_000)


def moment(time_us: int) -> datetime:
    """Return microseconds since 1970 as an aware time in UTC."""
    return datetime.fromtimestamp(time_us / 1_000_000, UTC)


def lock_folder(path: Path) -> BinaryIO:
    """Take the lock that makes this process the store's only writer; it ends with the process.

    Raises `StoreError` if another process has it or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        remedy = "give the service its own state_dir, and the right to write there"
        raise StoreUnusable(f"cannot be written: {error.strerror}", where=str(path), remedy=remedy) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        remedy = "stop it, or choose another state_dir"
        raise StoreError("another streamvision uses this store", where=str(path), remedy=remedy) from error
    return file


def open_store(path: Path, clock: Clock) -> sqlite3.Connection:
    """Open or create the store's file for its writer; a broken file is moved aside and a new one started."""
    try:
        return _open_checked(path)
    except sqlite3.OperationalError as error:
        remedy = "check the rights and the free space of state_dir"
        raise StoreUnusable(f"cannot be opened: {error}", where=str(path), remedy=remedy) from error
    except sqlite3.DatabaseError as error:
        aside = _quarantine(path, clock)
        log.error("the event store was broken; it was moved aside and a new one started",
                  file=str(path), moved_to=str(aside), error=str(error))  # fmt: skip
    connection = _open_checked(path)
    begin_track_ids(connection, clock)
    return connection


def begin_track_ids(connection: sqlite3.Connection, clock: Clock) -> None:
    """Let track ids begin beyond those of a file that cannot be read: at the seconds since 1970.

    A clock that nobody has set yet is behind the day on which this was written.
    """
    first = max(int(clock.utcnow().timestamp()), _WRITTEN_S)
    connection.execute("INSERT OR REPLACE INTO facts VALUES('first_track_id', ?)", (first,))


def _open_checked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: a commit is on the disk before it is believed; affordable because commits are batched.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        _lay_out(connection)
    except UnicodeDecodeError as error:  # damage in the middle of a name, which SQLite quotes in its error
        connection.close()
        raise sqlite3.DatabaseError("its layout is damaged") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        remedy = "start the version that wrote it, or move the file away"
        raise StoreError(f"the event store has layout {version}, this program knows {VERSION}", remedy=remedy)
    if version < VERSION:
        steps = "".join(_STEPS[version:])
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version={VERSION}; COMMIT;")


def _quarantine(path: Path, clock: Clock) -> Path:
    """Rename a broken file and its companions, so that a person can look at them."""
    stamp = clock.utcnow().strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    count = 0
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.broken-{stamp}-{count}")
    for suffix in ("-wal", "-shm", ""):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            os.replace(companion, aside.with_name(aside.name + suffix))
    return aside


def newest_id(connection: sqlite3.Connection) -> str:
    """Return the id of the event that was stored last; empty where there is none, or none that can be read."""
    try:
        found = connection.execute("SELECT id FROM events ORDER BY position DESC LIMIT 1").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return ""
    return found[0] if found and isinstance(found[0], str) else ""


class EventLog:
    """Reads the event store, also while another process writes it; an `EventReader` for any number of threads.

    Raises `StoreError` when there is no store or it cannot be read, and for a search that takes, or waits for
    others, longer than ``patience_s``.
    """

    def __init__(self, path: Path, *, patience_s: float = math.inf) -> None:
        self._path = path
        self._patience_s, self._until_s = patience_s, math.inf
        self._lock = threading.Lock()
        self._connection = self._open()
        self._connection.set_progress_handler(lambda: time.monotonic() > self._until_s, _LOOK_EVERY_STEPS)

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        """Return the newest events, newest first."""
        if type_prefix and stream is None:
            values = {"prefix": type_prefix, "size": len(type_prefix), "limit": limit}
            return [self._event(row) for row in self._rows(_LATEST_OF_TYPES, values)]
        return self.select(limit, stream=stream, type_prefix=type_prefix, newest_first=True)

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, which may be any number, oldest first."""
        return self.select(limit, after=min(max(position, 0), MAX_POSITION))

    def select(
        self,
        limit: int,
        *,
        after: int = 0,
        stream: str | None = None,
        type_prefix: str | None = None,
        since: datetime | None = None,
        newest_first: bool = False,
    ) -> list[StoredEvent]:
        """Return at most ``limit`` events that fit every condition, by position."""
        terms: list[tuple[str, Sequence[Any]]] = [("position > ?", (after,))]
        if stream is not None:
            terms.append(("stream = ?", (stream,)))
        if type_prefix:
            terms.append(("substr(type, 1, ?) = ?", (len(type_prefix), type_prefix)))
        if since is not None:
            terms.append(("time_us >= ?", (microseconds(since),)))
        where = " AND ".join(term for term, _ in terms)
        order = "DESC" if newest_first else "ASC"
        values = [value for _, several in terms for value in several]
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY position {order} LIMIT ?", (*values, limit)
        )
        return [self._event(row) for row in rows]

    def letters(self, sink: str, limit: int) -> tuple[int, list[StoredEvent]]:
        """Return how many dead letters a sink has, and the first of those for which another attempt was asked."""
        kept = int(self._rows("SELECT count(*) FROM dead_letters WHERE sink = ?", (sink,))[0][0])
        return kept, [_as_event(*row) for row in self._rows(_TO_RETRY, (sink, limit))] if kept else []

    def last_position(self) -> int:
        """Return the newest position, 0 for a store that never held an event."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'", ())
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Release the file; idempotent."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        until_s = time.monotonic() + self._patience_s
        if not self._lock.acquire(timeout=self._patience_s if math.isfinite(self._patience_s) else -1):
            what = f"other searches took more than {self._patience_s:g} s"
            raise StoreError(what, where=str(self._path), remedy="ask again later")
        try:
            self._until_s = until_s
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise StoreError(
                    f"the search took more than {self._patience_s:g} s", where=str(self._path), remedy=_SEARCH_LESS
                ) from error
            raise StoreError(f"cannot be read: {error}", where=str(self._path)) from error
        finally:
            self._lock.release()

    def _event(self, row: Sequence[Any]) -> StoredEvent:
        """Return a row as an event; SQLite keeps whatever somebody else has written into a column."""
        position, event_id, stream, kind, time_us, text = row
        try:
            if all(isinstance(each, str) for each in (event_id, stream, kind, text)):
                return StoredEvent(position, event_id, stream, kind, moment(time_us), text)
        except (TypeError, ValueError, OverflowError, OSError):
            pass  # no time, or one beyond any calendar
        raise StoreError(f"the event at position {position} is damaged", where=str(self._path))

    def _open(self) -> sqlite3.Connection:
        if not self._path.is_file():
            remedy = "streamvision run writes it into state_dir; name that folder or the configuration"
            raise StoreError("there is no event store", where=str(self._path), remedy=remedy)
        uri = self._path.absolute().as_uri()
        try:
            return self._connect(f"{uri}?mode=ro")
        except sqlite3.OperationalError:
            # A reader without write access to the folder cannot make the shared-memory file of a closed store;
            # where nobody writes, the main file alone is the truth.
            if self._path.with_name(self._path.name + "-wal").exists():
                raise StoreError("cannot be read", where=str(self._path), remedy="ask for read access") from None
            try:
                return self._connect(f"{uri}?mode=ro&immutable=1")
            except sqlite3.OperationalError as error:  # a daemon may be making it at this moment
                raise StoreError(f"cannot be read: {error}", where=str(self._path)) from error

    def _connect(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            connection.execute("SELECT 1 FROM events LIMIT 1").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            connection.close()
            raise StoreError(f"cannot be read: {error}", where=str(self._path)) from error
        return connection


def _as_event(position: int, event_id: str, text: str) -> StoredEvent:
    """Return a dead letter as the event that it was."""
    event = json.loads(text)
    time = datetime.fromisoformat(event["time"])
    return StoredEvent(position, event_id, event["data"]["stream"], event["type"], time, text)
