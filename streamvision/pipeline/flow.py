"""Settings -> wired stages: the whole flow on one screen.

captures  ->  batcher  ->  runner  ->  analysis  ->  store  ->  deliveries
a thread      one per      two threads  one thread   one        a thread
per stream    model        per model    |     ^      writer     per sink
                                        v     |
                              second networks on crops of tracks: a thread per model
Beside it: what explains events and what collects pictures (`asides`), a thread each, where settings ask for it.
All of it can change while it runs: see `streamvision.pipeline.changeover`.
"""

from __future__ import annotations

import random
import threading
from functools import partial

import structlog

from streamvision.analysis import AnalysisStage, Errand, Item, StreamAnalyser, StreamOver
from streamvision.asides import Aside
from streamvision.changes import Plan, plan
from streamvision.channel import Closed
from streamvision.clock import Clock, SleepWatch
from streamvision.config import Settings
from streamvision.engine.build import Workshop
from streamvision.engine.manifest import load
from streamvision.errors import StreamvisionError
from streamvision.health import Heartbeats
from streamvision.interfaces import Viewer
from streamvision.metrics import Metrics
from streamvision.pipeline.changeover import Changeover
from streamvision.pipeline.parts import Lane, Side, Stage, Stages, capture_stage, left_s
from streamvision.pipeline.running import Running
from streamvision.pipeline.wiring import Wiring, models_in_use, seconds_in_use
from streamvision.sinks.standin import trouble
from streamvision.sinks.store import EventStore
from streamvision.types import Analysis, Frame, StreamState

log = structlog.get_logger()


class Pipeline:
    """Every stage of one configuration; a `daemon.Service`, and a `reload.Changeable`."""

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
        self.asides: list[Aside] = []
        self.companions: list[Stage] = []
        """Threads beside the flow without which the daemon is not whole; they are started and stopped elsewhere."""
        self._clock = clock
        self._viewer = viewer
        analysers: dict[str, StreamAnalyser] = {}
        self._stages = Stages(
            AnalysisStage(analysers, store.append, self._publish, clock, heartbeats.beat, self.asides),
            analysers, self.asides,
        )  # fmt: skip
        self._wiring = Wiring(
            store, metrics, heartbeats, clock, rng or random.Random(), workshop or Workshop(), self._hand_over,
            lambda: self.settings,
        )  # fmt: skip
        self._sleep = SleepWatch(clock)
        metrics.sleeps = metrics.sleeps or 0
        self._stopping = threading.Event()
        self._running = Running(self._stages, self._wiring, self._stopping)
        self.started = threading.Event()
        self._loaded = False
        self._changing = threading.Lock()
        for stream in settings.streams:
            metrics.stream(stream.id)
        for name in (*models_in_use(settings), *seconds_in_use(settings)):
            metrics.engine(name)

    def load(self) -> None:
        """Load the engines and wire the stages; nothing moves yet. Raises a `StreamvisionError`."""
        stages, wiring, settings = self._stages, self._wiring, self.settings
        for sink in settings.sinks:
            stages.deliveries[sink.name] = wiring.delivery(sink, wiring.outlet(sink))
        for name in models_in_use(settings):
            stages.lanes[name] = wiring.lane(name, settings.models[name], self.metrics.engine(name))
        for name in seconds_in_use(settings):
            stages.sides[name] = wiring.side(name, settings.models[name], self.metrics.engine(name))
        for stream in settings.streams:
            parts = wiring.parts(stream, stages.sides)
            row = stages.rows[stream.id] = wiring.row(stream, stages.lanes[stream.model], parts)
            stages.analysers[stream.id] = row.analyser
        self._loaded = True
        self.asides += wiring.asides(settings, stages.lanes, stages.rows)

    def start(self) -> None:
        """Start every stage from the outlet to the inlet, after loading what `load` has not."""
        stages, running = self._stages, self._running
        if not self._loaded:
            self.load()
        running.analysis()
        for delivery in stages.deliveries.values():
            running.delivery(delivery)
        for side in stages.sides.values():
            running.side(side)
        for aside in self.asides:
            running.aside(aside)
        for lane in stages.lanes.values():
            running.lane(lane)
        for row in stages.rows.values():
            running.capture(row)
        self.started.set()

    def change(self, new: Settings) -> Plan:
        """Go over to other settings while everything runs; return what that came to. One call at a time.

        Engines, rules and sinks are made first, beside what runs. Raises a `StreamvisionError` when the old settings
        are in force as before, `Abandoned` when the daemon goes down meanwhile, and whatever else made it impossible
        to go back, too: then the daemon is broken.
        """
        changes = plan(self.settings, new, self._renewed(new))
        if not changes:
            self.settings = changes.apply(self.settings)
            return changes
        change = Changeover(changes, self.settings, self._stages, self._wiring, self._running, self._stopping)
        change.prepare()
        with self._changing:
            before, self.settings = self.settings, change.new  # whoever asks on the way is told of what will be
            try:
                change.commit()
            except BaseException:
                self.settings = before
                raise
            change.finish()
        return changes

    def tick(self) -> None:
        """Tell the analysis of streams whose last picture has been through; reconnect after the machine slept."""
        slept_s = self._sleep.look()
        if slept_s:
            log.warning("the machine slept; cameras are connected anew", seconds=round(slept_s))
            self.metrics.sleeps = (self.metrics.sleeps or 0) + 1
            self.metrics.slept_s += slept_s
        for row in list(self._stages.rows.values()):
            row.capture.supervise()
            if slept_s:
                row.capture.woken(slept_s)
        if self._changing.acquire(blocking=False):  # while rows change, whoever changes them looks after them
            try:
                self._end_streams()
                self._running.bury_lanes()
            finally:
                self._changing.release()
        self._viewer.tick()

    def stop(self, deadline_s: float) -> bool:
        """End the captures, drain stage after stage, flush the outlets; False if the deadline cut that short."""
        self._stopping.set()
        remaining_s = partial(left_s, self._clock, self._clock.monotonic() + deadline_s)
        settled = self._changing.acquire(timeout=remaining_s() / 3)
        try:
            return self._running.end(remaining_s, started=self.started.is_set()) and settled
        finally:
            if settled:
                self._changing.release()

    @property
    def finished(self) -> bool:
        """Whether every stream was finite and has been analysed to its end."""
        rows = list(self._stages.rows.values())
        return bool(rows) and all(row.over for row in rows) and not self._changing.locked()

    @property
    def crashed(self) -> BaseException | None:
        """The first exception that ended a stage before its time."""
        stages: list[Stage] = [*self._stages.breakable(), self.store, *self.companions]
        return next((stage.crashed for stage in stages if stage.crashed is not None), None)

    @property
    def compiling(self) -> bool:
        """Whether an engine is being built at this moment, which nothing can interrupt."""
        return not all(serving.join(0) for serving in list(self._wiring.servings))

    @property
    def left_behind(self) -> bool:
        """Whether a sink's thread still waits for its receiver, which the end of the process must not do."""
        return any(delivery.left_behind for delivery in list(self._stages.deliveries.values()))

    @property
    def failure(self) -> StreamvisionError | None:
        """Why a finite source could not be read to its end, if one could not."""
        rows = list(self._stages.rows.values())
        return next((row.capture.failed for row in rows if row.capture.failed is not None), None)

    @property
    def silent(self) -> list[str]:
        """Stages whose sign of life is overdue."""
        return self.heartbeats.silent()

    @property
    def summary(self) -> str:
        """One line on how things are."""
        books = [self.metrics.streams.get(stream.id) for stream in self.settings.streams]
        live = sum(each is not None and each.state is StreamState.LIVE for each in books)
        pending = sum(sink.pending for sink in list(self.metrics.sinks.values()))
        shard = f"shard {self.metrics.shard}: " if self.metrics.shard else ""
        disk = trouble(self.store)
        store = f"; the event store cannot write: {disk}" if disk else ""
        return f"{shard}{live} of {len(books)} streams live, {pending} events to deliver{store}"

    def _renewed(self, new: Settings) -> frozenset[str]:
        """Return the models in use whose manifest is another one than when their engine was made."""
        running: dict[str, Lane | Side] = {**self._stages.sides, **self._stages.lanes}
        used = {*models_in_use(new), *seconds_in_use(new)} & running.keys()
        return frozenset(name for name in used if load(new.models[name].manifest) != running[name].manifest)

    def _end_streams(self) -> None:
        for stream, row in self._stages.rows.items():
            if not row.capture.finished or row.over:
                continue
            if row.capture.crashed or self.metrics.stream(stream).in_flight == 0:
                row.over = True
                self._hand_over(StreamOver(stream, "stream_end"))
                self.heartbeats.retire(capture_stage(stream))
                row.lane.engine.forget(stream)

    def _hand_over(self, item: Item) -> None:
        try:
            self._stages.analysis.input.put(item)
        except Closed:
            if isinstance(item, Errand):
                item.done.set()
            elif not isinstance(item, StreamOver):
                for inferred in item:
                    self._wiring.drop("analysis", "stopped", inferred.frame)

    def _publish(self, frame: Frame, analysis: Analysis) -> None:
        stream = frame.info.stream
        if self._viewer.wanted(stream):
            self._viewer.show(frame, analysis, self._stages.analysers[stream].min_score)
