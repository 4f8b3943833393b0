"""Settings -> store and deliveries: the one place where the daemon, and the tests that kill it, build the way out."""

from __future__ import annotations

from collections.abc import Callable

from streamvision import plugins
from streamvision.clock import Clock
from streamvision.config import Settings, SinkSettings
from streamvision.interfaces import Sink, SinkContext
from streamvision.metrics import Metrics
from streamvision.sinks.database import FILE_NAME
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.store import EventStore

Beat = Callable[[str], None]


def open_store_of(settings: Settings, clock: Clock, beat: Beat) -> EventStore:
    """Open the event store of a configuration. Raises `StoreError`."""
    return EventStore(settings.state_dir / FILE_NAME, clock, beat=beat)


def open_delivery(
    sink: SinkSettings, context: SinkContext, store: EventStore, metrics: Metrics, clock: Clock, beat: Beat
) -> Delivery:
    """Build a sink and the delivery that feeds it from the store; nothing moves before its `start`.

    Raises `StoreError` when the sink's cursor cannot be registered, and what the sink's own constructor raises.
    """
    outlet: Sink = plugins.load("sink", sink.type)(sink.options, context)
    return Delivery(sink.name, outlet, store, metrics.sink(sink.name), clock, beat)
