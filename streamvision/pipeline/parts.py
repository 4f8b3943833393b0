"""What a pipeline consists of: a row per stream, a lane per model, and everything that runs, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from streamvision.analysis import AnalysisStage, StreamAnalyser
from streamvision.asides import Aside
from streamvision.attributes import SecondLane, SecondLook
from streamvision.batch import Batcher
from streamvision.capture.stream import StreamCapture
from streamvision.channel import Channel
from streamvision.clock import Clock
from streamvision.config import StreamSettings
from streamvision.engine.manifest import Manifest
from streamvision.engine.runner import Runner
from streamvision.engine.serving import Serving
from streamvision.errors import StreamvisionError
from streamvision.interfaces import Engine, Rule, Tracker
from streamvision.metrics import EngineStats
from streamvision.sinks.delivery import Delivery
from streamvision.types import Frame

STAGE_ALLOWANCE_S: Final = 20.0
"""How long a stage may be busy with one thing before it counts as hung; longer than any single step takes."""

CAPTURE_ALLOWANCE_S: Final = 60.0
"""The same for captures, whose opening waits for the network by its own deadlines."""

SINK_ALLOWANCE_S: Final = 120.0
"""The same for sinks, which may have to wait for the outside."""

ASIDE_ALLOWANCE_S: Final = 120.0
"""The same for what works beside the flow and writes to disks."""

CAPTURE_END_S: Final = 4.0
"""How long captures are given to end; a read from a silent camera may take longer, and is not waited for."""


class Abandoned(StreamvisionError):  # noqa: N818
    """The daemon is going down, so that nothing changes any more."""


class Broken(StreamvisionError):  # noqa: N818
    """A change failed, and so did the way back: the daemon has to start anew."""


class Stage(Protocol):
    """A thread, or several, that may break."""

    @property
    def crashed(self) -> BaseException | None:
        """What ended it before its time."""


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One model with what drives it."""

    name: str
    manifest: Manifest
    stats: EngineStats
    serving: Serving
    engine: Engine
    batcher: Batcher
    runner: Runner


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A second network with what drives it."""

    name: str
    manifest: Manifest
    stats: EngineStats
    serving: Serving
    lane: SecondLane


@dataclass(slots=True, eq=False)
class Parts:
    """What judges a stream's pictures. ``tracker`` None: the one that is there goes on."""

    tracker: Tracker | None
    rules: Mapping[str, Rule]
    looks: Mapping[str, SecondLook]
    min_score: float


@dataclass(slots=True, eq=False)
class Row:
    """One stream: its settings, its way to an engine, and what judges its pictures."""

    settings: StreamSettings
    live: bool
    lane: Lane
    inlet: Channel[Frame]
    capture: StreamCapture
    analyser: StreamAnalyser
    parts: Parts
    over: bool = False
    """Whether the analysis knows that the last picture has been through."""
    end_by_s: float | None = None
    """Until when a capture that was asked to end is given to do so, on the monotonic clock."""


@dataclass(slots=True, eq=False)
class Stages:
    """Everything that runs, by name. ``retiring``: lanes that nothing goes into any more."""

    analysis: AnalysisStage
    analysers: dict[str, StreamAnalyser]
    asides: list[Aside]
    rows: dict[str, Row] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    retiring: list[Lane] = field(default_factory=list)

    def all_lanes(self) -> list[Lane]:
        """Every lane that has not ended."""
        return [*self.lanes.values(), *self.retiring]

    def breakable(self) -> Iterator[Stage]:
        """Every stage that may break."""
        yield self.analysis
        yield from [lane.runner for lane in self.all_lanes()]
        yield from [row.capture for row in list(self.rows.values())]
        yield from list(self.deliveries.values())
        yield from [side.lane for side in list(self.sides.values())]
        yield from list(self.asides)


def capture_stage(stream: str) -> str:
    """Return the name under which a capture shows that it is alive."""
    return f"capture-{stream}"


def left_s(clock: Clock, until_s: float) -> float:
    """Return the seconds until a moment, 0 if it is over."""
    return max(0.0, until_s - clock.monotonic())
