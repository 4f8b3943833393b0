"""Events to a PostgreSQL table (12 and later), one row each; what is there already (by id) is left alone.

So every event is there exactly once. The table is made and brought up to date under an advisory lock; its column
``event`` is the CloudEvent as jsonb, ``position`` gives the order of arrival.

Reasons in ``sink_failures_total``: connect, timeout, tls, auth, read_only, full, disk, conflict, missing (the database
or the table), schema; permanent are refused (data that PostgreSQL cannot hold, such as a NUL) and too_large.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streamvision.interfaces import Sink, SinkContext, StoredEvent
from streamvision.sinks.postgresql.options import PostgresqlOptions


class PostgresqlSink:
    """Inserts events into a table; an `interfaces.Sink`."""

    Options: ClassVar[type[PostgresqlOptions]] = PostgresqlOptions
    requires: ClassVar[tuple[str, ...]] = ("psycopg",)

    def __init__(self, options: PostgresqlOptions, context: SinkContext) -> None:
        """Connect to nothing yet."""
        from streamvision.sinks.postgresql.outlet import Outlet

        self._outlet: Sink = Outlet(options, context)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver in order, and wait until the server has confirmed. Raises `SinkError`."""
        self._outlet.deliver(events)

    def close(self) -> None:
        """Release the connection; idempotent."""
        self._outlet.close()
