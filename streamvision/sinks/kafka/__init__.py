"""Events to Apache Kafka: an idempotent producer, all replicas confirm, the stream's id is the key.

A stream's events lie in one partition, in order; the header ``id`` is the event's id. Within a session nothing is
written twice; after a fault, and when the daemon starts again, what was not known to be confirmed comes again.

Reasons in ``sink_failures_total``: connect, timeout, tls, auth, no_topic, unavailable, refused; permanent are
too_large and topic (a name that the cluster refuses), for they are the event's own. A missing right is not: it is
granted some day, and the events wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streamvision.interfaces import Sink, SinkContext, StoredEvent
from streamvision.sinks.kafka.options import KafkaOptions


class KafkaSink:
    """Produces events to a Kafka topic; an `interfaces.Sink`."""

    Options: ClassVar[type[KafkaOptions]] = KafkaOptions
    requires: ClassVar[tuple[str, ...]] = ("confluent_kafka",)

    def __init__(self, options: KafkaOptions, context: SinkContext) -> None:
        """Connect to nothing yet."""
        from streamvision.sinks.kafka.outlet import Outlet

        self._outlet: Sink = Outlet(options, context)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver in order, and wait until the server has confirmed. Raises `SinkError`."""
        self._outlet.deliver(events)

    def close(self) -> None:
        """Release the connection and its thread; idempotent."""
        self._outlet.close()
