"""What a change needs, made beside what runs: everything that can be refused is refused here."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from streamvision.changes import Plan, StreamChange
from streamvision.config import Settings
from streamvision.interfaces import Sink
from streamvision.metrics import EngineStats
from streamvision.pipeline.parts import Abandoned, Lane, Parts, Side, Stages
from streamvision.pipeline.wiring import Wiring, models_in_use, seconds_in_use


@dataclass(slots=True, eq=False)
class Fresh:
    """Engines, trackers, rules and sinks that are made and do nothing yet, by name."""

    plan: Plan
    new: Settings
    stages: Stages
    wiring: Wiring
    stopping: threading.Event
    lanes: dict[str, Lane] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)
    outlets: dict[str, Sink] = field(default_factory=dict)

    def make(self) -> None:
        """Make all of it. Raises a `StreamvisionError`; then nothing of it is left, and nothing has changed."""
        try:
            self._open_engines()
            for stream in self.new.streams:
                if stream.id in self.plan.streams.added:
                    self.parts[stream.id] = self.wiring.parts(stream, self.all_sides)
                elif (change := self.plan.details.get(stream.id)) is not None:
                    self.parts[stream.id] = self._changed_parts(change)
            for name, sink in {**self.plan.sinks.added, **self.plan.sinks.changed}.items():
                self.outlets[name] = self.wiring.outlet(sink)
            self.go_on()
        except BaseException:
            self.discard()
            raise

    def _open_engines(self) -> None:
        stats: dict[str, EngineStats] = {}
        for name in models_in_use(self.new):
            if name not in self.stages.lanes or name in self.plan.models.changed:
                self.lanes[name] = self.wiring.lane(name, self.new.models[name], self._stats(name, stats))
                self.go_on()
        for name in seconds_in_use(self.new):
            if name not in self.stages.sides or name in self.plan.models.changed:
                self.sides[name] = self.wiring.side(name, self.new.models[name], self._stats(name, stats))
                self.go_on()

    def _stats(self, name: str, made: dict[str, EngineStats]) -> EngineStats:
        """Return a model's books: new ones, unless an engine that stays writes into those that are there."""
        known = self.wiring.metrics.engines.get(name)
        if known is not None and name not in self.plan.models.changed:
            return known
        return made.setdefault(name, EngineStats(name))

    def _changed_parts(self, change: StreamChange) -> Parts:
        """Return what judges a stream from now on; what has not changed is what it was, with all it remembers."""
        stream, row = change.new, self.stages.rows[change.new.id]
        made = self.wiring.parts(stream, self.all_sides)
        lane = self.all_lanes[stream.model]
        if change.tracker or lane.engine.labels != row.lane.engine.labels:
            return made
        rules = {
            name: row.parts.rules.get(name, one) if name in change.rules.kept else one
            for name, one in made.rules.items()
        }
        looks = {
            name: one if name in change.looks or name not in row.parts.looks else row.parts.looks[name]
            for name, one in made.looks.items()
        }
        return Parts(None, rules, looks, made.min_score)

    @property
    def all_lanes(self) -> dict[str, Lane]:
        """Lanes as they will be, and those that will end."""
        return {**self.stages.lanes, **self.lanes}

    @property
    def all_sides(self) -> dict[str, Side]:
        """The same for second networks."""
        return {**self.stages.sides, **self.sides}

    def discard(self) -> None:
        """Release what was made, but for what runs; doing so twice is as good as once."""
        for name, lane in self.lanes.items():
            if self.stages.lanes.get(name) is not lane:
                lane.engine.close()
        for name, side in self.sides.items():
            if self.stages.sides.get(name) is not side:
                side.lane.engine.close()
        for outlet in self.outlets.values():
            outlet.close()
        self.wiring.forget_servings()

    def go_on(self) -> None:
        """Raise `Abandoned` when the daemon goes down."""
        if self.stopping.is_set():
            raise Abandoned("the daemon is going down; nothing was changed")
