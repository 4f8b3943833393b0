"""What the event store's writer does inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from streamvision.errors import StoreError

Change = Callable[[sqlite3.Connection], Any]
Row = tuple[str, str, str, int, int, str]
"""An event: id, stream, type, time_us, lived_us, json."""

_INSERT = "INSERT INTO events(id, stream, type, time_us, lived_us, json) VALUES(?,?,?,?,?,?)"
_RESERVE = """
INSERT INTO track_ids VALUES(:stream, coalesce((SELECT value FROM facts WHERE name = 'first_track_id'), 1) + :count)
ON CONFLICT(stream) DO UPDATE SET following = following + :count RETURNING following
"""
_FIRST_ID = "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'first_track_id'), 1)"
_FOLLOWING = "SELECT CAST(stream AS BLOB), CAST(following AS INTEGER) FROM track_ids"  # whatever is written there
_END = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"
_REGISTER = f"INSERT INTO cursors VALUES(?, {_END}) ON CONFLICT DO NOTHING"
_OLDEST = f"SELECT coalesce((SELECT min(position) FROM events), {_END} + 1)"


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done inside a transaction, and who waits for it."""

    change: Change
    done: Future[Any]

    def wanted(self) -> bool:
        """Whether somebody still waits; from now on the job is done, and nobody can call it off."""
        return self.done.set_running_or_notify_cancel()


@dataclass(frozen=True, slots=True)
class Load:
    """What one transaction is to bring to the disk."""

    rows: Sequence[Row] = ()
    jobs: Sequence[Job] = ()
    cursors: Mapping[str, int] | None = None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the block's end, or undo."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def commit(connection: sqlite3.Connection, load: Load) -> tuple[list[Any], int]:
    """Bring a load to the disk; return the jobs' answers and the newest position. Raises `sqlite3.Error`."""
    with transaction(connection):
        # Cursors and jobs first: an event must not be on the disk before the reservation of its track's id.
        move_cursors(connection, load.cursors or {})
        answers = [job.change(connection) for job in load.jobs]
        position = insert(connection, load.rows)
    return answers, position


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Add events; return the newest position."""
    connection.executemany(_INSERT, rows)
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(found[0]) if found else 0


def move_cursors(connection: sqlite3.Connection, cursors: Mapping[str, int]) -> None:
    """Move sinks' cursors; none goes back."""
    connection.executemany(
        "UPDATE cursors SET position = max(position, ?) WHERE sink = ?",
        [(position, sink) for sink, position in cursors.items()],
    )


def register(connection: sqlite3.Connection, sink: str) -> tuple[int, int]:
    """Return a sink's cursor, a new one at the end, and how many events behind it are gone without its doing."""
    connection.execute(_REGISTER, (sink,))
    position = int(connection.execute("SELECT position FROM cursors WHERE sink = ?", (sink,)).fetchone()[0])
    oldest = int(connection.execute(_OLDEST).fetchone()[0])
    return position, max(0, oldest - 1 - position)


def reserve(stream: str, count: int, connection: sqlite3.Connection) -> int:
    """Return the id that follows the reserved ones. All rows are fetched: an open statement would block the commit."""
    return int(connection.execute(_RESERVE, {"stream": stream, "count": count}).fetchall()[0][0])


def following_ids(connection: sqlite3.Connection) -> tuple[int, dict[str, int]]:
    """Return the first track id of a stream that never had one, and the next one of every other stream.

    Raises `StoreError`.
    """
    try:
        first = connection.execute(_FIRST_ID).fetchall()
        known: list[tuple[bytes, int]] = connection.execute(_FOLLOWING).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"its track ids cannot be read: {error}") from error
    return int(first[0][0]), {stream.decode(errors="replace"): following for stream, following in known}
