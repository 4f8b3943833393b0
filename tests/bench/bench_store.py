"""The event store beside one SQLite commit per event: events per second, what `append` costs, and how long until safe.

python tests/bench/bench_store.py [FOLDER]
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from streamvision.clock import SystemClock
from streamvision.interfaces import SinkContext
from streamvision.metrics import SinkStats
from streamvision.sinks.cloudevents import to_json
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.jsonl import JsonlSink
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event

COUNT = 20_000
NAIVE = 2_000
SINGLE = 500


def naive(folder: Path) -> float:
    """Return events per second of a commit per event, as durable as the store's."""
    connection = sqlite3.connect(folder / "naive.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE events(position INTEGER PRIMARY KEY, id TEXT UNIQUE, json TEXT)")
    started = time.perf_counter()
    for number in range(NAIVE):
        one = event(number)
        connection.execute("INSERT INTO events(id, json) VALUES(?, ?)", (one.id, to_json(one, "h")))
    rate = NAIVE / (time.perf_counter() - started)
    connection.close()
    return rate


def main(folder: Path) -> None:
    """Measure and print."""
    store = EventStore(folder / "events.db", SystemClock())
    sink = JsonlSink(JsonlSink.Options(path="events.jsonl"), SinkContext("log", folder))
    delivery = Delivery("log", sink, store, SinkStats("log"), SystemClock(), lambda stage: None)
    many = [event(number) for number in range(COUNT)]

    started = time.perf_counter()
    for first in range(0, COUNT, 20):
        store.append(many[first : first + 20])
    store.flush(60)
    rate = COUNT / (time.perf_counter() - started)

    calls, safe = [], []
    for one in many[:SINGLE]:
        before, position = time.perf_counter(), store.position
        store.append([one])
        calls.append(time.perf_counter() - before)
        store.wait_beyond(position, 10)
        safe.append(time.perf_counter() - before)
    calls_us = [1e6 * value for value in calls]
    safe_ms = statistics.quantiles([1e3 * value for value in safe], n=100)

    started = time.perf_counter()
    delivery.start()
    delivery.stop(60)
    delivery.join(60)
    delivered = (COUNT + SINGLE) / (time.perf_counter() - started)
    store.close()

    alone = naive(folder)
    print(f"stored     {rate:8.0f} events/s ({rate / alone:.1f} x one commit per event: {alone:.0f})")
    print(f"append     {statistics.median(calls_us):8.1f} us a call (median)")
    print(f"safe after {safe_ms[49]:8.2f} ms (median), {safe_ms[98]:.2f} ms (99 of 100)")
    print(f"jsonl      {delivered:8.0f} events/s from the store into the synced file")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
