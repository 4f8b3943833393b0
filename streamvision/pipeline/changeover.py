"""From one configuration to another while everything runs.

1. `prepare`: everything that can be refused is made beside what runs: engines, trackers, rules, sinks.
2. `commit`: steps, each with its way back: lanes and sinks come, streams come, captures start anew. Fails a step, those
   before it are taken back in reverse order.
3. `finish`: what cannot fail, and could not be taken back: the analysis goes on with other rules between two pictures,
   captures turn to other engines, and what nobody needs any more ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from streamvision.analysis import Errand
from streamvision.asides import Aside
from streamvision.attributes import Attributes
from streamvision.capture.stream import Target
from streamvision.changes import Plan, StreamChange
from streamvision.config import Settings, SinkSettings, StreamSettings
from streamvision.errors import StoreError
from streamvision.interfaces import Sink
from streamvision.pipeline.parts import Abandoned, Broken, Lane, Parts, Row, Side, Stages, capture_stage
from streamvision.pipeline.preparing import Fresh
from streamvision.pipeline.running import SETTLE_S, Running, tell_books, wait_for
from streamvision.pipeline.wiring import Wiring, models_in_use, seconds_in_use
from streamvision.types import Event

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to what runs, and its way back, which must also work where ``do`` broke off."""

    what: str
    do: Callable[[], None]
    undo: Callable[[], None]


@dataclass(slots=True, eq=False)
class Changeover:
    """One change of a running pipeline; used once."""

    plan: Plan
    old: Settings
    stages: Stages
    wiring: Wiring
    running: Running
    stopping: threading.Event
    new: Settings = field(init=False)
    fresh: Fresh = field(init=False)
    _former_sides: dict[str, Side] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new = self.plan.apply(self.old)
        self.fresh = Fresh(self.plan, self.new, self.stages, self.wiring, self.stopping)

    def prepare(self) -> None:
        """Make what is new. Raises a `StreamvisionError`; then nothing of it is left, and nothing has changed."""
        self.fresh.make()

    def commit(self) -> None:
        """Change what runs, step by step. What one step raises is raised after those before it were taken back.

        Raises `Broken` where that failed, too, and `Abandoned` when everything ends anyway.
        """
        done: list[Step] = []
        try:
            self.fresh.go_on()
            for step in self._steps():
                done.append(step)
                step.do()
                self.fresh.go_on()
        except Abandoned:  # what runs ends in good order, whichever half of the change it has seen
            self.fresh.discard()
            raise
        except BaseException as error:
            log.error("a change failed; going back", step=done[-1].what, error=str(error))
            self._take_back(done)
            raise

    def _take_back(self, done: Sequence[Step]) -> None:
        came = [row for name in self.plan.streams.added if (row := self.stages.rows.get(name)) is not None]
        self.running.stop_captures(came)
        try:
            for step in reversed(done):
                step.undo()
            self.fresh.discard()
        except Exception as error:
            raise Broken(f"no way back from a change that failed: {error}") from error

    def _steps(self) -> Iterator[Step]:
        stages, sinks = self.stages, self.plan.sinks
        for name, lane in self.fresh.lanes.items():
            back = partial(self._close_lane, lane, stages.lanes.get(name))
            yield Step(f"model {name}", partial(self._open_lane, lane), back)
        for name, side in self.fresh.sides.items():
            yield Step(f"model {name}", partial(self._open_side, side), partial(self._close_side, side))
        for name in sinks.changed:
            yield Step(f"sink {name}", partial(self._swap_sink, name), partial(self._restore_sink, name))
        for name in sinks.added:
            yield Step(f"sink {name}", partial(self._add_sink, name), partial(self._remove_sink, name))
        for name in self.plan.streams.added:
            yield Step(f"stream {name}", partial(self._add_stream, name), partial(self._remove_streams, [name]))
        if restarts := [change for change in self.plan.details.values() if self._restarts(change)]:
            before = {change.new.id: replace(self.stages.rows[change.new.id]) for change in restarts}
            yield Step("captures", partial(self._restart, restarts), partial(self._restore_streams, before))
        if self.plan.asides:
            yield Step("asides", partial(self._change_asides, self.new), partial(self._change_asides, self.old))

    def _open_lane(self, lane: Lane) -> None:
        self.running.lane(lane)
        if (before := self.stages.lanes.get(lane.name)) is not None:
            self.stages.retiring.append(before)
        self.stages.lanes[lane.name] = lane
        self.wiring.metrics.engines[lane.name] = lane.stats

    def _close_lane(self, lane: Lane, before: Lane | None) -> None:
        if self.stages.lanes.get(lane.name) is not lane:
            return
        del self.stages.lanes[lane.name]
        self.wiring.metrics.engines.pop(lane.name, None)
        if before is not None:
            self.stages.retiring.remove(before)
            self.stages.lanes[lane.name] = before
            self.wiring.metrics.engines[lane.name] = before.stats
        self.stages.retiring.append(lane)
        lane.batcher.close()

    def _open_side(self, side: Side) -> None:
        self.running.side(side)
        if (before := self.stages.sides.get(side.name)) is not None:
            self._former_sides[side.name] = before
        self.stages.sides[side.name] = side
        self.wiring.metrics.engines[side.name] = side.stats

    def _close_side(self, side: Side) -> None:
        if self.stages.sides.get(side.name) is not side:
            return
        del self.stages.sides[side.name]
        self.wiring.metrics.engines.pop(side.name, None)
        if (before := self._former_sides.pop(side.name, None)) is not None:
            self.stages.sides[side.name] = before
        if (others := self.stages.sides.get(side.name) or self.stages.lanes.get(side.name)) is not None:
            self.wiring.metrics.engines[side.name] = others.stats
        self.running.end_side(side)

    def _swap_sink(self, name: str) -> None:
        self.running.end_delivery(self.stages.deliveries[name])
        self._add_sink(name)

    def _restore_sink(self, name: str) -> None:
        self.running.end_delivery(self.stages.deliveries[name])
        (sink,) = (sink for sink in self.old.sinks if sink.name == name)
        self._deliver_to(sink, self.wiring.outlet(sink))

    def _add_sink(self, name: str) -> None:
        (sink,) = (sink for sink in self.new.sinks if sink.name == name)
        self._deliver_to(sink, self.fresh.outlets[name])

    def _deliver_to(self, sink: SinkSettings, outlet: Sink) -> None:
        delivery = self.wiring.delivery(sink, outlet)
        self.running.delivery(delivery)
        self.stages.deliveries[sink.name] = delivery

    def _remove_sink(self, name: str) -> None:
        if (delivery := self.stages.deliveries.pop(name, None)) is not None:
            self.running.end_delivery(delivery)
        try:
            self.wiring.store.forget(name)
        except StoreError as error:  # the cursor stays: it costs room, and nothing else
            log.warning("the sink's place in the store could not be given up", sink=name, error=str(error))
        self.wiring.metrics.sinks.pop(name, None)

    def _add_stream(self, name: str) -> None:
        stream = self.plan.streams.added[name]
        row = self.wiring.row(stream, self.stages.lanes[stream.model], self.fresh.parts[name])

        def enter() -> list[Event]:
            self.stages.analysers[name] = row.analyser
            return []

        self.stages.rows[name] = row
        self.running.tell(Errand(enter))
        self.running.capture(row)

    def _remove_streams(self, names: Sequence[str]) -> None:
        rows = [row for name in names if (row := self.stages.rows.get(name)) is not None]
        self.running.stop_captures(rows)
        for row in rows:
            self._remove_stream(row)

    def _remove_stream(self, row: Row) -> None:
        name, metrics = row.settings.id, self.wiring.metrics
        stats = metrics.stream(name)

        def leave() -> list[Event]:
            events = self.stages.analysers.pop(name).close("reload")
            stats.close("engine", "removed")  # what an engine still has comes back to nobody
            return events

        if not self.running.end_capture(row):
            return
        metrics.streams.pop(name, None)  # so that an engine that loses it does not count it once more
        wait_for([self.running.tell(Errand(leave))], SETTLE_S)
        row.lane.engine.forget(name)
        self.wiring.heartbeats.retire(capture_stage(name))
        tell_books(stats)
        del self.stages.rows[name]
        metrics.streams.pop(name, None)  # once more: whoever asks for a stream's books while it goes makes new ones
        self.wiring.told.pop(name, None)

    def _restarts(self, change: StreamChange) -> bool:
        """Whether a stream's capture has to start anew: also where another model wants it to look out for motion."""
        now, row = (
            self.wiring.capture_options(change.new, self.fresh.all_lanes[change.new.model]),
            self.stages.rows[change.new.id],
        )
        return change.capture or replace(now, input=row.capture.options.input) != row.capture.options

    def _restart(self, changes: Sequence[StreamChange]) -> None:
        self.running.stop_captures([self.stages.rows[change.new.id] for change in changes])
        for change in changes:
            row, parts = self.stages.rows[change.new.id], self.fresh.parts[change.new.id]
            self._begin_again(row, change.new, self.stages.lanes[change.new.model], parts, scene=change.scene)

    def _restore_streams(self, before: Mapping[str, Row]) -> None:
        self.running.stop_captures([self.stages.rows[name] for name in before])
        for name, was in before.items():
            row = self.stages.rows[name]
            judged = row.parts is not was.parts  # happenings have ended: all begins anew
            parts = (
                self.wiring.parts(was.settings, {**self.stages.sides, **self._former_sides}) if judged else was.parts
            )
            self._begin_again(row, was.settings, was.lane, parts, scene=judged)

    def _begin_again(self, row: Row, stream: StreamSettings, lane: Lane, parts: Parts, *, scene: bool) -> None:
        """End a stream's capture and start another, which goes on with its media time and its numbers."""
        earlier = row.capture
        if not self.running.end_capture(row):
            return
        if scene:
            row.lane.engine.forget(stream.id)
        if parts is not row.parts:
            self.running.tell(self._judged_by(row, lane, parts))
        row.inlet, row.capture = self.wiring.capture(stream, lane)
        row.capture.continue_from(earlier)
        row.settings, row.lane, row.live = stream, lane, self.wiring.live(stream)
        self.running.capture(row)

    def _judged_by(self, row: Row, lane: Lane, parts: Parts) -> Errand:
        """Return the errand by which a stream's pictures are judged by other parts from then on."""
        rules, attributes = list(parts.rules.values()), Attributes(list(parts.looks.values()))
        row.parts = parts
        return Errand(
            partial(
                row.analyser.revise, rules, tracker=parts.tracker, labels=lane.engine.labels,
                min_score=parts.min_score, attributes=attributes,
            )
        )  # fmt: skip

    def _change_asides(self, settings: Settings) -> None:
        """Replace what works beside the flow; two of a kind would write into the same folder."""
        former, asides = list(self.stages.asides), self.stages.asides

        def become(these: Sequence[Aside]) -> list[Event]:
            asides[:] = these
            return []

        wait_for([self.running.tell(Errand(partial(become, ())))], SETTLE_S)
        for aside in former:
            self.running.end_aside(aside)
        made = self.wiring.asides(settings, self.stages.lanes, self.stages.rows)
        for aside in made:
            self.running.aside(aside)
        wait_for([self.running.tell(Errand(partial(become, made)))], SETTLE_S)

    def finish(self) -> None:
        """Let the streams that go on be judged and looked at by what is new; end what nobody needs any more."""
        try:
            self._revise()
            self._remove_streams(self.plan.streams.removed)
            for name in self.plan.sinks.removed:
                self._remove_sink(name)
            self._retire()
        except Exception as error:
            raise Broken(f"a change came to a halt half-way: {error}") from error

    def _revise(self) -> None:
        errands = []
        for name, change in self.plan.details.items():
            row = self.stages.rows[name]
            if row.settings is change.new:  # it has begun anew
                continue
            lane = self.stages.lanes[change.new.model]
            errands.append(errand := self._judged_by(row, lane, self.fresh.parts[name]))
            row.settings = change.new
            if lane is not row.lane:
                self._switch(row, lane, errand)
            elif not row.capture.also(partial(self.running.tell, errand)):  # nothing told earlier is still to come
                self.running.tell(errand)
        wait_for(errands, SETTLE_S)

    def _switch(self, row: Row, lane: Lane, errand: Errand) -> None:
        """Send a stream's pictures to another engine; the analysis hears of it between the last and the first."""
        left, row.lane = row.lane, lane

        def turn() -> None:
            self.running.tell(errand)
            left.engine.forget(row.settings.id)

        before = lane.batcher.open_channel(row.settings.id)  # the capture has not turned away from there yet
        if before is not None and row.capture.stay(before, turn):
            row.inlet = before
            return
        row.inlet = self.wiring.inlet(row.settings, lane)
        row.capture.retarget(Target(lane.engine.input, row.inlet, turn))

    def _retire(self) -> None:
        """End lanes without streams; their last pictures may still be on their way."""
        stages, metrics = self.stages, self.wiring.metrics
        firsts, seconds = models_in_use(self.new), seconds_in_use(self.new)
        for name in stages.lanes.keys() - set(firsts):
            stages.retiring.append(stages.lanes.pop(name))
        for lane in stages.retiring:
            lane.batcher.close()
        ended = [stages.sides.pop(name) for name in stages.sides.keys() - set(seconds)]
        for side in (*ended, *self._former_sides.values()):
            self.running.end_side(side)
        for name in metrics.engines.keys() - {*firsts, *seconds}:
            del metrics.engines[name]
        self.wiring.forget_servings()
