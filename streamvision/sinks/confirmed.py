"""What a server has confirmed lately, so that the rest of a batch can be tried again without it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from streamvision.interfaces import StoredEvent

LIMIT = 4096


class Confirmed:
    """The ids of the last events that a server took; bounded. Used by one thread at a time."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._limit = limit

    def add(self, event_id: str) -> None:
        """Remember an event, and forget the oldest."""
        self._ids[event_id] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def missing(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Return those that are not known to be there, in order."""
        return [event for event in events if event.id not in self._ids]
