"""A scrape of 64 streams beside the same series kept in prometheus_client's own instruments.

    python tests/bench/bench_scrape.py

Both are rendered in turn, in one process. Exits with 1 if ours takes more than 10 ms.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamvision.metrics import Metrics
from streamvision.metrics.exposition import PREFIX
from streamvision.types import StreamState

STREAMS = 64
ROUNDS = 30
ALLOWED_MS = 10.0
CLASSES = ("person", "bicycle", "car", "truck", "bus")
SKIPPED = ("target_rate", "no_motion")
DROPPED = (("queue", "overflow"), ("batch", "max_age"), ("decode", "corrupt"))
EVENTS = (("intruder", "streamvision.zone.start"), ("intruder", "streamvision.zone.end"))


def ours() -> Metrics:
    metrics = Metrics(CollectorRegistry())
    for number in range(STREAMS):
        stats = metrics.stream(f"camera{number}")
        stats.state, stats.decoded, stats.analysed = StreamState.LIVE, 1000, 900
        stats.reconnects["timeout"] += 1
        stats.skipped.update(dict.fromkeys(SKIPPED, 40))
        stats.dropped.update(dict.fromkeys(DROPPED, 5))
        stats.detections.update(dict.fromkeys(CLASSES, 7))
        stats.tracks_active = dict.fromkeys(CLASSES, 1)
        stats.events.update(dict.fromkeys(EVENTS, 1))
        for histogram in stats.ages.values():
            histogram.observe(0.05)
    return metrics


def theirs() -> CollectorRegistry:
    """Return the same series as instruments with labels."""
    registry = CollectorRegistry()
    bounds = ours().stream("camera0").ages["engine"].bounds

    def make(kind: type, name: str, *labels: str, **more: object):
        return kind(PREFIX + name, name, ("stream", *labels), registry=registry, **more)

    plain = [make(Counter, "frames_decoded"), make(Counter, "frames_analysed"), make(Gauge, "frames_in_flight")]
    keyed = [
        (make(Gauge, "stream_state", "state"), [(str(state),) for state in StreamState]),
        (make(Counter, "stream_reconnects", "reason"), [("timeout",)]),
        (make(Counter, "frames_skipped", "reason"), [(reason,) for reason in SKIPPED]),
        (make(Counter, "frames_dropped", "stage", "reason"), DROPPED),
        (make(Counter, "detections", "class"), [(name,) for name in CLASSES]),
        (make(Gauge, "tracks_active", "class"), [(name,) for name in CLASSES]),
        (make(Counter, "events", "rule", "type"), EVENTS),
    ]
    ages = make(Histogram, "frame_age_seconds", "stage", buckets=bounds)
    for number in range(STREAMS):
        stream = f"camera{number}"
        for instrument in plain:
            instrument.labels(stream).inc(900)
        for instrument, keys in keyed:
            for key in keys:
                instrument.labels(stream, *key).inc()
        for stage in ("engine", "analysis", "event"):
            ages.labels(stream, stage).observe(0.05)
    return registry


def series(text: bytes) -> int:
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return sum(not line.split("{")[0].endswith("_created") for line in lines)


def timed_ms(render: Callable[[], bytes]) -> float:
    started = time.perf_counter()
    render()
    return 1e3 * (time.perf_counter() - started)


def main() -> int:
    metrics, registry = ours(), theirs()
    renders: dict[str, Callable[[], bytes]] = {
        "streamvision": metrics.render,
        "prometheus_client": lambda: generate_latest(registry),
    }
    counts = {name: series(render()) for name, render in renders.items()}
    times = {name: [] for name in renders}
    for _ in range(ROUNDS):
        for name, render in renders.items():
            times[name].append(timed_ms(render))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"one scrape of {STREAMS} streams, medians of {ROUNDS}")
    for name, median_ms in medians.items():
        print(f"  {name:20s} {counts[name]:6d} series  {median_ms:8.2f} ms")
    mine, other = medians.values()
    print(f"{mine / other:.3f} x prometheus_client; allowed {ALLOWED_MS:g} ms")
    return 0 if mine <= ALLOWED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
