"""Which events a sink gets."""

from __future__ import annotations

from collections.abc import Iterable

from streamvision.interfaces import StoredEvent, full_event_type

OWN_STREAM = "streamvision"
"""What the program's own events, of the outbox, have for their stream."""


class Wanted:
    """A choice by stream and by type, both of which must fit; nothing chosen: everything.

    A type is meant with all that lies under it: ``zone`` is also ``streamvision.zone.start``. The choice of streams
    is one of cameras: the program's own events pass it.
    """

    __slots__ = ("_prefixes", "_streams", "_types", "everything")

    def __init__(self, streams: Iterable[str] = (), types: Iterable[str] = ()) -> None:
        self._streams = frozenset(streams)
        self._types = frozenset(full_event_type(kind).rstrip(".") for kind in types)
        self._prefixes = tuple(f"{kind}." for kind in self._types)
        self.everything = not self._streams and not self._types

    def takes(self, stream: str, kind: str) -> bool:
        """Whether an event of a stream and of a CloudEvents type is wanted."""
        if self._streams and stream not in self._streams and stream != OWN_STREAM:
            return False
        return not self._types or kind in self._types or kind.startswith(self._prefixes)

    def fits(self, event: StoredEvent) -> bool:
        """Whether an event is wanted."""
        return self.everything or self.takes(event.stream, event.type)

    def of(self, events: list[StoredEvent]) -> list[StoredEvent]:
        """Return the events that are wanted, in order."""
        return events if self.everything else [one for one in events if self.fits(one)]


EVERYTHING = Wanted()
