"""Events to a Redis stream (XADD, Redis 5 and later), a batch in one transaction.

An entry has the fields ``id`` (the idempotency key), ``stream``, ``type``, ``time`` and ``event``, the CloudEvent as
JSON. After every interruption the sink looks at the end of the stream for what arrived before it, and does not write
that again; what readers must still expect twice is an event behind which other writers have put `TAIL` entries.

Reasons in ``sink_failures_total``: connect, timeout, tls, auth, full (out of memory), loading, read_only, disk,
refused. None is permanent: Redis refuses for reasons of its own, never for one event's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streamvision.interfaces import Sink, SinkContext, StoredEvent
from streamvision.sinks.redis.options import RedisOptions


class RedisSink:
    """Adds events to a Redis stream; an `interfaces.Sink`."""

    Options: ClassVar[type[RedisOptions]] = RedisOptions
    requires: ClassVar[tuple[str, ...]] = ("redis",)

    def __init__(self, options: RedisOptions, context: SinkContext) -> None:
        """Connect to nothing yet."""
        from streamvision.sinks.redis.outlet import Outlet

        self._outlet: Sink = Outlet(options, context)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver in order, and wait until the server has confirmed. Raises `SinkError`."""
        self._outlet.deliver(events)

    def close(self) -> None:
        """Release the connection and its thread; idempotent."""
        self._outlet.close()
