"""Detections to events for one stream, the one analysis thread, and outages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from streamvision.analysis import AnalysisStage, Errand, Outages, StreamAnalyser, StreamOver
from streamvision.attributes import Attributes
from streamvision.capture.reconnect import StateChange
from streamvision.engine.runner import Inferred
from streamvision.geometry import Letterbox
from streamvision.interfaces import Scene
from streamvision.metrics import StreamStats
from streamvision.types import ClockSource, Detections, Event, Frame, FrameInfo, Perception, Phase, StreamState, Tracks
from tests.fakes import FakeClock, blank_picture

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("person", "car")


def info(seq: int = 0, *, epoch: int = 0, clock: ClockSource = ClockSource.ARRIVAL) -> FrameInfo:
    return FrameInfo("gate", epoch, seq, seq / 10, 100.0, NOW, clock, 0.0, (64, 48))


def event(kind: str, phase: Phase = Phase.INSTANT) -> Event:
    return Event("id", kind, phase, "gate", "fence", "id", 0.0, NOW, ClockSource.ARRIVAL, 0.0)


class FakeTracker:
    def __init__(self) -> None:
        self.resets = 0

    def update(self, detections: Detections, media_s: float) -> Tracks:
        count = len(detections)
        ones = np.ones(count, np.bool_)
        return Tracks(
            np.arange(1, count + 1), detections.xyxy, np.zeros((count, 2), np.float32), detections.class_id,
            detections.score, ones, ones, np.zeros(count, np.float32), np.arange(count, dtype=np.int32),
        )  # fmt: skip

    def reset(self) -> None:
        self.resets += 1


class FakeRule:
    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.closed: list[str] = []

    def update(self, scene: Scene) -> list[Event]:
        self.scenes.append(scene)
        return [event("line")] if len(scene.tracks) else []

    def close(self, info: FrameInfo, reason: str) -> list[Event]:
        self.closed.append(reason)
        return [event("zone", Phase.END)]


def detections(*scores: float, class_id: int = 0) -> Detections:
    count = len(scores)
    boxes = np.tile(np.array([[1, 2, 3, 4]], np.float32), (count, 1))
    return Detections(boxes, np.array(scores, np.float32), np.full(count, class_id, np.int32))


def seen(info: FrameInfo, found: Detections) -> Inferred:
    letterbox = Letterbox.fit((64, 48), (64, 48))
    frame = Frame(info, blank_picture(), np.zeros((48, 64, 3), np.uint8), letterbox, 0.0)
    return Inferred(frame, Perception(found), LABELS)


def analyser() -> tuple[StreamAnalyser, FakeTracker, FakeRule, StreamStats]:
    tracker, rule, stats = FakeTracker(), FakeRule(), StreamStats("gate")
    return StreamAnalyser(LABELS, tracker, [rule], stats, 0.5), tracker, rule, stats


def test_rules_see_tracks_and_books_count_what_is_believed():
    one, _, rule, stats = analyser()
    analysis, events = one.update(seen(info(), detections(0.9, 0.2)))
    assert len(rule.scenes[0].tracks) == 2
    assert [found.kind for found in events] == ["line"]
    assert dict(stats.detections) == {"person": 1}
    assert dict(stats.events) == {("fence", "streamvision.line.instant"): 1}
    assert stats.tracks_active == {"person": 2}
    assert analysis.class_names == LABELS


def test_a_class_that_left_stays_at_zero():
    one, _, _, stats = analyser()
    one.update(seen(info(0), detections(0.9)))
    one.update(seen(info(1), detections()))
    assert stats.tracks_active == {"person": 0}


def test_a_file_that_starts_again_is_another_scene():
    one, tracker, rule, _ = analyser()
    one.update(seen(info(0, clock=ClockSource.FILE), detections(0.9)))
    _, events = one.update(seen(info(1, epoch=1, clock=ClockSource.FILE), detections(0.9)))
    assert tracker.resets == 1
    assert rule.closed == ["restart"]
    assert [found.phase for found in events] == [Phase.END, Phase.INSTANT]


def test_a_camera_that_comes_back_still_sees_the_same_scene():
    one, tracker, rule, _ = analyser()
    one.update(seen(info(0), detections(0.9)))
    one.update(seen(info(1, epoch=1), detections(0.9)))
    assert tracker.resets == 0
    assert rule.closed == []


def test_a_stream_that_never_gave_a_picture_closes_silently():
    one, _, rule, _ = analyser()
    assert one.close("shutdown") == []
    assert rule.closed == []


class Bench:
    """The analysis thread with a list for a store."""

    def __init__(self, rule: FakeRule | None = None) -> None:
        self.one, _, self.rule, self.stats = analyser()
        self.stored: list[Event] = []
        self.shown: list[int] = []
        self.stage = AnalysisStage(
            {"gate": self.one}, self._append, lambda frame, _: self.shown.append(frame.info.seq), FakeClock(101.0),
            lambda stage: None,
        )  # fmt: skip

    def _append(self, events: Sequence[Event]) -> None:
        self.stored += events

    def end(self) -> None:
        self.stage.input.close()
        assert self.stage.join(5)


def inferred(seq: int) -> Inferred:
    return seen(info(seq), detections(0.9))


def test_pictures_go_through_in_order_and_are_counted():
    bench = Bench()
    bench.stage.start()
    bench.stage.input.put([inferred(0), inferred(1)])
    bench.end()
    assert bench.shown == [0, 1]
    assert bench.stats.analysed == 2
    assert [found.kind for found in bench.stored] == ["line", "line", "zone"]
    assert sum(bench.stats.ages["analysis"].counts) == 2
    assert bench.rule.closed == ["shutdown"]


def test_a_stream_that_is_over_ends_its_happenings():
    bench = Bench()
    bench.stage.start()
    bench.stage.input.put([inferred(0)])
    bench.stage.input.put(StreamOver("gate", "stream_end"))
    bench.end()
    assert bench.rule.closed[0] == "stream_end"


def test_rules_that_go_end_their_happenings_and_the_others_go_on_between_two_pictures():
    bench = Bench()
    kept, fresh = FakeRule(), FakeRule()
    bench.one.revise([bench.rule, kept], min_score=0.5, attributes=Attributes())
    bench.stage.start()
    bench.stage.input.put([inferred(0)])
    errand = Errand(lambda: bench.one.revise([kept, fresh], min_score=0.7, attributes=Attributes()))
    bench.stage.input.put(errand)
    bench.stage.input.put([inferred(1)])
    assert errand.done.wait(5)
    bench.end()
    assert bench.rule.closed == ["reload"]
    assert (kept.closed, fresh.closed) == (["shutdown"], ["shutdown"])
    assert [len(rule.scenes) for rule in (bench.rule, kept, fresh)] == [1, 2, 1]
    assert bench.one.min_score == 0.7
    assert [found.kind for found in bench.stored] == ["line", "line", "zone", "line", "line", "zone", "zone"]


def test_a_picture_that_comes_after_a_later_one_is_counted_and_teaches_nothing():
    bench = Bench()
    bench.stage.start()
    bench.stage.input.put([inferred(0), inferred(2), inferred(1), inferred(3)])
    bench.end()
    assert bench.shown == [0, 2, 3]
    assert (bench.stats.analysed, dict(bench.stats.dropped)) == (3, {("analysis", "late"): 1})


def test_a_picture_of_a_stream_that_was_taken_away_is_let_go():
    """Its books were closed with the stream; one of that name that has come since knows nothing of it."""
    bench, other = Bench(), analyser()[0]
    bench.stage._analysers["late"] = other  # type: ignore[index]
    other.stats.since_s = 0.5  # the pictures here are prepared at 0
    strangers = [
        Inferred(replace(one.frame, info=replace(one.frame.info, stream=name)), one.perception, LABELS)
        for one, name in ((inferred(0), "gone"), (inferred(9), "late"))
    ]
    bench.stage.start()
    bench.stage.input.put([*strangers, inferred(1)])
    bench.stage.input.put(StreamOver("gone", "stream_end"))
    bench.end()
    assert bench.stage.crashed is None
    assert bench.shown == [1]
    assert (other.stats.analysed, dict(other.stats.dropped)) == (0, {})


def test_pictures_of_strangers_that_are_left_when_the_stage_breaks_are_let_go():
    bench = Bench()
    stranger = Inferred(
        replace(inferred(0).frame, info=replace(info(), stream="gone")), Perception(detections()), LABELS
    )
    bench.stage.input.put(Errand(lambda: [][0]))
    bench.stage.input.put([stranger, inferred(0)])
    bench.stage.start()
    assert bench.stage.join(60)
    assert isinstance(bench.stage.crashed, IndexError)
    assert dict(bench.stats.dropped) == {("analysis", "stopped"): 1}


@pytest.mark.parametrize("labels", [("person",), ("fox", "hen", "cow")])
def test_a_picture_of_the_engine_before_is_not_judged_by_the_labels_of_this_one(labels: tuple[str, ...]):
    bench = Bench()
    old = seen(info(1), detections(0.9, class_id=1))
    new = Inferred(seen(info(2), detections(0.9)).frame, Perception(detections(0.9)), labels)
    bench.stage.start()
    bench.stage.input.put([inferred(0)])
    bench.stage.input.put(
        Errand(
            lambda: bench.one.revise([], tracker=FakeTracker(), labels=labels, min_score=0.5, attributes=Attributes())
        )
    )
    bench.stage.input.put([old, new])
    bench.end()
    assert bench.stage.crashed is None
    assert bench.shown == [0, 2]
    assert dict(bench.stats.dropped) == {("analysis", "other_model"): 1}
    assert dict(bench.stats.detections) == ({"person": 2} if "person" in labels else {"person": 1, "fox": 1})


def test_an_errand_that_breaks_ends_the_stage():
    bench = Bench()
    bench.stage.start()
    bench.stage.input.put(Errand(lambda: [][0]))
    assert bench.stage.join(5)
    assert isinstance(bench.stage.crashed, IndexError)


def test_a_rule_that_breaks_ends_the_stage_and_loses_no_count():
    bench = Bench()

    def broken(scene: Scene) -> list[Event]:
        raise RuntimeError("a bug")

    bench.rule.update = broken  # type: ignore[method-assign]
    bench.stage.input.put([inferred(0), inferred(1)])
    bench.stage.input.put([inferred(2)])
    bench.stage.start()
    assert bench.stage.join(60)
    assert isinstance(bench.stage.crashed, RuntimeError)
    assert bench.stats.analysed == 0
    assert sum(bench.stats.dropped.values()) == 3


def change(new: StreamState, reason: str = "timeout") -> StateChange:
    return StateChange("gate", StreamState.LIVE, new, reason, "no data for 5 s", 100.0)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([StreamState.CONNECTING, StreamState.LIVE], []),
        ([StreamState.STALLED, StreamState.BACKING_OFF, StreamState.CONNECTING, StreamState.LIVE], ["start", "end"]),
        ([StreamState.BACKING_OFF, StreamState.CONNECTING, StreamState.BACKING_OFF], ["start"]),
        ([StreamState.AUTH_FAILED, StreamState.STOPPED], ["start", "end"]),
        ([StreamState.STOPPED], []),
    ],
)
def test_an_outage_starts_once_and_ends_once(states: list[StreamState], expected: list[str]):
    clock = FakeClock()
    numbers = iter(range(100))
    outages = Outages("gate", lambda: f"id{next(numbers)}", clock, StreamStats("gate"))
    events: list[Event] = []
    for state in states:
        events += outages.update(change(state))
        clock.advance(2.0)
    assert [str(found.phase) for found in events] == expected
    assert len({found.happening for found in events}) <= 1
    if expected == ["start", "end"]:
        assert events[0].data["reason"] == "timeout"
        assert events[1].evidence["outage_s"] > 0
