"""Per stream: detections -> tracker -> rules -> events; and the one thread that does it for every stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import structlog

from streamvision.asides import Aside
from streamvision.attributes import Attributes
from streamvision.capture.stream import StateChange
from streamvision.channel import Channel, Closed
from streamvision.clock import Clock
from streamvision.engine.runner import Inferred
from streamvision.interfaces import Rule, Scene, Tracker
from streamvision.masks import polygon
from streamvision.metrics import StreamStats
from streamvision.types import (
    Analysis,
    Attribute,
    ClockSource,
    Detections,
    Event,
    Frame,
    FrameInfo,
    Phase,
    StreamState,
    TrackRef,
    Tracks,
)

log = structlog.get_logger()

IDLE_S = 0.5


class StreamAnalyser:
    """One stream's memory: its tracker, its rules, its books. Used by the analysis thread only."""

    def __init__(
        self,
        labels: Sequence[str],
        tracker: Tracker,
        rules: Sequence[Rule],
        stats: StreamStats,
        min_score: float,
        attributes: Attributes | None = None,
    ) -> None:
        self.stats = stats
        self._attributes = attributes or Attributes()
        self._labels = labels
        self._tracker = tracker
        self._rules = rules
        self.min_score = min_score
        self._last: FrameInfo | None = None
        self._known: Mapping[int, Mapping[str, Attribute]] = {}

    def update(self, inferred: Inferred) -> tuple[Analysis, list[Event]]:
        """Follow and judge one picture; pictures of a stream come in order."""
        info = inferred.frame.info
        events = self._cut(info)
        detections, segmentation = inferred.perception.detections, inferred.perception.segmentation
        tracks = self._tracker.update(detections, info.media_s)
        self._known = self._attributes.update(inferred.frame, tracks, self._labels)
        scene = Scene(info, tracks, self._labels, detections, segmentation, self._known)
        for rule in self._rules:
            events += rule.update(scene)
        events = self._quoted(outlined(events, scene))
        self._last = info
        self._count(detections, tracks, events)
        return Analysis(info, detections, tracks, self._labels, segmentation, self._known), events

    def late(self, info: FrameInfo) -> bool:
        """Whether a picture comes after a later one, so that nothing can be learnt from it in order."""
        return self._last is not None and info.seq <= self._last.seq

    def foreign(self, labels: Sequence[str]) -> bool:
        """Whether a picture comes from an engine that counts other classes than the one this stream has turned to."""
        return labels is not self._labels and tuple(labels) != tuple(self._labels)

    def revise(
        self,
        rules: Sequence[Rule],
        *,
        tracker: Tracker | None = None,
        labels: Sequence[str] | None = None,
        min_score: float,
        attributes: Attributes,
    ) -> list[Event]:
        """Go on with these parts; happenings of rules that are not among them end. Without a tracker, tracks go on."""
        events = self._ended([rule for rule in self._rules if not any(rule is each for each in rules)], "reload")
        self._rules, self.min_score, self._attributes = rules, min_score, attributes
        self._labels = self._labels if labels is None else labels
        self._tracker = self._tracker if tracker is None else tracker
        if tracker is not None:
            self._known = {}
        return events

    def close(self, reason: str) -> list[Event]:
        """End every open happening."""
        events = self._ended(self._rules, reason)
        self.stats.tracks_active.clear()
        return events

    def _ended(self, rules: Sequence[Rule], reason: str) -> list[Event]:
        if (last := self._last) is None:
            return []
        events = self._quoted([event for rule in rules for event in rule.close(last, reason)])
        self._count_events(events)
        return events

    def _cut(self, info: FrameInfo) -> list[Event]:
        """Start anew where a file starts anew and where the machine has slept.

        A camera that was reconnected still looks at the same scene.
        """
        last = self._last
        again = last is not None and info.epoch != last.epoch and info.clock is ClockSource.FILE
        slept = last is not None and info.sleeps != last.sleeps
        if last is None or not (again or slept):
            return []
        self._tracker.reset()
        reason = "slept" if slept else "restart"
        events = self._quoted([event for rule in self._rules for event in rule.close(last, reason)])
        self._attributes.clear()
        return events

    def _quoted(self, events: list[Event]) -> list[Event]:
        """Write into each event what second networks say of its track."""
        if not self._known:
            return events
        return [
            replace(event, track=replace(event.track, attributes=self._known[event.track.id]))
            if event.track is not None and event.track.id in self._known
            else event
            for event in events
        ]

    def _count(self, detections: Detections, tracks: Tracks, events: Sequence[Event]) -> None:
        stats = self.stats
        for class_id in detections.class_id[detections.score >= self.min_score].tolist():
            stats.detections[self._labels[class_id]] += 1
        active = tracks.class_id[tracks.confirmed & tracks.visible]
        counts = np.bincount(active, minlength=0).tolist()
        present = {self._labels[class_id]: count for class_id, count in enumerate(counts) if count}
        # A class that was here before stays at 0, so that its series does not end.
        stats.tracks_active = dict.fromkeys(stats.tracks_active, 0) | present
        self._count_events(events)

    def _count_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.stats.events[event.rule, f"streamvision.{event.kind}.{event.phase}"] += 1


def outlined(events: list[Event], scene: Scene) -> list[Event]:
    """Write into each event the border of its track's object, where the network makes masks and this picture shows it.

    The polygon is all that outlives the picture: neither events nor tracks hold on to its masks.
    """
    if scene.detections.masks is None:
        return events
    return [event if event.track is None else replace(event, track=_outlined(event.track, scene)) for event in events]


def _outlined(track: TrackRef, scene: Scene) -> TrackRef:
    assert scene.detections.masks is not None
    found = scene.tracks.det_index[scene.tracks.visible & (scene.tracks.ids == track.id)].tolist()
    border = polygon(scene.detections.masks, found[0], scene.info.size_wh) if found else None
    return track if border is None else replace(track, polygon=tuple((x, y) for x, y in border.tolist()))


@dataclass(frozen=True, slots=True)
class StreamOver:
    """Says to the analysis thread that a stream's last picture has been analysed."""

    stream: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """Something that the analysis thread does between two pictures, so that none of them sees half of a change.

    ``work`` returns the events that come of it; ``done`` is set afterwards, when they are on their way to the store.
    """

    work: Callable[[], list[Event]]
    done: threading.Event = field(default_factory=threading.Event)


Item = Sequence[Inferred] | StreamOver | Errand
"""What the analysis thread is given."""


class AnalysisStage:
    """The one thread between engines and outbox. ``crashed`` holds the exception that stopped it early."""

    STAGE = "analysis"

    def __init__(
        self,
        analysers: Mapping[str, StreamAnalyser],
        append: Callable[[Sequence[Event]], None],
        publish: Callable[[Frame, Analysis], None],
        clock: Clock,
        beat: Callable[[str], None],
        asides: Sequence[Aside] = (),
    ) -> None:
        """``append`` stores events (it may block); ``publish`` shows a picture to whoever watches (it must not).

        ``asides`` see every picture with its events before these are stored.
        """
        self.crashed: BaseException | None = None
        self.input = Channel[Item](8)
        self._analysers = analysers
        self._append = append
        self._publish = publish
        self._clock = clock
        self._beat = beat
        self._asides = asides
        self._thread = threading.Thread(target=self._guarded, name=self.STAGE, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end after ``input`` was closed; False if that took too long."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("analysis stopped", error=str(error), exc_info=error)
        finally:
            self.input.close()
            self._lose_rest()

    def _run(self) -> None:
        while True:
            self._beat(self.STAGE)
            try:
                item = self.input.get(IDLE_S)
            except TimeoutError:
                continue
            except Closed:
                break
            if isinstance(item, StreamOver):
                if (analyser := self._analysers.get(item.stream)) is not None:
                    self._append(analyser.close(item.reason))
            elif isinstance(item, Errand):
                self._append(item.work())
                item.done.set()
            else:
                self._analyse(item)
        self._append([event for analyser in self._analysers.values() for event in analyser.close("shutdown")])

    def _analyse(self, batch: Sequence[Inferred]) -> None:
        for done, inferred in enumerate(batch):
            try:
                self._analyse_one(inferred)
            except Exception:
                for rest in batch[done:]:
                    self._lose(rest, "error")
                raise

    def _analyse_one(self, inferred: Inferred) -> None:
        info = inferred.frame.info
        if (analyser := self._analyser(inferred)) is None:
            return
        stats = analyser.stats
        late = analyser.late(info)
        if late or analyser.foreign(inferred.labels):
            stats.drop("analysis", "late" if late else "other_model")
            return
        engine_s = self._clock.monotonic()
        analysis, events = analyser.update(inferred)
        for aside in self._asides:
            events = aside.see(inferred.frame, analysis, events)
        if events:
            self._append(events)
        now = self._clock.monotonic()
        stats.ages["engine"].observe(engine_s - info.received_s)
        stats.ages["analysis"].observe(now - info.received_s)
        if events:
            stats.ages["event"].observe(now - info.received_s)
        stats.last_analysed_s = now
        stats.last_media_s = info.media_s
        stats.last_age_s = now - info.received_s
        self._publish(inferred.frame, analysis)
        stats.analysed += 1

    def _analyser(self, inferred: Inferred) -> StreamAnalyser | None:
        """Return a picture's analyser; None where its stream was taken away, which gave the picture its fate."""
        analyser = self._analysers.get(inferred.frame.info.stream)
        return None if analyser is None or inferred.frame.ready_s < analyser.stats.since_s else analyser

    def _lose(self, inferred: Inferred, reason: str) -> None:
        if (analyser := self._analyser(inferred)) is not None:
            analyser.stats.drop("analysis", reason)

    def _lose_rest(self) -> None:
        while (item := self.input.take_nowait()) is not None:
            if not isinstance(item, StreamOver | Errand):
                for inferred in item:
                    self._lose(inferred, "stopped")


class Outages:
    """Turns one camera's state changes into events: an outage starts, and ends when pictures come again."""

    def __init__(self, stream: str, new_id: Callable[[], str], clock: Clock, stats: StreamStats) -> None:
        self._stream = stream
        self._new_id = new_id
        self._clock = clock
        self._stats = stats
        self._happening: str | None = None
        self._since_s = 0.0

    def update(self, change: StateChange) -> list[Event]:
        """Return the event that a state change amounts to, if any.

        An outage lasts as long as CLOCK_BOOTTIME says: the machine's sleep is part of it, a jump of the wall clock not.
        """
        now = self._clock.utcnow() - timedelta(seconds=change.ago_s)
        if change.new is StreamState.LIVE:
            return self._end(now, "recovered")
        if change.new is StreamState.STOPPED:
            return self._end(now, "stopped")
        if change.new is StreamState.CONNECTING or self._happening is not None:
            return []
        self._happening, self._since_s = self._new_id(), self._clock.boottime() - change.ago_s
        data = {"state": str(change.new), "reason": change.reason, "cause": change.cause}
        return [self._event(self._happening, Phase.START, self._happening, now, data, {})]

    def _end(self, now: datetime, reason: str) -> list[Event]:
        if self._happening is None:
            return []
        happening, self._happening = self._happening, None
        evidence = {"outage_s": round(self._clock.boottime() - self._since_s, 3)}
        return [self._event(self._new_id(), Phase.END, happening, now, {"reason": reason}, evidence)]

    def _event(
        self,
        event_id: str,
        phase: Phase,
        happening: str,
        now: datetime,
        data: Mapping[str, str],
        evidence: Mapping[str, float],
    ) -> Event:
        self._stats.events["outage", f"streamvision.outage.{phase}"] += 1
        return Event(
            event_id, "outage", phase, self._stream, "outage", happening, self._stats.last_media_s, now,
            ClockSource.ARRIVAL, self._clock.uncertainty_s(), None, data, evidence,
        )  # fmt: skip
