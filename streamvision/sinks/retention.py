"""How long the event store remembers: by age and by size.

What every sink has delivered goes first, because it is the oldest. What is beyond the bounds and not delivered yet is
given up, so that the disk never fills because of one sink that is gone for good; never silently: each time is told.
What counts as an age is in ages.py.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from streamvision.sinks.ages import Age
from streamvision.sinks.database import moment
from streamvision.sinks.wanted import OWN_STREAM, Wanted

CHUNK_ROWS = 2_000
"""Delivered rows deleted per transaction, so that no commit of events waits long."""
GIVE_UP_ROWS = 20_000
"""Undelivered ones: more, because each time is told with an event."""

LETTERS_SHARE: Final = 0.25
"""Of the store's size, for dead letters; they may take more while the events leave room."""
_SIZE: Final = "length(CAST(json AS BLOB))"

Reason = Literal["max_age", "max_size", "dead_letters", "absent", "memory"]


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds of the store; the smaller one counts. ``max_letters``: dead letters, of all sinks together."""

    max_age_s: float = 30 * 86400.0
    max_bytes: int = 1 << 30
    max_letters: int = 10_000


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Events that will not be delivered: of which sink (None: they never reached the disk), how many, from when on.

    ``new``: not only events that told of others given up; else nothing is told, so that no telling causes the next.
    ``first`` and ``last``: when the oldest and the newest of them happened; None where that is not known any more.
    """

    sink: str | None
    reason: Reason
    count: int
    first: datetime | None
    last: datetime | None
    new: bool = True


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step came to; everything up to position ``up_to`` is gone."""

    deleted: int = 0
    up_to: int = 0
    given_up: tuple[GivenUp, ...] = ()


def prune(
    connection: sqlite3.Connection,
    retention: Retention,
    sinks: Mapping[str, Wanted],
    age: Age,
    chunk: tuple[int, int] = (CHUNK_ROWS, GIVE_UP_ROWS),
) -> Pruned:
    """Delete up to a chunk of events beyond the bounds; part of the caller's transaction.

    ``sinks`` are those whose deliveries count, with what each of them wants; cursors of others hold nothing.
    """
    given_up = _old_letters(connection, retention, age) + _large_letters(connection, retention)
    cursors = _cursors(connection, sinks)
    slowest = min(cursors.values(), default=None)
    up_to, reason = _beyond(connection, retention, age, slowest, chunk[0])
    if up_to is not None and slowest is not None and slowest < up_to:
        up_to, reason = _beyond(connection, retention, age, slowest, chunk[1])
    if up_to is None:
        return Pruned(0, 0, tuple(given_up))
    for sink, position in cursors.items():
        lost = _undelivered(connection, sink, sinks[sink], position, up_to, reason)
        given_up += [lost] if lost.count else []
        # A cursor at the edge: after a restart nothing seems to be missing behind it.
        connection.execute("UPDATE cursors SET position = max(position, ?) WHERE sink = ?", (up_to, sink))
    deleted = connection.execute("DELETE FROM events WHERE position <= ?", (up_to,)).rowcount
    return Pruned(deleted, up_to, tuple(given_up))


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes in use; the file itself does not shrink, free pages are used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def crowded_out(connection: sqlite3.Connection, retention: Retention) -> list[GivenUp]:
    """Delete the oldest dead letters if there are too many, some at once, so that not every one is told singly."""
    count = connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0]
    if count <= retention.max_letters:
        return []
    excess = count - retention.max_letters + retention.max_letters // 100
    oldest = "SELECT rowid FROM dead_letters ORDER BY rowid LIMIT ?"
    return _drop_letters(connection, f"rowid IN ({oldest})", (excess,))


def _beyond(
    connection: sqlite3.Connection, retention: Retention, age: Age, slowest: int | None, rows: int
) -> tuple[int | None, Reason]:
    """Return the last position, within so many rows from the oldest on, that is beyond a bound; and which bound."""
    # Only the oldest rows are looked at: they lie in the order in which they were stored.
    limits = {
        "awaited": age.awaited_before_us(retention.max_age_s),
        "delivered": age.delivered_before_us(retention.max_age_s),
        "slowest": math.inf if slowest is None else slowest,
    }
    beyond = "lived_us < :awaited OR (lived_us < :delivered AND position <= :slowest)"
    oldest = f"SELECT position, lived_us FROM events ORDER BY position LIMIT {rows}"
    old = connection.execute(f"SELECT max(position) FROM ({oldest}) WHERE {beyond}", limits).fetchone()[0]
    excess = used_bytes(connection) - retention.max_bytes
    if excess <= 0:
        return old, "max_age"
    count = connection.execute("SELECT max(position) - min(position) + 1 FROM events").fetchone()[0] or 1
    share = math.ceil(count * excess / (excess + retention.max_bytes))
    oldest = f"SELECT position FROM events ORDER BY position LIMIT {min(rows, share)}"
    large = connection.execute(f"SELECT max(position) FROM ({oldest})").fetchone()[0]
    return (old, "max_age") if old is not None and old >= (large or 0) else (large, "max_size")


def _undelivered(
    connection: sqlite3.Connection, sink: str, wanted: Wanted, after: int, up_to: int, reason: Reason
) -> GivenUp:
    query = "SELECT stream, type, time_us FROM events WHERE position > ? AND position <= ?"
    rows = [row for row in connection.execute(query, (after, up_to)).fetchall() if wanted.takes(row[0], row[1])]
    new = any(row[0] != OWN_STREAM for row in rows)
    return replace(_lost(sink, reason, [row[2] for row in rows]), new=new)


def _old_letters(connection: sqlite3.Connection, retention: Retention, age: Age) -> list[GivenUp]:
    return _drop_letters(connection, "lived_us < ?", (age.awaited_before_us(retention.max_age_s),))


def _large_letters(connection: sqlite3.Connection, retention: Retention) -> list[GivenUp]:
    """Delete the oldest dead letters of a store that is too large, down to their share of its size.

    Before any event: what a sink has refused for good is worth less than what it has not been offered yet.
    """
    if used_bytes(connection) <= retention.max_bytes:
        return []
    newer = f"SELECT rowid, sum({_SIZE}) OVER (ORDER BY rowid DESC) AS bytes FROM dead_letters"
    share = int(retention.max_bytes * LETTERS_SHARE)
    return _drop_letters(connection, f"rowid IN (SELECT rowid FROM ({newer}) WHERE bytes > ?)", (share,))


def _drop_letters(connection: sqlite3.Connection, which: str, values: Sequence[int]) -> list[GivenUp]:
    rows = connection.execute(f"SELECT sink, buried_us FROM dead_letters WHERE {which}", values).fetchall()
    connection.execute(f"DELETE FROM dead_letters WHERE {which}", values)
    sinks = sorted({row[0] for row in rows})
    return [_lost(sink, "dead_letters", [row[1] for row in rows if row[0] == sink]) for sink in sinks]


def _lost(sink: str, reason: Reason, times_us: Sequence[int]) -> GivenUp:
    if not times_us:
        return GivenUp(sink, reason, 0, None, None)
    return GivenUp(sink, reason, len(times_us), moment(min(times_us)), moment(max(times_us)))


def _cursors(connection: sqlite3.Connection, sinks: Mapping[str, Wanted]) -> dict[str, int]:
    known = dict(connection.execute("SELECT sink, position FROM cursors").fetchall())
    return {sink: known[sink] for sink in sinks if sink in known}
