"""The books in Prometheus' text format 0.0.4.

Every series keeps its escaped prefix (``name{label="value"} ``) from the first scrape on, so that a value costs one
f-string: with 64 streams a scrape takes a few milliseconds where prometheus_client's own path takes tens, with the
GIL held. The process metrics come from prometheus_client's collectors on the injected registry.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from streamvision import __version__
from streamvision.metrics.books import EngineStats, Histogram, OutboxStats, ReloadStats, SinkStats, StreamStats
from streamvision.types import StreamState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What /metrics says it is."""

PREFIX = "streamvision_"
ENGINE_STATES = ("loading", "building", "verifying", "ready", "fallback", "failed")

FAMILIES: Mapping[str, tuple[str, str]] = {
    "stream_state": ("gauge", "1 for the present state of the camera's connection, 0 for the others"),
    "stream_reconnects_total": ("counter", "Reconnects, by the reason that made them necessary"),
    "stream_packets_lost_total": ("counter", "Packets of a camera (RTP) that never came"),
    "captures_abandoned_total": ("counter", "Capture threads left behind because they hung in native code"),
    "frames_decoded_total": ("counter", "Pictures decoded; each is analysed, skipped, dropped or still in flight"),
    "frames_analysed_total": ("counter", "Pictures that went through engine, tracker and rules"),
    "frames_dropped_total": ("counter", "Pictures lost, by stage and reason"),
    "frames_skipped_total": ("counter", "Pictures that were not wanted, as opposed to lost"),
    "frames_in_flight": ("gauge", "Pictures decoded whose fate is still open"),
    "frame_age_seconds": ("histogram", "From the packet's arrival to the end of a stage"),
    "tracks_active": ("gauge", "Confirmed tracks in sight, by class"),
    "detections_total": ("counter", "Objects detected, by class"),
    "events_total": ("counter", "Events, by rule and type"),
    "explanations_total": ("counter", "Events explained, by rule"),
    "explanations_dropped_total": ("counter", "Events that were to be explained and are not, by reason"),
    "pictures_collected_total": ("counter", "Pictures kept for training, by why they were wanted"),
    "pictures_not_collected_total": ("counter", "Pictures wanted for training that were not kept, by reason"),
    "engine_batch_size": ("histogram", "Pictures per batch"),
    "engine_seconds": ("histogram", "Time spent per batch, by stage"),
    "engine_state": ("gauge", "1 for the present state of the model's engine, 0 for the others"),
    "engine_build_progress": ("gauge", "How much of the model's engine is compiled, 0 to 1"),
    "sink_delivered_total": ("counter", "Events delivered"),
    "sink_failures_total": ("counter", "Deliveries that failed and are tried again, by reason"),
    "sink_pending": ("gauge", "Stored events that are not delivered yet"),
    "sink_lag_seconds": ("gauge", "Age of the oldest event that is not delivered yet"),
    "sink_dead_letters_total": (
        "counter",
        "Events that the receiver refused for good and that went to the dead letters",
    ),
    "sink_dead_letters_kept": ("gauge", "Dead letters that can be retried"),
    "outbox_given_up_total": (
        "counter",
        "Events that a sink will never get, by reason; each time there is an event, too",
    ),
    "outbox_lost_total": ("counter", "Events that never reached the disk, by reason"),
    "outbox_waiting": ("gauge", "Events in memory that are not on the disk yet"),
    "outbox_bytes": ("gauge", "Size of what the event store holds"),
    "outbox_failing": ("gauge", "1 while the disk refuses events"),
    "reloads_total": ("counter", "Readings of the configuration while the daemon runs, by result"),
    "config_last_reload_successful": ("gauge", "1 if what runs is what the file said when it was last read"),
    "config_last_reload_success_timestamp_seconds": ("gauge", "When the file was last read and applied, unix time"),
    "clock_synchronised": ("gauge", "1 while the wall clock follows a time server; absent where nobody can say"),
    "clock_uncertainty_seconds": ("gauge", "How far the wall clock may be off; a day where nobody has set it"),
    "machine_sleeps_total": ("counter", "How often the machine has slept (suspend) while the daemon ran"),
    "machine_slept_seconds_total": ("counter", "For how long it has slept"),
    "build_info": ("gauge", "1; the labels say what is running"),
}
"""Family -> (kind, help), in the order of exposition."""

_Lines = dict[str, list[str]]


def escape(value: str) -> str:
    """Return a label value as the text format wants it."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def prefix(family: str, **labels: str) -> str:
    """Return ``name{label="value",...} ``, everything of a line before its value."""
    inner = ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())
    return f"{PREFIX}{family}{{{inner}}} "


@cache
def _head(family: str) -> str:
    kind, text = FAMILIES[family]
    return f"# HELP {PREFIX}{family} {text}\n# TYPE {PREFIX}{family} {kind}"


class _Cells:
    """The prefixes of a dictionary of cells; a key's labels are escaped when it is first seen."""

    def __init__(self, family: str, key_labels: tuple[str, ...], **labels: str) -> None:
        self._family = family
        self._key_labels = key_labels
        self._labels = labels
        self._prefixes: dict[object, str] = {}

    def add(self, lines: _Lines, cells: Mapping[str, int] | Mapping[tuple[str, str], int]) -> None:
        known = self._prefixes
        lines[self._family] += [f"{known.get(key) or self._learn(key)}{value}" for key, value in cells.items()]

    def _learn(self, key: str | tuple[str, ...]) -> str:
        values = (key,) if isinstance(key, str) else key
        labels = {**self._labels, **dict(zip(self._key_labels, values, strict=True))}
        return self._prefixes.setdefault(key, prefix(self._family, **labels))


class _Buckets:
    """The prefixes of one histogram."""

    def __init__(self, family: str, histogram: Histogram, **labels: str) -> None:
        self._family = family
        self._histogram = histogram
        bounds = [*(repr(bound) for bound in histogram.bounds), "+Inf"]
        self._buckets = [prefix(f"{family}_bucket", **labels, le=bound) for bound in bounds]
        self._count = prefix(f"{family}_count", **labels)
        self._sum = prefix(f"{family}_sum", **labels)

    def add(self, lines: _Lines) -> None:
        running = list(accumulate(self._histogram.counts))
        into = lines[self._family]
        into += [f"{bucket}{count}" for bucket, count in zip(self._buckets, running, strict=True)]
        into.append(f"{self._sum}{self._histogram.total}")
        into.append(f"{self._count}{running[-1]}")


class _States:
    """The prefixes of an enumeration: one series per state, 1 for the present one."""

    def __init__(self, family: str, states: Iterable[str], **labels: str) -> None:
        self._family = family
        self._prefixes = {str(state): prefix(family, **labels, state=str(state)) for state in states}

    def add(self, lines: _Lines, present: str) -> None:
        lines[self._family] += [f"{head}{int(state == present)}" for state, head in self._prefixes.items()]


class _StreamLines:
    """One stream's series."""

    def __init__(self, stats: StreamStats) -> None:
        stream = stats.stream
        self.stats = stats
        self._state = _States("stream_state", StreamState, stream=stream)
        self._lost = prefix("stream_packets_lost_total", stream=stream)
        self._abandoned = prefix("captures_abandoned_total", stream=stream)
        self._decoded = prefix("frames_decoded_total", stream=stream)
        self._analysed = prefix("frames_analysed_total", stream=stream)
        self._in_flight = prefix("frames_in_flight", stream=stream)
        self._skipped = _Cells("frames_skipped_total", ("reason",), stream=stream)
        self._dropped = _Cells("frames_dropped_total", ("stage", "reason"), stream=stream)
        self._reconnects = _Cells("stream_reconnects_total", ("reason",), stream=stream)
        self._detections = _Cells("detections_total", ("class",), stream=stream)
        self._tracks = _Cells("tracks_active", ("class",), stream=stream)
        self._events = _Cells("events_total", ("rule", "type"), stream=stream)
        self._asides = [
            (_Cells(family, (label,), stream=stream), cells)
            for family, label, cells in (
                ("explanations_total", "rule", stats.explained),
                ("explanations_dropped_total", "reason", stats.unexplained),
                ("pictures_collected_total", "reason", stats.collected),
                ("pictures_not_collected_total", "reason", stats.uncollected),
            )
        ]
        self._ages = [
            _Buckets("frame_age_seconds", histogram, stream=stream, stage=stage)
            for stage, histogram in stats.ages.items()
        ]

    def add(self, lines: _Lines) -> None:
        self._add_books(lines)
        stats = self.stats
        self._state.add(lines, str(stats.state))
        self._reconnects.add(lines, dict(stats.reconnects))
        lines["stream_packets_lost_total"].append(f"{self._lost}{stats.lost_packets}")
        lines["captures_abandoned_total"].append(f"{self._abandoned}{stats.abandoned}")
        self._detections.add(lines, dict(stats.detections))
        self._tracks.add(lines, dict(stats.tracks_active))
        self._events.add(lines, dict(stats.events))
        for series, cells in self._asides:
            series.add(lines, dict(cells))
        for histogram in self._ages:
            histogram.add(lines)

    def _add_books(self, lines: _Lines) -> None:
        """Add the counters that must balance: fates are read before ``decoded``, so nothing is below zero."""
        stats = self.stats
        analysed, skipped, dropped = stats.analysed, dict(stats.skipped), dict(stats.dropped)
        decoded = stats.decoded
        in_flight = decoded - analysed - sum(skipped.values()) - sum(dropped.values())
        lines["frames_decoded_total"].append(f"{self._decoded}{decoded}")
        lines["frames_analysed_total"].append(f"{self._analysed}{analysed}")
        lines["frames_in_flight"].append(f"{self._in_flight}{in_flight}")
        self._skipped.add(lines, skipped)
        self._dropped.add(lines, dropped)


class _EngineLines:
    """One model's series."""

    def __init__(self, stats: EngineStats) -> None:
        self.stats = stats
        self._state = _States("engine_state", ENGINE_STATES, model=stats.model)
        self._progress = prefix("engine_build_progress", model=stats.model)
        self._histograms = [_Buckets("engine_batch_size", stats.batch_size, model=stats.model)]
        self._histograms += [
            _Buckets("engine_seconds", histogram, model=stats.model, stage=stage)
            for stage, histogram in stats.seconds.items()
        ]

    def add(self, lines: _Lines) -> None:
        self._state.add(lines, self.stats.state)
        lines["engine_build_progress"].append(f"{self._progress}{self.stats.build_progress}")
        for histogram in self._histograms:
            histogram.add(lines)


class _SinkLines:
    """One sink's series."""

    def __init__(self, stats: SinkStats) -> None:
        self.stats = stats
        self._failures = _Cells("sink_failures_total", ("reason",), sink=stats.sink)
        self._given_up = _Cells("outbox_given_up_total", ("reason",), sink=stats.sink)
        self._plain = {
            family: prefix(family, sink=stats.sink)
            for family in (
                "sink_delivered_total", "sink_pending", "sink_lag_seconds", "sink_dead_letters_total",
                "sink_dead_letters_kept",
            )
        }  # fmt: skip

    def add(self, lines: _Lines) -> None:
        stats = self.stats
        values = (stats.delivered, stats.pending, stats.lag_s, stats.dead_letters, stats.letters_kept)
        for (family, head), value in zip(self._plain.items(), values, strict=True):
            lines[family].append(f"{head}{value}")
        self._failures.add(lines, dict(stats.failures))
        self._given_up.add(lines, dict(stats.given_up))


class _OutboxLines:
    """The event store's series."""

    def __init__(self, stats: OutboxStats) -> None:
        self.stats = stats
        self._lost = _Cells("outbox_lost_total", ("reason",))

    def add(self, lines: _Lines) -> None:
        stats = self.stats
        if not stats.open:
            return
        lines["outbox_waiting"].append(f"{PREFIX}outbox_waiting {stats.waiting}")
        lines["outbox_bytes"].append(f"{PREFIX}outbox_bytes {stats.bytes}")
        lines["outbox_failing"].append(f"{PREFIX}outbox_failing {int(stats.failing)}")
        self._lost.add(lines, dict(stats.lost))


_AnyStats = StreamStats | EngineStats | SinkStats
_AnyLines = _StreamLines | _EngineLines | _SinkLines


def _lines_of(stats: _AnyStats) -> _AnyLines:
    if isinstance(stats, StreamStats):
        return _StreamLines(stats)
    return _EngineLines(stats) if isinstance(stats, EngineStats) else _SinkLines(stats)


class Metrics:
    """All books of one daemon, and their exposition."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """``registry`` is scraped along with the books; by default a new one that tells of the process."""
        self.streams: dict[str, StreamStats] = {}
        self.engines: dict[str, EngineStats] = {}
        self.sinks: dict[str, SinkStats] = {}
        self.outbox = OutboxStats()
        self._outbox_lines = _OutboxLines(self.outbox)
        self.reloads = ReloadStats()
        self.clock_synchronised: bool | None = None
        self.clock_uncertainty_s = 0.0
        self.sleeps: int | None = None
        """How often the machine has slept; None where nobody watches."""
        self.slept_s = 0.0
        self.shard = ""
        """Which share of the streams this process has, like 2/8; empty: all of them."""
        self._registry = _process_registry() if registry is None else registry
        self._known: dict[int, _AnyLines] = {}
        self._lock = threading.Lock()

    def stream(self, name: str) -> StreamStats:
        """Return a stream's books, new ones at first."""
        return self.streams.setdefault(name, StreamStats(name))

    def engine(self, name: str) -> EngineStats:
        """Return a model's books, new ones at first."""
        return self.engines.setdefault(name, EngineStats(name))

    def sink(self, name: str) -> SinkStats:
        """Return a sink's books, new ones at first."""
        return self.sinks.setdefault(name, SinkStats(name))

    def render(self) -> bytes:
        """Return everything in the text format 0.0.4; safe from any thread, while others count."""
        with self._lock:
            text = self._books()
        return text.encode() + generate_latest(self._registry)

    def _books(self) -> str:
        lines: _Lines = {family: [] for family in FAMILIES}
        present: dict[int, _AnyLines] = {}
        books: list[_AnyStats] = [*dict(self.streams).values()]
        books += [*dict(self.engines).values(), *dict(self.sinks).values()]
        for stats in books:
            series = present[id(stats)] = self._known.get(id(stats)) or _lines_of(stats)
            series.add(lines)
        self._known = present
        _add_reloads(self.reloads, lines)
        self._outbox_lines.add(lines)
        if self.clock_synchronised is not None:
            lines["clock_synchronised"].append(f"{PREFIX}clock_synchronised {int(self.clock_synchronised)}")
            lines["clock_uncertainty_seconds"].append(f"{PREFIX}clock_uncertainty_seconds {self.clock_uncertainty_s}")
        if self.sleeps is not None:
            lines["machine_sleeps_total"].append(f"{PREFIX}machine_sleeps_total {self.sleeps}")
            lines["machine_slept_seconds_total"].append(f"{PREFIX}machine_slept_seconds_total {self.slept_s:.3f}")
        lines["build_info"].append(_build_info(self.shard))
        return "\n".join(line for family, body in lines.items() if body for line in (_head(family), *body)) + "\n"


def _add_reloads(stats: ReloadStats, lines: _Lines) -> None:
    if not stats.success_s:  # nobody reads a configuration here
        return
    lines["reloads_total"] += [
        f"{prefix('reloads_total', result=result)}{n}" for result, n in dict(stats.results).items()
    ]
    lines["config_last_reload_successful"].append(f"{PREFIX}config_last_reload_successful {int(stats.last_good)}")
    name = "config_last_reload_success_timestamp_seconds"
    lines[name].append(f"{PREFIX}{name} {stats.success_s}")


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


@cache
def _build_info(shard: str) -> str:
    return f"{prefix('build_info', version=__version__, python=platform.python_version(), shard=shard)}1"
