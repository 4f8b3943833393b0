"""Dead letters: events that a sink refused for good, for people to look at, to retry and to drop.

Read and changed through a connection of its own, beside a running daemon as well as without one: each change is one
short transaction, for which SQLite's own lock makes the daemon's writer wait some milliseconds. A letter to be
retried is only marked; the daemon looks for marks once a second, and the sink's own thread delivers them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from streamvision.errors import StoreError
from streamvision.sinks.database import VERSION, moment

T = TypeVar("T")

BUSY_S = 10.0
_COLUMNS = "sink, position, id, reason, what, buried_us, json, retry"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that ``sink`` refused: for which ``reason`` (a metric's label) and in its own words, and when.

    ``retry``: another attempt has been asked for and not made yet.
    """

    sink: str
    position: int
    id: str
    reason: str
    what: str
    buried_at: datetime
    json: str
    retry: bool


class DeadLetters:
    """The dead letters of a store. Every method raises `StoreError` where there is no store, or it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def choose(self, sink: str | None = None, event_id: str | None = None) -> list[DeadLetter]:
        """Return the letters of a sink, or of all; those of one event, or of all; the oldest first."""
        where, values = _where(sink, event_id)
        query = f"SELECT {_COLUMNS} FROM dead_letters WHERE {where} ORDER BY rowid"
        rows = self._done(lambda connection: connection.execute(query, values).fetchall())
        return [DeadLetter(a, b, c, d, e, moment(f), g, bool(h)) for a, b, c, d, e, f, g, h in rows]

    def sinks(self) -> list[str]:
        """Return the names of the sinks that the store knows: they deliver from it, or have letters there."""
        query = "SELECT sink FROM cursors UNION SELECT sink FROM dead_letters ORDER BY sink"
        return [name for (name,) in self._done(lambda connection: connection.execute(query).fetchall())]

    def retry(self, sink: str | None = None, event_id: str | None = None) -> int:
        """Mark letters for another attempt; return how many. The daemon makes it, now or when it runs again."""
        where, values = _where(sink, event_id)
        return self._done(
            lambda connection: connection.execute(f"UPDATE dead_letters SET retry = 1 WHERE {where}", values).rowcount
        )

    def drop(self, sink: str | None = None, event_id: str | None = None) -> int:
        """Delete letters; return how many."""
        where, values = _where(sink, event_id)
        return self._done(
            lambda connection: connection.execute(f"DELETE FROM dead_letters WHERE {where}", values).rowcount
        )

    def _done(self, act: Callable[[sqlite3.Connection], T]) -> T:
        if not self._path.is_file():
            remedy = "streamvision run writes it into state_dir; name that folder or the configuration"
            raise StoreError("there is no event store", where=str(self._path), remedy=remedy)
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                self._check(connection.execute("PRAGMA user_version").fetchone()[0])
                with connection:
                    return act(connection)
        except sqlite3.Error as error:
            remedy = "run it as the daemon's user"
            raise StoreError(f"cannot be used: {error}", where=str(self._path), remedy=remedy) from error

    def _check(self, version: int) -> None:
        if version != VERSION:
            remedy = "start the daemon of this version once" if version < VERSION else "use the version that wrote it"
            text = f"the event store has layout {version}, this program knows {VERSION}"
            raise StoreError(text, where=str(self._path), remedy=remedy)


# Inside a transaction of the store's writer


def bury(connection: sqlite3.Connection, row: Sequence[Any]) -> None:
    """Put (sink, position, id, reason, what, buried_us, json, lived_us) among the letters, or among them again."""
    connection.execute("INSERT OR REPLACE INTO dead_letters VALUES(?,?,?,?,?,?,?,0,?)", row)


def settle(connection: sqlite3.Connection, sink: str, event_ids: Sequence[str]) -> None:
    """Take delivered letters away."""
    connection.executemany("DELETE FROM dead_letters WHERE sink = ? AND id = ?", [(sink, one) for one in event_ids])


def _where(sink: str | None, event_id: str | None) -> tuple[str, list[str]]:
    terms = [("sink = ?", sink), ("id = ?", event_id)]
    given = [(term, value) for term, value in terms if value is not None]
    return " AND ".join(term for term, _ in given) or "1", [value for _, value in given]
