"""Settings -> wired stages: the whole flow on one screen.

captures  ->  batcher  ->  runner  ->  analysis  ->  store  ->  deliveries
a thread      one per      two threads  one thread   one        a thread
per stream    model        per model    |     ^      writer     per sink
                                        v     |
                              second networks on crops of tracks: a thread per model
Beside it: what explains events and what collects pictures (`asides`), a thread each, where settings ask for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
from ulid import ULID

from streamvision import asides, plugins
from streamvision.analysis import AnalysisStage, Outages, StreamAnalyser, StreamOver
from streamvision.asides import Aside, Served
from streamvision.attributes import Attributes, SecondLane, SecondLook
from streamvision.batch import Batcher, BatchPolicy
from streamvision.capture.stream import CaptureOptions, StateChange, StreamCapture
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.config import ModelSettings, Settings, SinkSettings, StreamSettings
from streamvision.engine.build import Order, Workshop
from streamvision.engine.compile import calibration_of
from streamvision.engine.manifest import Manifest, load
from streamvision.engine.runner import Inferred, Runner
from streamvision.engine.serving import Serving
from streamvision.errors import ManifestError, StoreError, StreamvisionError
from streamvision.health import Heartbeats
from streamvision.interfaces import Engine, Rule, RuleContext, Sink, Source, Tracker, Viewer
from streamvision.metrics import Metrics
from streamvision.options import look, sink_context, tracker_options, wants_gate
from streamvision.rules.where import WhereRule
from streamvision.sinks.delivery import Delivery
from streamvision.sinks.store import EventStore
from streamvision.track.ids import ReservedIds
from streamvision.types import Analysis, Frame, StreamState

log = structlog.get_logger()

STAGE_ALLOWANCE_S = 20.0
"""How long a stage may be busy with one thing before it counts as hung; longer than any single step takes."""

CAPTURE_ALLOWANCE_S = 60.0
"""The same for captures, whose opening waits for the network by its own deadlines."""

SINK_ALLOWANCE_S = 120.0
"""The same for sinks, which may have to wait for the outside."""

ASIDE_ALLOWANCE_S = 120.0
"""The same for what works beside the flow and writes to disks."""

CAPTURE_END_S = 4.0
"""How long captures are given to end; a read from a silent camera may take longer, and is not waited for."""


def new_id() -> str:
    """Return a new ULID."""
    return str(ULID())


@dataclass(frozen=True, slots=True)
class Lane:
    """One model with what drives it."""

    manifest: Manifest
    engine: Engine
    batcher: Batcher
    runner: Runner


class Stage(Protocol):
    """A thread, or several, that may break."""

    crashed: BaseException | None


class Pipeline:
    """Every stage of one configuration; a `daemon.Service`."""

    def __init__(
        self,
        settings: Settings,
        store: EventStore,
        metrics: Metrics,
        heartbeats: Heartbeats,
        viewer: Viewer,
        clock: Clock,
        rng: random.Random | None = None,
        workshop: Workshop | None = None,
    ) -> None:
        """Nothing runs before `start`; ``rng`` draws the back-off's jitter; ``workshop`` makes the engines."""
        self.settings = settings
        self.store = store
        self.metrics = metrics
        self.heartbeats = heartbeats
        self.lanes: dict[str, Lane] = {}
        self.seconds: dict[str, SecondLane] = {}
        self.captures: dict[str, StreamCapture] = {}
        self.deliveries: list[Delivery] = []
        self.asides: list[Aside] = []
        self.companions: list[Stage] = []
        """Threads beside the flow without which the daemon is not whole; they are started and stopped elsewhere."""
        self._clock = clock
        self._viewer = viewer
        self._rng = rng or random.Random()
        self._workshop = workshop or Workshop()
        self._servings: list[Serving] = []
        self._inlets: dict[str, Channel[Frame]] = {}
        self._analysers: dict[str, StreamAnalyser] = {}
        self._analysis = AnalysisStage(
            self._analysers, store.append, self._publish, clock, heartbeats.beat, self.asides
        )
        self._over: set[str] = set()
        self._told: dict[str, tuple[StreamState, str]] = {}
        self._started = False
        for stream in settings.streams:
            metrics.stream(stream.id)
        for name in (*self._models_in_use(), *self._seconds_in_use()):
            metrics.engine(name)

    def load(self) -> None:
        """Load the engines and wire the stages; nothing moves yet. Raises a `StreamvisionError`."""
        self.deliveries += [self._delivery(sink) for sink in self.settings.sinks]
        for name in self._models_in_use():
            self.lanes[name] = self._lane(name, self.settings.models[name])
        for name in self._seconds_in_use():
            self.seconds[name] = self._second(name, self.settings.models[name])
        for stream in self.settings.streams:
            self.captures[stream.id] = self._capture(stream, self.lanes[stream.model])
        for lane in self.lanes.values():
            lane.batcher.close()  # all rows are there: a lane ends when its last stream has ended
        self.asides += asides.build(
            self.settings, {stream.id: self._served(stream) for stream in self.settings.streams}, self.metrics,
            self._clock, self.heartbeats.beat,
        )  # fmt: skip

    def start(self) -> None:
        """Start every stage from the outlet to the inlet, after loading what `load` has not."""
        if not self.lanes:
            self.load()
        self._start_stages()
        self._started = True

    def tick(self) -> None:
        """Tell the analysis of streams whose last picture has been through; keep an eye on the outlets."""
        for stream, capture in self.captures.items():
            ended = capture.finished and stream not in self._over
            if ended and (capture.crashed or self.metrics.stream(stream).in_flight == 0):
                self._over.add(stream)
                self._hand_over(StreamOver(stream, "stream_end"))
                self.heartbeats.retire(_capture_stage(stream))
                self.lanes[self.settings.stream(stream).model].engine.forget(stream)
        self._viewer.tick()

    def stop(self, deadline_s: float) -> bool:
        """End the captures, drain stage after stage, flush the outlets; False if the deadline cut that short."""
        left_s = partial(_left_s, self._clock, self._clock.monotonic() + deadline_s)
        self._end_captures(min(CAPTURE_END_S, left_s() / 3))
        drained = [lane.runner.join(left_s() * 2 / 3) for lane in self.lanes.values()]
        self._lose_rest()
        self._analysis.input.close()
        drained.append(not self._started or self._analysis.join(left_s() * 2 / 3))
        drained += [second.stop(left_s() / 3) for second in self.seconds.values()]
        drained += [aside.stop(left_s() / 3) for aside in self.asides]
        drained.append(self._flush(left_s() * 2 / 3))
        for delivery in self.deliveries:
            delivery.stop(left_s() / 2)
        drained += [not self._started or delivery.join(left_s()) for delivery in self.deliveries]
        for engine in [lane.engine for lane in self.lanes.values()] + [lane.engine for lane in self.seconds.values()]:
            engine.close()
        return self._close_books() and all(drained)

    @property
    def finished(self) -> bool:
        """Whether every stream was finite and has been analysed to its end."""
        return bool(self.captures) and self._over.issuperset(self.captures)

    @property
    def crashed(self) -> BaseException | None:
        """The first exception that ended a stage before its time."""
        runners = [lane.runner for lane in self.lanes.values()]
        stages: list[Stage] = [self._analysis, self.store, *runners, *self.captures.values(), *self.deliveries]
        stages += [*self.seconds.values(), *self.asides, *self.companions]
        return next((stage.crashed for stage in stages if stage.crashed is not None), None)

    @property
    def compiling(self) -> bool:
        """Whether an engine is being built at this moment, which nothing can interrupt."""
        return not all(serving.join(0) for serving in self._servings)

    @property
    def failure(self) -> StreamvisionError | None:
        """Why a finite source could not be read to its end, if one could not."""
        return next((capture.failed for capture in self.captures.values() if capture.failed is not None), None)

    @property
    def silent(self) -> list[str]:
        """Stages whose sign of life is overdue."""
        return self.heartbeats.silent()

    @property
    def summary(self) -> str:
        """One line on how things are."""
        states = [self.metrics.stream(stream.id).state for stream in self.settings.streams]
        live = sum(state is StreamState.LIVE for state in states)
        pending = sum(sink.pending for sink in self.metrics.sinks.values())
        return f"{live} of {len(states)} streams live, {pending} events to deliver"

    def _models_in_use(self) -> list[str]:
        return sorted({stream.model for stream in self.settings.streams})

    def _seconds_in_use(self) -> list[str]:
        return sorted({second.model for stream in self.settings.streams for second in stream.models})

    def _second(self, name: str, model: ModelSettings) -> SecondLane:
        stats = self.metrics.engine(name)
        manifest = load(model.manifest)
        if manifest.kind == "motion":
            raise ManifestError(f"{manifest.name} sees what moves, not what a crop shows", where=f"models.{name}")
        engine = self._serving(name, manifest, model).open()
        beat = self.heartbeats.beat
        return SecondLane(name, engine, stats, self._clock, beat, max_batch=model.max_batch, max_wait_s=model.max_wait)

    def _lane(self, name: str, model: ModelSettings) -> Lane:
        stats = self.metrics.engine(name)
        manifest = load(model.manifest)
        serving = self._serving(name, manifest, model)
        engine = serving.open()
        policy = BatchPolicy(min(model.max_batch, engine.max_batch), model.max_wait, model.max_age)
        batcher = Batcher(policy, self._clock, partial(self._drop, "batch", "max_age"))
        serving.follow(lambda serves: batcher.resize(min(model.max_batch, serves.max_batch)))

        def lost(frame: Frame, reason: str) -> None:
            self._drop("engine", reason, frame)

        beat = self.heartbeats.beat
        runner = Runner(name, engine, batcher.collect, self._hand_over, lost, stats, self._clock, beat)
        return Lane(manifest, engine, batcher, runner)

    def _serving(self, name: str, manifest: Manifest, model: ModelSettings) -> Serving:
        pictures = calibration_of(Path(model.calibration)) if model.calibration else None
        order = Order(model.backend, model.precision, model.options, calibration=pictures, max_batch=model.max_batch)
        self._servings.append(Serving(manifest, order, self._workshop, self.metrics.engine(name)))
        return self._servings[-1]

    def _capture(self, stream: StreamSettings, lane: Lane) -> StreamCapture:
        stats = self.metrics.stream(stream.id)
        source = plugins.load("source", stream.kind)
        live = bool(source.live)
        overflow = partial(self._drop, "queue", "overflow")
        channel = lane.batcher.add(stream.id, live=live, on_overflow=overflow)
        self._inlets[stream.id] = channel
        self._analysers[stream.id] = self._analyser(stream, lane, live=live)
        options = CaptureOptions(
            stream=stream.id,
            input=lane.engine.input,
            fps=stream.fps,
            loop=bool(getattr(stream.source, "loop", False)),
            pace=getattr(stream.source, "pace", "fast"),
            motion_gate=wants_gate(stream, lane.manifest, live=live),
            masks=stream.privacy_masks,
        )
        beat = partial(self.heartbeats.beat, _capture_stage(stream.id))
        outages = Outages(stream.id, new_id, self._clock, stats)
        return StreamCapture(
            options, _opener(source, stream, self._clock), channel, stats, self._clock,
            rng=self._rng, on_state=partial(self._on_state, outages), beat=beat,
        )  # fmt: skip

    def _served(self, stream: StreamSettings) -> Served:
        lane, live = self.lanes[stream.model], bool(plugins.load("source", stream.kind).live)
        inlets = [self._inlets[one.id] for one in self.settings.streams if one.model == stream.model]
        return Served(
            lane.manifest, lane.engine, live, lambda: not lane.runner.busy and not any(len(each) for each in inlets)
        )

    def _analyser(self, stream: StreamSettings, lane: Lane, *, live: bool) -> StreamAnalyser:
        labels = lane.engine.labels
        options = tracker_options(stream)
        ids = ReservedIds(partial(self.store.reserve_ids, stream.id))
        tracker: Tracker = plugins.load("tracker", stream.tracker.type)(options, ids)
        min_score = float(getattr(options, "high_score", 0.0))
        rules = [self._rule(stream, number) for number in range(len(stream.rules))]
        looks = [SecondLook(look(second), self.seconds[second.model], wait=not live) for second in stream.models]
        return StreamAnalyser(labels, tracker, rules, self.metrics.stream(stream.id), min_score, Attributes(looks))

    def _rule(self, stream: StreamSettings, number: int) -> Rule:
        chosen = stream.rules[number]
        context = RuleContext(stream.id, chosen.name, stream.zones, stream.lines, new_id)
        rule: Rule = plugins.load("rule", chosen.type)(chosen.options, context)
        return WhereRule(rule, chosen.where) if chosen.where else rule

    def _delivery(self, sink: SinkSettings) -> Delivery:
        outlet: Sink = plugins.load("sink", sink.type)(
            sink.options, sink_context(sink.name, lambda: self.settings, self.heartbeats.beat)
        )  # fmt: skip
        stats = self.metrics.sink(sink.name)
        return Delivery(sink.name, outlet, self.store, stats, self._clock, self.heartbeats.beat)

    def _start_stages(self) -> None:
        self.heartbeats.register(AnalysisStage.STAGE, STAGE_ALLOWANCE_S)
        self._analysis.start()
        for delivery in self.deliveries:
            self.heartbeats.register(delivery.stage, SINK_ALLOWANCE_S)
            delivery.start()
        for second in self.seconds.values():
            self.heartbeats.register(second.stage, STAGE_ALLOWANCE_S)
            second.start()
        for aside in self.asides:
            self.heartbeats.register(aside.stage, ASIDE_ALLOWANCE_S)
            aside.start()
        for lane in self.lanes.values():
            for stage in lane.runner.stages:
                self.heartbeats.register(stage, STAGE_ALLOWANCE_S)
            lane.runner.start()
        for stream, capture in self.captures.items():
            self.heartbeats.register(_capture_stage(stream), CAPTURE_ALLOWANCE_S)
            capture.start()

    def _hand_over(self, item: Sequence[Inferred] | StreamOver) -> None:
        try:
            self._analysis.input.put(item)
        except Closed:
            if not isinstance(item, StreamOver):
                for inferred in item:
                    self._drop("analysis", "stopped", inferred.frame)

    def _flush(self, timeout_s: float) -> bool:
        try:
            self.store.flush(timeout_s)
        except StoreError as error:
            log.error("events could not be stored", error=str(error))
            return False
        return True

    def _end_captures(self, timeout_s: float) -> None:
        """Ask every capture to end. One that waits for a silent camera is left behind: it holds no picture."""
        left_s = partial(_left_s, self._clock, self._clock.monotonic() + timeout_s)
        for capture in self.captures.values():
            capture.stop()
        for stream, capture in self.captures.items():
            if not capture.join(left_s()):
                log.warning("left behind while it waits for its camera", stream=stream)
                self._inlets[stream].close()

    def _lose_rest(self) -> None:
        """Give a fate to what no runner took: one of them broke, or hangs."""
        for inlet in self._inlets.values():
            inlet.close()
            while (frame := inlet.take_nowait()) is not None:
                self._drop("batch", "stopped", frame)

    def _close_books(self) -> bool:
        """Tell every stream's books; False if a picture's fate is unknown."""
        for stream, stats in self.metrics.streams.items():
            log.info(
                "books", stream=stream, decoded=stats.decoded, analysed=stats.analysed,
                skipped=sum(stats.skipped.values()), dropped=sum(stats.dropped.values()), in_flight=stats.in_flight,
                causes={"/".join(where): count for where, count in stats.dropped.items()},
            )  # fmt: skip
        return not any(stats.in_flight for stats in self.metrics.streams.values())

    def _drop(self, stage: str, reason: str, frame: Frame) -> None:
        self.metrics.stream(frame.info.stream).drop(stage, reason)

    def _on_state(self, outages: Outages, change: StateChange) -> None:
        # A camera that is away for a week is tried every few seconds; only what is new is worth a line.
        told = (change.new, change.reason)
        if change.new is not StreamState.CONNECTING and self._told.get(change.stream) != told:
            self._told[change.stream] = told
            log.info("stream", stream=change.stream, state=str(change.new), reason=change.reason, cause=change.cause)
        if events := outages.update(change):
            self.store.append(events)

    def _publish(self, frame: Frame, analysis: Analysis) -> None:
        stream = frame.info.stream
        if self._viewer.wanted(stream):
            self._viewer.show(frame, analysis, self._analysers[stream].min_score)


def _capture_stage(stream: str) -> str:
    return f"capture-{stream}"


def _left_s(clock: Clock, until_s: float) -> float:
    return max(0.0, until_s - clock.monotonic())


def _opener(source: Callable[..., Source], stream: StreamSettings, clock: Clock) -> Callable[[], Source]:
    return lambda: source(stream.url, stream.source, clock)
