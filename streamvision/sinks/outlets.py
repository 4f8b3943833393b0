"""Settings -> store and deliveries: the one place where the daemon, and the tests that kill it, build the way out."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from streamvision import plugins
from streamvision.clock import Clock
from streamvision.config import Settings, SinkSettings
from streamvision.interfaces import Sink, SinkContext
from streamvision.metrics import Metrics
from streamvision.paths import STORE_FILE
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.encryption import unusable_tls
from streamvision.sinks.retention import Retention
from streamvision.sinks.store import EventStore
from streamvision.sinks.wanted import Wanted

log = structlog.get_logger()

Beat = Callable[[str], None]


def open_store_of(settings: Settings, metrics: Metrics, clock: Clock, beat: Beat) -> EventStore:
    """Open the event store of a configuration. Raises `StoreError`."""
    retention = retention_of(settings)
    return EventStore(settings.state_dir / STORE_FILE, clock, metrics=metrics, beat=beat, retention=retention)


def retention_of(settings: Settings) -> Retention:
    """Return the store's bounds."""
    outbox = settings.outbox
    return Retention(outbox.max_age, outbox.max_mb << 20, outbox.max_dead_letters)


def outlet_of(sink: SinkSettings, context: SinkContext) -> Sink:
    """Build a sink. Raises what its constructor raises, a `StreamvisionError`."""
    outlet: Sink = plugins.load("sink", sink.type)(sink.options, context)
    if error := unusable_tls(sink.options, context.state_dir):  # told now, not with the first event
        log.warning("sink cannot deliver; its events wait in the store", sink=sink.name, error=str(error))
    return outlet


def delivery_of(
    sink: SinkSettings, outlet: Sink, store: EventStore, metrics: Metrics, clock: Clock, beat: Beat
) -> Delivery:
    """Build what feeds a sink from the store; nothing moves before its `start`. Raises `StoreError`."""
    wanted = Wanted(sink.streams, sink.types)
    return Delivery(sink.name, outlet, store, metrics.sink(sink.name), clock, beat, wanted=wanted)
