"""Events to NATS JetStream, with the event's id as Nats-Msg-Id: the server drops what it has had within its window.

A stream's events go one after the other, each confirmed before the next is sent, so that their order holds whatever
is refused in the middle; the streams of a batch go side by side.

Reasons in ``sink_failures_total``: connect, timeout, tls, auth, no_stream (no JetStream stream takes the subject),
full (a limit of the stream or the server), unavailable, refused; too_large is permanent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streamvision.interfaces import Sink, SinkContext, StoredEvent
from streamvision.sinks.nats.options import NatsOptions


class NatsSink:
    """Publishes events to JetStream; an `interfaces.Sink`."""

    Options: ClassVar[type[NatsOptions]] = NatsOptions
    requires: ClassVar[tuple[str, ...]] = ("nats", "nkeys")

    def __init__(self, options: NatsOptions, context: SinkContext) -> None:
        """Connect to nothing yet."""
        from streamvision.sinks.nats.outlet import Outlet

        self._outlet: Sink = Outlet(options, context)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver in order, and wait until the server has confirmed. Raises `SinkError`."""
        self._outlet.deliver(events)

    def close(self) -> None:
        """Release the connection and its thread; idempotent."""
        self._outlet.close()
