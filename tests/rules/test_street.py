"""Both rules against the drawn street's truth: its perfect boxes as tracks, at any rate, with pictures dropped."""

from __future__ import annotations

import numpy as np
import pytest

from streamvision.capture.street.truth import StreetTruth, TrueBox
from streamvision.interfaces import Scene
from streamvision.rules.line import LineRule
from streamvision.rules.zone import ZoneRule
from streamvision.types import Phase, Tracks
from tests.rules.scenes import context, info, play, times

SIZE_WH = (640, 360)
SPAN_S = 30.0
KINDS = ("person", "bicycle", "car")
LINE = ((0.5, 0.0), (0.5, 1.0))
ZONE = ((0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0))
PICTURES = [(25.0, 0.0), (25.0, 0.1), (5.0, 0.0), (5.0, 0.1)]


@pytest.fixture(scope="module")
def truth() -> StreetTruth:
    return StreetTruth(7, SIZE_WH)


@pytest.fixture(scope="module")
def boxes(truth: StreetTruth) -> dict[int, list[TrueBox]]:
    """What is to be seen in every 25th of a second."""
    return {tick: truth.boxes(tick / 25) for tick in range(int(SPAN_S * 25) + 1)}


def scenes(boxes: dict[int, list[TrueBox]], fps: float, drop: float, noise: float = 0.01) -> list[Scene]:
    rng = np.random.default_rng(5)
    return [tracked(t, boxes[round(t * 25)], rng, noise) for t in times(SPAN_S, fps, seed=5, drop=drop)]


def tracked(t: float, seen: list[TrueBox], rng: np.random.Generator, noise: float) -> Scene:
    count = len(seen)
    xyxy = np.array([box.xyxy for box in seen], np.float32).reshape(-1, 4)
    xyxy += (rng.normal(0, noise, xyxy.shape) * (xyxy[:, 2:] - xyxy[:, :2]).mean(1, keepdims=True)).astype(np.float32)
    tracks = Tracks(
        ids=np.array([box.id for box in seen], np.int64),
        xyxy=np.clip(xyxy, 0, np.array(SIZE_WH * 2, np.float32)),
        velocity=np.array([box.velocity for box in seen], np.float32).reshape(-1, 2),
        class_id=np.array([KINDS.index(box.kind) for box in seen], np.int32),
        score=np.ones(count, np.float32),
        confirmed=np.ones(count, np.bool_),
        visible=np.ones(count, np.bool_),
        age_s=np.zeros(count, np.float32),
        det_index=np.arange(count, dtype=np.int32),
    )
    return Scene(info(t, SIZE_WH), tracks, KINDS)


@pytest.mark.parametrize(("fps", "drop"), PICTURES)
def test_every_crossing_of_the_street_and_no_other(truth, boxes, fps, drop):
    rule = LineRule(LineRule.Options(line="fence"), context(line=LINE))
    events = sorted(play(rule, scenes(boxes, fps, drop)), key=lambda event: (event.track.id, event.media_s))
    expected = sorted(truth.crossings(LINE, SPAN_S - 0.5), key=lambda crossing: (crossing.id, crossing.time_s))
    events = [event for event in events if event.media_s <= SPAN_S - 0.5]
    assert len(expected) > 5
    assert [(event.track.id, event.data["direction"]) for event in events] == [(c.id, c.direction) for c in expected]
    assert [event.media_s for event in events] == pytest.approx([c.time_s for c in expected], abs=0.1)


@pytest.mark.parametrize(("fps", "drop"), PICTURES)
def test_every_stay_in_the_street_and_no_other(truth, boxes, fps, drop):
    rule = ZoneRule(ZoneRule.Options(zone="yard"), context(zone=ZONE))
    pictures = scenes(boxes, fps, drop)
    events = play(rule, pictures) + rule.close(pictures[-1].info, "stream_end")
    dwells = {e.track.id: e.evidence["dwell_s"] for e in events if e.phase is Phase.END and e.evidence["dwell_s"] > 1}
    expected = {stay.id: stay.dwell_s for stay in truth.stays(ZONE, SPAN_S, min_dwell_s=1.0)}
    assert len(expected) > 5
    assert dwells == pytest.approx(expected, abs=0.5)
