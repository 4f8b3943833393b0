"""How long the event store remembers: by age and by size, but never less than what a sink still has to deliver."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from streamvision.sinks.database import microseconds

log = structlog.get_logger()

CHUNK_ROWS = 2000
"""Rows deleted per transaction, so that no commit of events waits long."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds of the store; the smaller one counts."""

    max_age_s: float = 30 * 86400.0
    max_bytes: int = 1 << 30


def prune(connection: sqlite3.Connection, retention: Retention, sinks: Iterable[str], now: datetime) -> int:
    """Delete up to a chunk of old events that every sink has delivered; return how many."""
    oldest_us = microseconds(now - timedelta(seconds=retention.max_age_s))
    # Only the oldest chunk is looked at: rows lie in the order in which they were stored, and this runs every minute.
    oldest = f"SELECT position, stored_us FROM events ORDER BY position LIMIT {CHUNK_ROWS}"
    full = used_bytes(connection) > retention.max_bytes
    chosen = f"SELECT max(position) FROM ({oldest}) WHERE ? OR stored_us < ?"
    last = connection.execute(chosen, (full, oldest_us)).fetchone()[0]
    connection.execute("DELETE FROM dead_letters WHERE buried_us < ?", (oldest_us,))
    if last is None:
        return 0
    allowed = min([last, *_cursors(connection, sinks)])
    if allowed < last:
        log.warning("old events are kept beyond the store's bounds: a sink has not delivered them", position=allowed)
    return connection.execute("DELETE FROM events WHERE position <= ?", (allowed,)).rowcount


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes in use; the file itself does not shrink, free pages are used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _cursors(connection: sqlite3.Connection, sinks: Iterable[str]) -> list[int]:
    known = dict(connection.execute("SELECT sink, position FROM cursors").fetchall())
    return [known[sink] for sink in sinks if sink in known]
