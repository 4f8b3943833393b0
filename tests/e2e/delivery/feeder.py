"""The daemon's delivery side without video, to be killed at any moment and started anew.

    python -m tests.e2e.delivery.feeder CONFIG --events N --streams K --rate R

Opens the event store and the deliveries of the configuration's sinks as the daemon does, appends made-up events until
N of them are stored (after a restart it goes on behind the newest one that the store has), waits until every sink has
delivered everything, and ends with 0. Event number n has the id `id_of(n)` and is of stream ``s{n % K}``, so that an
order per stream can be read from the ids. R is events per second, 0: as fast as the store takes them. With --stay S
it drains for at most S seconds and then ends with 1. The last line on standard output is JSON: the books of each sink.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streamvision.cli.logs import LogFormat, set_up
from streamvision.clock import SystemClock
from streamvision.config import Settings, load_settings
from streamvision.metrics import Metrics
from streamvision.options import sink_context
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.outlets import delivery_of, open_store_of, outlet_of
from streamvision.sinks.store import EventStore
from streamvision.types import ClockSource, Event, Phase, TrackRef

TYPE = "streamvision.zone.instant"
"""The type of the made-up events; others (`streamvision.outbox...`) are the outbox's own."""
BURST = 64
START = datetime(2026, 1, 2, tzinfo=UTC)


def id_of(number: int) -> str:
    """Return the id of a made-up event."""
    return f"01K{number:023d}"


def number_of(event_id: str) -> int:
    """Return the number in an id."""
    return int(event_id.removeprefix("01K"))


def made_up(number: int, streams: int) -> Event:
    """Return event number ``number``, about as large as a real one."""
    return Event(
        id=id_of(number), kind="zone", phase=Phase.INSTANT, stream=f"s{number % streams}", rule="intruder",
        happening=id_of(number), media_s=number / 25, time=START + timedelta(milliseconds=40 * number),
        clock=ClockSource.RTCP, uncertainty_s=0.02,
        track=TrackRef(number, "person", 0.83, (100.0, 80.5, 160.2, 240.0), (3.1, -0.2)),
        data={"zone": "yard"}, evidence={"dwell_s": 2.04, "min_dwell_s": 2.0},
    )  # fmt: skip


def next_number(store: EventStore) -> int:
    """Return the number that follows the newest made-up event in the store."""
    newest = store.latest(1, type_prefix=TYPE)
    return number_of(newest[0].id) + 1 if newest else 0


def feed(store: EventStore, events: int, streams: int, rate: float) -> None:
    """Append until ``events`` are stored, ``rate`` a second."""
    first = number = next_number(store)
    started_s = time.monotonic()
    while number < events:
        due = events if not rate else min(events, first + int((time.monotonic() - started_s) * rate) + 1)
        batch = [made_up(one, streams) for one in range(number, min(due, number + BURST))]
        store.append(batch)
        number += len(batch)
        if not batch:
            time.sleep(min(0.05, 1 / rate))
    store.flush(600)


def drained(deliveries: Sequence[Delivery], stay_s: float) -> bool:
    """Wait until every sink has everything."""
    until_s = time.monotonic() + stay_s
    while any(one.pending for one in deliveries) and time.monotonic() < until_s:
        if (broken := next((one.crashed for one in deliveries if one.crashed), None)) is not None:
            raise broken
        time.sleep(0.02)
    for one in deliveries:
        one.stop(10.0)
    for one in deliveries:
        one.join(20.0)
    return not any(one.pending for one in deliveries)


def books(metrics: Metrics) -> str:
    """Return every sink's books as one line of JSON."""
    return json.dumps({
        name: {"delivered": stats.delivered, "dead_letters": stats.dead_letters, "failures": dict(stats.failures),
               "pending": stats.pending}
        for name, stats in metrics.sinks.items()
    })  # fmt: skip


def no_beat(stage: str) -> None:
    """Nobody watches."""


def run(settings: Settings, events: int, streams: int, rate: float, stay_s: float) -> int:
    """Feed and drain; return the exit code."""
    clock, metrics = SystemClock(), Metrics()
    store = open_store_of(settings, metrics, clock, no_beat)
    outlets = [outlet_of(sink, sink_context(sink, lambda: settings, no_beat)) for sink in settings.sinks]
    deliveries = [
        delivery_of(sink, outlet, store, metrics, clock, no_beat)
        for sink, outlet in zip(settings.sinks, outlets, strict=True)
    ]
    for one in deliveries:
        one.start()
    feed(store, events, streams, rate)
    whole = drained(deliveries, stay_s)
    store.close()
    print(books(metrics), flush=True)
    return 0 if whole else 1


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--stay", type=float, default=600.0)
    given = parser.parse_args()
    set_up(LogFormat.JSON)
    sys.exit(run(load_settings(given.config), given.events, given.streams, given.rate, given.stay))


if __name__ == "__main__":
    main()
