"""The outbox from `append` to a sink, beside a bare SQLite loop and a bare client loop, in interleaved rounds.

python tests/bench/bench_outbox.py [ROUNDS]

The sink is the socket of an echoing process: a batch is one write and one answer. The bare SQLite loop inserts and
commits as durably, in groups of 100, without an outbox; the bare client loop sends the same batches without a store.
"""

from __future__ import annotations

import multiprocessing
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from streamvision.clock import SystemClock
from streamvision.interfaces import StoredEvent
from streamvision.metrics import SinkStats
from streamvision.sinks.cloudevents import to_json
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.store import EventStore
from tests.bench.support import quiet
from tests.sinks.samples import event

COUNT = 30_000
GROUP = 100
PACED = 1_000
PACE_S = 0.01


def answer(listener: socket.socket) -> None:
    """Answer every newline-terminated message with its number of lines; the end of a batch is an empty line."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        count = 0
        for line in lines:
            count += 1
            if line == b"\n":
                connection.sendall(b"%d\n" % count)
                count = 0


class Client:
    """A sink that waits for the receiver's word."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.process = multiprocessing.Process(target=answer, args=(listener,), daemon=True)
        self.process.start()
        self.socket = socket.create_connection(listener.getsockname())
        self.answers = self.socket.makefile("rb")
        self.arrived_s: dict[str, float] = {}

    def send(self, texts: Sequence[str]) -> None:
        self.socket.sendall(("\n".join(texts) + "\n\n").encode())
        self.answers.readline()

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        self.send([one.json for one in events])
        now_s = time.perf_counter()
        self.arrived_s.update((one.id, now_s) for one in events)

    def close(self) -> None:
        self.answers.close()
        self.socket.close()
        self.process.join(5)


def outbox(folder: Path) -> tuple[float, float, float]:
    """Return events per second sustained, and the median and 99th percentile in ms from append to arrival at 100/s."""
    client, clock = Client(), SystemClock()
    store = EventStore(folder / "outbox.db", clock)
    delivery = Delivery("out", client, store, SinkStats("out"), clock, lambda stage: None)
    delivery.start()
    many = [event(number) for number in range(COUNT + PACED)]
    started_s = time.perf_counter()
    for first in range(0, COUNT, 20):
        store.append(many[first : first + 20])
    while len(client.arrived_s) < COUNT:
        time.sleep(0.002)
    rate = COUNT / (max(client.arrived_s.values()) - started_s)
    given_s = {}
    for number, one in enumerate(many[COUNT:]):
        due_s = number * PACE_S
        while (left_s := due_s - (time.perf_counter() - started_s - (COUNT / rate))) > 0:
            time.sleep(left_s)
        given_s[one.id] = time.perf_counter()
        store.append([one])
    while len(client.arrived_s) < COUNT + PACED:
        time.sleep(0.002)
    late_ms = statistics.quantiles([1e3 * (client.arrived_s[one] - at) for one, at in given_s.items()], n=100)
    delivery.stop(10)
    delivery.join(10)
    store.close()
    return rate, late_ms[49], late_ms[98]


def bare_sqlite(folder: Path) -> float:
    """Return events per second of insert and commit alone."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE events(position INTEGER PRIMARY KEY, id TEXT, json TEXT)")
    many = [event(number) for number in range(COUNT)]
    started_s = time.perf_counter()
    for first in range(0, COUNT, GROUP):
        connection.execute("BEGIN")
        rows = [(one.id, to_json(one, "h")) for one in many[first : first + GROUP]]
        connection.executemany("INSERT INTO events(id, json) VALUES(?, ?)", rows)
        connection.execute("COMMIT")
    rate = COUNT / (time.perf_counter() - started_s)
    connection.close()
    return rate


def bare_client() -> float:
    """Return events per second of the client alone."""
    client = Client()
    many = [event(number) for number in range(COUNT)]
    started_s = time.perf_counter()
    for first in range(0, COUNT, GROUP):
        client.send([to_json(one, "h") for one in many[first : first + GROUP]])
    rate = COUNT / (time.perf_counter() - started_s)
    client.close()
    return rate


def main(rounds: int) -> None:
    """Measure and print medians."""
    quiet()
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            found.append((*outbox(Path(folder)), bare_sqlite(Path(folder)), bare_client()))
    rate, median_ms, late_ms, sqlite, client = (statistics.median(column) for column in zip(*found, strict=True))
    print(
        f"append to sink   {rate:8.0f} events/s ({rate / sqlite:.2f} x bare SQLite, {rate / client:.2f} x bare client)"
    )
    print(f"bare SQLite loop {sqlite:8.0f} events/s, a commit per {GROUP}")
    print(f"bare client loop {client:8.0f} events/s, a message per {GROUP}")
    print(f"at 100 events/s  {median_ms:8.2f} ms from append to arrival (median), {late_ms:.2f} ms (99 of 100)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
