"""Masks on their way from detections over tracks to events."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from datetime import UTC, datetime

import numpy as np
import pytest

from streamvision.analysis import StreamAnalyser
from streamvision.draw import Trails
from streamvision.engine.runner import Inferred
from streamvision.geometry import Letterbox
from streamvision.interfaces import Rule, RuleContext
from streamvision.metrics import StreamStats
from streamvision.rules.line import LineRule
from streamvision.rules.zone import ZoneRule
from streamvision.sinks.cloudevents import to_json
from streamvision.track.bytetrack import ByteTrack
from streamvision.track.ids import counting_ids
from streamvision.types import ClockSource, Detections, Event, Frame, FrameInfo, Masks, Perception, Phase, UInt8
from tests.fakes import blank_picture

SIZE = (200, 100)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ZONE = ((0.3, 0.0), (1.0, 0.0), (1.0, 1.0), (0.3, 1.0))


def context() -> RuleContext:
    numbers = itertools.count()
    return RuleContext(
        "gate", "rule", {"yard": ZONE}, {"fence": ((0.5, 0.1), (0.5, 0.9))}, lambda: f"id{next(numbers)}"
    )


def zone() -> ZoneRule:
    return ZoneRule(ZoneRule.Options(zone="yard", update_every="200ms"), context())


def line() -> LineRule:
    return LineRule(LineRule.Options(line="fence"), context())


def analyser(*rules: Rule) -> StreamAnalyser:
    tracker = ByteTrack(ByteTrack.Options(), counting_ids())
    return StreamAnalyser(("person",), tracker, rules, StreamStats("gate"), 0.3)


def seen(seq: int, values: np.ndarray | None, pixels: UInt8) -> Inferred:
    """Return a picture with a faint other thing, and an object of 20 x 40 px that moves by 10 px to the right."""
    x = 20.0 + 10 * seq
    boxes = np.array([[150, 5, 160, 10], [x, 30, x + 20, 70]], np.float32)
    masks = None if values is None else Masks(values, boxes)
    found = Detections(boxes, np.array([0.15, 0.9], np.float32), np.zeros(2, np.int32), masks)
    info = FrameInfo("gate", 0, seq, seq / 10, 100.0, NOW, ClockSource.ARRIVAL, 0.0, SIZE)
    frame = Frame(info, blank_picture(), pixels, Letterbox.stretch(SIZE, SIZE), 0.0)
    return Inferred(frame, Perception(found), ("person",))


def play(one: StreamAnalyser, *, masks: bool = True) -> list[tuple[int, Event]]:
    """Return each event with the number of the picture that proved it."""
    raster = np.full((2, 4, 4), 1.0, np.float32)
    pixels = np.zeros((4, 4, 3), np.uint8)
    return [(seq, event) for seq in range(14) for event in one.update(seen(seq, raster if masks else None, pixels))[1]]


@pytest.mark.parametrize(("rule", "kinds"), [(zone, {Phase.START, Phase.UPDATE}), (line, {Phase.INSTANT})])
def test_an_event_quotes_the_border_of_its_own_object(rule, kinds):
    events = play(analyser(rule()))
    assert {event.phase for _, event in events} == kinds
    for seq, event in events:
        assert event.track is not None
        assert event.track.polygon is not None
        points = np.array(event.track.polygon)
        assert len(points) == 4
        assert points.min(axis=0).tolist() == [20 + 10 * seq, 30]
        assert np.ptp(points, axis=0).tolist() == [20, 40]
        assert json.loads(to_json(event, "h"))["data"]["track"]["polygon"] == [list(point) for point in points]


def test_without_masks_there_is_no_polygon():
    for _, event in play(analyser(zone()), masks=False):
        assert event.track is not None
        assert event.track.polygon is None


def test_an_object_out_of_sight_has_no_polygon():
    one = analyser(zone())
    play(one)
    nothing = Perception(Detections.empty())
    last = seen(14, None, np.zeros((4, 4, 3), np.uint8)).frame
    masks = Masks(np.empty((0, 4, 4), np.float32), np.empty((0, 4), np.float32))
    empty = Detections(nothing.detections.xyxy, nothing.detections.score, nothing.detections.class_id, masks)
    ends = []
    for seq in range(14, 80):
        info = FrameInfo("gate", 0, seq, seq / 10, 100.0, NOW, ClockSource.ARRIVAL, 0.0, SIZE)
        frame = Frame(info, last.picture, last.pixels, last.letterbox, 0.0)
        ends += one.update(Inferred(frame, Perception(empty), ("person",)))[1]
    assert [event.phase for event in ends] == [Phase.END]
    assert ends[0].track is not None
    assert ends[0].track.polygon is None


def test_masks_of_past_pictures_are_let_go():
    one, trails, kept = analyser(zone(), line()), Trails(), []
    rasters: list[weakref.ref[np.ndarray]] = []
    for seq in range(14):
        raster = np.full((2, 4, 4), 1.0, np.float32)
        rasters.append(weakref.ref(raster))
        analysis, events = one.update(seen(seq, raster, np.zeros((4, 4, 3), np.uint8)))
        trails.update(analysis)
        kept += [*events, *trails.snapshot(), analysis.tracks]
        del raster, analysis
    gc.collect()
    assert kept
    assert [seq for seq, raster in enumerate(rasters) if raster() is not None] == []
