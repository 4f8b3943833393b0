"""What the daemon says of itself to the web part: a `web.board.Board` over a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamvision.clock import Clock
from streamvision.config import Settings, StreamSettings
from streamvision.explain.shelf import Shelf, State
from streamvision.health import Heartbeats
from streamvision.interfaces import EventReader
from streamvision.metrics import Metrics
from streamvision.sinks.standin import trouble
from streamvision.sinks.store import EventStore
from streamvision.types import Analysis, Frame, StreamState
from streamvision.web.board import (
    Counts,
    EngineReadiness,
    EventExplanation,
    Health,
    Readiness,
    StreamStatus,
    frame_age_s,
)
from streamvision.web.live import LiveHub
from streamvision.web.rates import RateMeter


class _StreamReporter:
    """One stream's status: its settings, its books, and how fast they grow."""

    def __init__(self, settings: StreamSettings, metrics: Metrics, clock: Clock) -> None:
        self.settings = settings
        self.stats = metrics.stream(settings.id)
        self._clock = clock
        self._decoded = RateMeter(clock)
        self._analysed = RateMeter(clock)
        self._state: tuple[StreamState, float] = (self.stats.state, clock.monotonic())

    def sample(self) -> None:
        """Look at the books."""
        if self.stats.state is not self._state[0]:
            self._state = (self.stats.state, self._clock.monotonic())
        self._decoded.sample(self.stats.decoded)
        self._analysed.sample(self.stats.analysed)

    def status(self) -> StreamStatus:
        self.sample()
        now_s = self._clock.monotonic()
        stats, settings = self.stats, self.settings
        return StreamStatus(
            id=settings.id,
            url=settings.shown_url,
            state=stats.state,
            cause=stats.cause,
            since_s=now_s - self._state[1],
            size_wh=stats.size_wh,
            decoded_fps=self._decoded.sample(stats.decoded),
            analysed_fps=self._analysed.sample(stats.analysed),
            frame_age_s=frame_age_s(stats, now_s),
            counts=Counts.of(stats),
            model=settings.model,
            tracks={name: count for name, count in dict(stats.tracks_active).items() if count},
            zones=tuple(settings.zones),
            lines=tuple(settings.lines),
            isolation=settings.isolation,
        )


class StatusBoard:
    """Reads books and heartbeats; every call returns at once and changes nothing but the rate meters' samples."""

    def __init__(
        self, settings: Settings, metrics: Metrics, heartbeats: Heartbeats, store: EventStore, clock: Clock
    ) -> None:
        self.metrics = metrics
        self.events: EventReader = store.visitors
        self.live = LiveHub(clock)
        self._shelf = Shelf(settings.state_dir)
        self._clock = clock
        self._heartbeats = heartbeats
        self._store = store
        self._reporters: list[_StreamReporter] = []
        self._shapes: dict[str, StreamSettings] = {}
        self.revise(settings)

    def revise(self, settings: Settings) -> None:
        """Tell of other settings from now on, after they have taken effect; watchers of streams that are gone leave."""
        known = {reporter.stats: reporter for reporter in self._reporters}
        gone = self._shapes.keys() - {stream.id for stream in settings.streams}
        reporters = []
        for stream in settings.streams:
            reporter = known.get(self.metrics.stream(stream.id)) or _StreamReporter(stream, self.metrics, self._clock)
            reporter.settings = stream
            reporters.append(reporter)
        self._reporters = reporters
        self._shapes = {stream.id: stream for stream in settings.streams}
        for stream_id in gone:
            self.live.forget(stream_id)

    def health(self) -> Health:
        """Return the heartbeats."""
        return Health(self._heartbeats.ages_s(), self._heartbeats.silent())

    def readiness(self) -> Readiness:
        """Return whether engines and store do their work."""
        engines = {
            name: EngineReadiness(stats.state, stats.description, stats.detail)
            for name, stats in self.metrics.engines.items()
        }
        return Readiness(engines, trouble(self._store) or "ok")

    def explanation(self, event: str) -> EventExplanation:
        """Return what has become of an event's explanation."""
        if (jpeg := self._shelf.explanation(event)) is not None:
            return EventExplanation(jpeg)
        known = self._shelf.find(event)
        if known is None:
            return EventExplanation(reason="no explanation of this event is kept; its evidence says whether one was")
        if known.state is State.PENDING:
            return EventExplanation(pending=True)
        return EventExplanation(reason=f"it was not explained: {known.reason or 'the file is gone'}")

    def streams(self) -> Sequence[StreamStatus]:
        """Return every configured stream, in the order of the configuration."""
        return [reporter.status() for reporter in self._reporters]

    def tick(self) -> None:
        """Let the rates and the ages of states be right, however seldom somebody asks."""
        for reporter in self._reporters:
            reporter.sample()

    def wanted(self, stream: str) -> bool:
        """Return whether somebody watches a stream."""
        return self.live.wanted(stream)

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        """Show an analysed picture to whoever watches; doubtful detections stay out of sight."""
        stream = self._shapes.get(frame.info.stream)
        if stream is None:  # it has come or gone at this very moment
            return
        found = analysis.detections
        shown = replace(analysis, detections=found[found.score >= min_score])
        self.live.publish(stream.id, shown, frame.picture, stream.zones, stream.lines)
