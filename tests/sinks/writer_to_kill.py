"""A daemon in small, to be killed: stores numbered events, delivers them to a file.

Arguments: folder, last number, and after how many MB the file is rotated away (0: never).
"""

from __future__ import annotations

import sys
from pathlib import Path

from streamvision.clock import SystemClock
from streamvision.interfaces import SinkContext
from streamvision.metrics import SinkStats
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.jsonl import JsonlSink
from streamvision.sinks.jsonl.options import Rotation
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event, number_of


def main(folder: Path, last: int, max_mb: float) -> None:
    store = EventStore(folder / "events.db", SystemClock(), host="h")
    rotate = Rotation(max_mb=max_mb, compress="gzip") if max_mb else None
    sink = JsonlSink(JsonlSink.Options(path="events.jsonl", rotate=rotate), SinkContext("log", folder))
    delivery = Delivery("log", sink, store, SinkStats("log"), SystemClock(), lambda stage: None, batch=16)
    delivery.start()
    newest = store.latest(1)
    number = number_of(newest[0].json) + 1 if newest else 0
    while number < last:
        store.append([event(number + offset) for offset in range(number % 5 + 1)])
        number += number % 5 + 1
        store.reserve_ids("gate", 1)
        store.flush()
    store.flush()
    delivery.stop(30)
    delivery.join(30)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
