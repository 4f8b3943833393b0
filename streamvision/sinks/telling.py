"""What the outbox tells of itself: events that are given up, as a log line, a count and an event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog

from streamvision.clock import Clock
from streamvision.metrics import Metrics
from streamvision.sinks.cloudevents import rfc3339
from streamvision.sinks.retention import GivenUp, Retention
from streamvision.sinks.wanted import OWN_STREAM
from streamvision.types import ClockSource, Event, Phase

log = structlog.get_logger()

RULE = "outbox"
_WHY = {
    "max_age": "older than outbox.max_age and not delivered",
    "max_size": "the store is larger than outbox.max_mb, and they were not delivered",
    "dead_letters": "dead letters that are too old, too many, or too large together",
    "absent": "they were deleted while the sink was not configured",
    "memory": "the disk refused them, and the memory was full",
}


def count(lost: GivenUp, metrics: Metrics) -> None:
    """Count and log what was given up."""
    cells = metrics.outbox.lost if lost.sink is None else metrics.sink(lost.sink).given_up
    cells[lost.reason] += lost.count
    log.error("events given up", sink=lost.sink or "(all)", reason=lost.reason, events=lost.count,
              first=_text(lost.first), last=_text(lost.last), why=_WHY[lost.reason])  # fmt: skip


def event_of(lost: GivenUp, retention: Retention, clock: Clock, event_id: str) -> Event:
    """Return the event ``streamvision.outbox.instant`` that says what was given up; it is delivered like every other.

    ``data`` has ``sink`` (absent: the events never reached the disk, and so no sink), ``reason``, ``events`` (how
    many) and ``first`` and ``last``, when the oldest and the newest of them happened.
    """
    data: dict[str, Any] = {"sink": lost.sink, "reason": lost.reason, "events": lost.count}
    data |= {"first": lost.first, "last": lost.last}
    evidence: dict[str, Any] = {"why": _WHY[lost.reason]}
    if lost.reason == "max_age":
        evidence["max_age_s"] = retention.max_age_s
    elif lost.reason == "max_size":
        evidence["max_bytes"] = retention.max_bytes
    elif lost.reason == "dead_letters":
        evidence |= {"max_age_s": retention.max_age_s, "max_dead_letters": retention.max_letters}
    return Event(
        id=event_id, kind="outbox", phase=Phase.INSTANT, stream=OWN_STREAM, rule=RULE, happening=event_id, media_s=0.0,
        time=clock.utcnow(), clock=ClockSource.ARRIVAL, uncertainty_s=clock.uncertainty_s(), data=data,
        evidence=evidence,
    )  # fmt: skip


def _text(time: datetime | None) -> str | None:
    return None if time is None else rfc3339(time)
