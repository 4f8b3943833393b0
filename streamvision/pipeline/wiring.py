"""Settings -> parts that are not running yet: lanes, rows, rules, deliveries."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from streamvision import asides, plugins
from streamvision.analysis import Item, Outages, StreamAnalyser
from streamvision.asides import Aside, Served
from streamvision.attributes import Attributes, SecondLane, SecondLook
from streamvision.batch import WEIGHTS, Batcher, BatchPolicy
from streamvision.capture.hangs import MARGIN_S, PATIENCE_S, Abandoned, CallLimits
from streamvision.capture.isolated import START_S, IsolatedSource
from streamvision.capture.stream import CaptureOptions, StateChange, StreamCapture
from streamvision.channel import Channel
from streamvision.clock import Clock
from streamvision.config import ModelSettings, RuleSettings, Settings, SinkSettings, StreamSettings
from streamvision.engine.build import Order, Workshop
from streamvision.engine.compile import calibration_of
from streamvision.engine.manifest import Manifest, load
from streamvision.engine.runner import Runner
from streamvision.engine.serving import Serving
from streamvision.errors import ManifestError
from streamvision.health import Heartbeats
from streamvision.interfaces import Rule, RuleContext, Sink, Source, Tracker
from streamvision.metrics import EngineStats, Metrics
from streamvision.options import look, sink_context, tracker_options, wants_gate
from streamvision.pipeline.parts import Lane, Parts, Row, Side, capture_stage
from streamvision.rules.where import WhereRule
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.outlets import delivery_of, outlet_of
from streamvision.sinks.store import EventStore
from streamvision.track.ids import ReservedIds
from streamvision.types import Frame, StreamState

log = structlog.get_logger()

HandOver = Callable[[Item], None]


def models_in_use(settings: Settings) -> list[str]:
    """Return the models that look at whole pictures."""
    return sorted({stream.model for stream in settings.streams})


def seconds_in_use(settings: Settings) -> list[str]:
    """Return the models that look at crops of tracks."""
    return sorted({second.model for stream in settings.streams for second in stream.models})


def _limits(stream: StreamSettings) -> CallLimits:
    """Return how long a source's calls may take: its own deadlines, and more where a process is started first."""
    start_s = START_S if stream.isolation == "process" else 0.0
    open_s, read_s = (float(getattr(stream.source, f"{call}_timeout", PATIENCE_S)) for call in ("open", "read"))
    return CallLimits(open_s + start_s + MARGIN_S, read_s + MARGIN_S)


@dataclass(slots=True, eq=False)
class Wiring:
    """Makes the parts of a pipeline; nothing it returns runs yet. ``servings``: all that may be building an engine."""

    store: EventStore
    metrics: Metrics
    heartbeats: Heartbeats
    clock: Clock
    rng: random.Random
    workshop: Workshop
    hand_over: HandOver
    settings: Callable[[], Settings]
    servings: list[Serving] = field(default_factory=list)
    told: dict[str, tuple[StreamState, str]] = field(default_factory=dict)
    abandoned: Abandoned = field(default_factory=Abandoned)

    def lane(self, name: str, model: ModelSettings, stats: EngineStats) -> Lane:
        """Return a model's lane with its engine open. Raises a `StreamvisionError`."""
        manifest = load(model.manifest)
        serving = self._serving(manifest, model, stats)
        engine = serving.open()
        policy = BatchPolicy(min(model.max_batch, engine.max_batch), model.max_wait, model.max_age)
        batcher = Batcher(policy, self.clock, partial(self.drop, "batch", "max_age"))
        serving.follow(lambda serves: batcher.resize(min(model.max_batch, serves.max_batch)))

        def lost(frame: Frame, reason: str) -> None:
            self.drop("engine", reason, frame)

        beat = self.heartbeats.beat
        runner = Runner(name, engine, batcher.collect, self.hand_over, lost, stats, self.clock, beat)
        return Lane(name, manifest, stats, serving, engine, batcher, runner)

    def side(self, name: str, model: ModelSettings, stats: EngineStats) -> Side:
        """Return a second network's lane with its engine open. Raises a `StreamvisionError`."""
        manifest = load(model.manifest)
        if manifest.kind == "motion":
            raise ManifestError(f"{manifest.name} sees what moves, not what a crop shows", where=f"models.{name}")
        serving = self._serving(manifest, model, stats)
        engine, beat = serving.open(), self.heartbeats.beat
        lane = SecondLane(name, engine, stats, self.clock, beat, max_batch=model.max_batch, max_wait_s=model.max_wait)
        return Side(name, manifest, stats, serving, lane)

    def _serving(self, manifest: Manifest, model: ModelSettings, stats: EngineStats) -> Serving:
        pictures = calibration_of(Path(model.calibration)) if model.calibration else None
        order = Order(model.backend, model.precision, model.options, calibration=pictures, max_batch=model.max_batch)
        self.servings.append(Serving(manifest, order, self.workshop, stats))
        return self.servings[-1]

    def forget_servings(self) -> None:
        """Know only those any more that are building an engine."""
        self.servings[:] = [one for one in self.servings if not one.join(0)]

    def row(self, stream: StreamSettings, lane: Lane, parts: Parts) -> Row:
        """Return a stream with everything it needs; its row in the batcher is there."""
        analyser = self.analyser(stream, lane, parts)
        inlet, capture = self.capture(stream, lane)
        return Row(stream, self.live(stream), lane, inlet, capture, analyser, parts)

    def live(self, stream: StreamSettings) -> bool:
        """Return whether a stream's pictures come at their own time."""
        return bool(plugins.load("source", stream.kind).live)

    def capture_options(self, stream: StreamSettings, lane: Lane) -> CaptureOptions:
        """Return what a stream's capture is told."""
        return CaptureOptions(
            stream=stream.id,
            input=lane.engine.input,
            fps=stream.fps,
            loop=bool(getattr(stream.source, "loop", False)),
            pace=getattr(stream.source, "pace", "fast"),
            motion_gate=wants_gate(stream, lane.manifest, live=self.live(stream)),
            masks=stream.privacy_masks,
            limits=_limits(stream),
        )

    def capture(self, stream: StreamSettings, lane: Lane) -> tuple[Channel[Frame], StreamCapture]:
        """Return a stream's capture and the channel of a lane that it fills."""
        stats = self.metrics.stream(stream.id)
        inlet = self.inlet(stream, lane)
        outages = Outages(stream.id, self.store.new_id, self.clock, stats)
        capture = StreamCapture(
            self.capture_options(stream, lane), partial(self._source, stream), inlet, stats,
            self.clock, rng=self.rng, on_state=partial(self._on_state, outages),
            beat=partial(self.heartbeats.beat, capture_stage(stream.id)), abandoned=self.abandoned,
        )  # fmt: skip
        return inlet, capture

    def _source(self, stream: StreamSettings) -> Source:
        if stream.isolation == "process":
            return IsolatedSource(stream.kind, stream.url, stream.source, self.clock)
        source: Source = plugins.load("source", stream.kind)(stream.url, stream.source, self.clock)
        return source

    def inlet(self, stream: StreamSettings, lane: Lane) -> Channel[Frame]:
        """Give a stream its row in a lane's batcher."""
        overflow = partial(self.drop, "queue", "overflow")
        weight = WEIGHTS[stream.priority]
        return lane.batcher.add(stream.id, live=self.live(stream), on_overflow=overflow, weight=weight)

    def analyser(self, stream: StreamSettings, lane: Lane, parts: Parts) -> StreamAnalyser:
        """Return a stream's memory."""
        assert parts.tracker is not None
        stats, rules = self.metrics.stream(stream.id), list(parts.rules.values())
        stats.since_s = self.clock.monotonic()
        attributes = Attributes(list(parts.looks.values()))
        return StreamAnalyser(lane.engine.labels, parts.tracker, rules, stats, parts.min_score, attributes)

    def parts(self, stream: StreamSettings, sides: Mapping[str, Side]) -> Parts:
        """Return what judges a stream's pictures, all of it new. Raises a `StreamvisionError`."""
        tracker, min_score = self.tracker(stream)
        looks = {second.attribute: self.look(stream, second.attribute, sides) for second in stream.models}
        return Parts(tracker, {rule.name: self.rule(stream, rule) for rule in stream.rules}, looks, min_score)

    def tracker(self, stream: StreamSettings) -> tuple[Tracker, float]:
        """Return a stream's tracker and the score from which on it believes."""
        options = tracker_options(stream)
        first = self.settings().first_track_id
        ids = ReservedIds(lambda count: first + self.store.reserve_ids(stream.id, count))
        tracker: Tracker = plugins.load("tracker", stream.tracker.type)(options, ids)
        return tracker, float(getattr(options, "high_score", 0.0))

    def rule(self, stream: StreamSettings, chosen: RuleSettings) -> Rule:
        """Return one rule of a stream."""
        context = RuleContext(stream.id, chosen.name, stream.zones, stream.lines, self.store.new_id)
        rule: Rule = plugins.load("rule", chosen.type)(chosen.options, context)
        return WhereRule(rule, chosen.where) if chosen.where else rule

    def look(self, stream: StreamSettings, attribute: str, sides: Mapping[str, Side]) -> SecondLook:
        """Return one second network as a stream uses it."""
        (second,) = (one for one in stream.models if one.attribute == attribute)
        return SecondLook(look(second), sides[second.model].lane, wait=not self.live(stream))

    def outlet(self, sink: SinkSettings) -> Sink:
        """Return a sink. Raises a `StreamvisionError`."""
        store = self.store
        context = sink_context(sink, self.settings, self.heartbeats.beat, store.born, store.happenings.ongoing)
        return outlet_of(sink, context)

    def delivery(self, sink: SinkSettings, outlet: Sink) -> Delivery:
        """Return what brings events to a sink, from its cursor on. Raises `StoreError`."""
        return delivery_of(sink, outlet, self.store, self.metrics, self.clock, self.heartbeats.beat)

    def asides(self, settings: Settings, lanes: Mapping[str, Lane], rows: Mapping[str, Row]) -> list[Aside]:
        """Return what works beside the flow. Raises `UsageError` where that is impossible."""

        def idle(lane: Lane) -> bool:
            waiting = any(len(row.inlet) for row in list(rows.values()) if row.lane is lane)
            return not lane.runner.busy and not waiting

        served = {}
        for stream in settings.streams:
            lane = lanes[stream.model]
            served[stream.id] = Served(lane.manifest, lane.engine, self.live(stream), partial(idle, lane))
        return asides.build(settings, served, self.metrics, self.clock, self.heartbeats.beat)

    def drop(self, stage: str, reason: str, frame: Frame) -> None:
        """Count a picture that was lost."""
        stats = self.metrics.streams.get(frame.info.stream)
        if stats is not None and frame.ready_s >= stats.since_s:
            stats.drop(stage, reason)

    def _on_state(self, outages: Outages, change: StateChange) -> None:
        # A camera that is away for a week is tried every few seconds; only what is new is worth a line.
        told = (change.new, change.reason)
        if change.new is not StreamState.CONNECTING and self.told.get(change.stream) != told:
            self.told[change.stream] = told
            log.info("stream", stream=change.stream, state=str(change.new), reason=change.reason, cause=change.cause)
        if events := outages.update(change):
            self.store.append(events)
