"""Reading what the event store holds: from memory what is new, from the disk what is older."""

from __future__ import annotations

from typing import Final

from streamvision.interfaces import StoredEvent
from streamvision.sinks.database import EventLog
from streamvision.sinks.desk import Desk

SEARCH_S: Final = 2.0
"""How long one question of a visitor may search the disk."""


class Reading:
    """An `EventReader` over the store's newest end in memory and a connection of its own to the file.

    Whoever searches the file holds up nobody but those who share this object.
    """

    def __init__(self, desk: Desk, log: EventLog) -> None:
        self._desk = desk
        self._log = log

    def latest(self, limit: int, *, stream: str | None = None, type_prefix: str | None = None) -> list[StoredEvent]:
        """Return the newest events, newest first. Raises `StoreError`."""
        return self._log.latest(limit, stream=stream, type_prefix=type_prefix)

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, oldest first. Raises `StoreError`."""
        with self._desk.changed:
            found = self._desk.recent.after(position, limit)
        return self._log.after(position, limit) if found is None else found
