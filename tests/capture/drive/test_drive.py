"""``demo:drive``: the drive as a function of time, its truth, and the live source."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from streamvision.capture.demo import DemoOptions, DemoSource, parse_demo_url
from streamvision.capture.drive.journey import LINES, Painter, camera_at, figure_of, road_at, scene_at
from streamvision.capture.drive.truth import DriveTruth
from streamvision.capture.drive.world import EDGE_M, LANE_M, LEFT_M, ZEBRA_EVERY_M, Drive, actors, lead_gap, zebras
from streamvision.errors import SourceNotFound

SIZE = (320, 180)


class HurriedClock:
    """A clock on which waiting costs no time: it jumps on at each look."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        with self._lock:
            self._now_s += 0.05
            return self._now_s

    def utcnow(self) -> datetime:
        return datetime.now(UTC)


def test_a_moment_is_the_same_whenever_it_is_asked_for():
    painter = Painter(3, SIZE)
    first = painter.drawn(12.5)
    painter.drawn(99.0)
    again = Painter(3, SIZE).drawn(12.5)
    assert np.array_equal(first.bgr, again.bgr)
    assert first.ids.tolist() == again.ids.tolist()
    assert not np.array_equal(first.bgr, Painter(4, SIZE).drawn(12.5).bgr)


def test_the_own_motion_is_that_of_its_speed():
    drive = Drive.of(2)
    for t_s in (0.0, 7.3, 41.0, 1e5):
        slope = (drive.travelled(t_s + 0.01) - drive.travelled(t_s - 0.01)) / 0.02
        assert slope == pytest.approx(drive.speed(t_s), abs=1e-3)
        assert drive.speed(t_s) > 5
    assert drive.travelled(drive.arrival(777.0)) == pytest.approx(777.0, abs=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_lead_brakes_and_accelerates_and_never_goes_backwards(seed: int):
    drive = Drive.of(seed)
    times = np.arange(0, 160, 0.1)
    gaps = np.array([lead_gap(drive, float(t)) for t in times])
    speeds = np.array([drive.speed(float(t)) for t in times[1:]]) + np.diff(gaps) / 0.1
    assert gaps.min() > 8
    assert gaps.max() > 60
    assert speeds.min() > 0
    assert np.ptp(speeds) > 4


def test_the_offset_drifts_over_the_line_now_and_then():
    truth = DriveTruth(1, SIZE)
    times = np.arange(0, 200, 0.2)
    departed = np.array([truth.departed(float(t)) for t in times])
    assert 0.005 < departed.mean() < 0.2
    assert max(abs(truth.offset_m(float(t))) for t in times) < LANE_M / 2


def test_actors_keep_their_ids_and_move_smoothly():
    drive = Drive.of(5)
    before = {actor.id: actor for actor in actors(drive, 30.0)}
    after = {actor.id: actor for actor in actors(drive, 30.1)}
    assert len(before) == len(actors(drive, 30.0))
    common = before.keys() & after.keys()
    assert len(common) > 5
    for key in common:
        moved = after[key].s - before[key].s
        assert moved == pytest.approx((before[key].speed_m_s - drive.speed(30.05)) * 0.1, abs=0.06)
        assert before[key].name == after[key].name
        assert before[key].figure == after[key].figure


def test_somebody_crosses_before_the_vehicle_is_there():
    drive = Drive.of(1)
    number = zebras(0.0)[0]
    place = (number + 0.5) * ZEBRA_EVERY_M
    arrives = drive.arrival(place)
    lanes = []
    for t_s in np.arange(arrives - 9, arrives, 0.1):
        lanes += [(actor.s, actor.d) for actor in actors(drive, float(t_s)) if actor.id // 10**10 == 6]
    ahead = [s for s, d in lanes if abs(d) < LANE_M / 2]
    assert ahead
    assert min(ahead) > 10
    assert min(d for _, d in lanes) < LEFT_M < EDGE_M


def test_the_lead_stands_where_the_truth_says():
    truth = DriveTruth(1, (640, 360))
    for t_s in (20.0, 33.0, 47.0):
        lead = truth.lead(t_s)
        drive = Drive.of(1)
        actor = next(actor for actor in actors(drive, t_s) if actor.id == lead.id)
        assert actor.s == lead.distance_m
        box = next(box for box in truth.boxes(t_s) if box.id == lead.id)
        tall = float(figure_of(actor).size_m[2])
        expected = camera_at(drive, t_s, (640, 360)).focal_px * tall / lead.distance_m
        assert box.xyxy[3] - box.xyxy[1] == pytest.approx(expected, rel=0.12, abs=2)
        assert box.kind == "car"


def test_time_to_contact_is_distance_over_closing_speed():
    truth = DriveTruth(2, SIZE)
    leads = [truth.lead(t_s) for t_s in np.arange(0, 80, 0.5).tolist()]
    closing = [lead for lead in leads if np.isfinite(lead.ttc_s)]
    assert 0 < len(closing) < len(leads)
    for t_s in (21.0, 50.0):
        now, later = truth.lead(t_s), truth.lead(t_s + 0.1)
        assert (now.distance_m - later.distance_m) / 0.1 == pytest.approx(now.closing_m_s, abs=0.3)
        if np.isfinite(now.ttc_s):
            assert now.ttc_s == pytest.approx(now.distance_m / now.closing_m_s)


def test_the_lines_of_the_truth_are_those_of_the_picture():
    truth, drawn = DriveTruth(1, (640, 360)), Painter(1, (640, 360)).drawn(26.0)
    for line in (LINES[0], LINES[2]):
        pixels = truth.line(line, 26.0, 20.0)
        inside = pixels[((pixels > 1) & (pixels < [638, 330])).all(axis=1)].astype(int)
        assert len(inside) > 10
        assert drawn.lane[inside[:, 1], inside[:, 0]].mean() > 0.85
    left, right = truth.lanes(26.0)
    assert (left[:, 0] < right[:, 0]).all()
    middle = (left[10] + right[10]) / 2
    road, camera = road_at(Drive.of(1), 26.0), camera_at(Drive.of(1), 26.0, (640, 360))
    assert camera.project(road.way.point(np.array([9.0]), 0.0))[0][0] == pytest.approx(middle, abs=1.5)


def test_the_offset_shows_in_the_picture():
    """The camera stands beside the lane's middle by what the truth says."""
    truth = DriveTruth(3, (640, 360))
    for t_s in (5.0, 25.0, 60.0):
        way = scene_at(3, t_s, (640, 360)).road.way
        assert way.point(0.0, truth.offset_m(t_s))[0] == pytest.approx(0.0, abs=0.02)


def test_the_url():
    assert parse_demo_url("demo:drive?seed=3&fps=10") == ("drive", DemoOptions(seed=3, fps=10))
    assert DemoOptions().spec("drive").size_wh == (640, 360)
    assert DemoOptions(size=(320, 180)).spec("drive").size_wh == (320, 180)
    with pytest.raises(SourceNotFound, match=r"no scene called 'drove'.*demo:street or demo:drive"):
        parse_demo_url("demo:drove")


def test_pictures_come_in_order_with_their_times():
    source = DemoSource("demo:drive?size=320x180&fps=10&start=20", DemoOptions(), HurriedClock())
    source.open()
    try:
        pictures = [picture for _ in range(5) for picture in source.read()]
    finally:
        source.close()
    assert [picture.pts_s for picture in pictures] == pytest.approx([n / 10 for n in range(len(pictures))])
    assert {picture.picture.size_wh for picture in pictures} == {(320, 180)}
    shown = pictures[0].picture.rgb((320, 180))[..., ::-1].astype(int)
    assert np.abs(shown - Painter(1, (320, 180)).drawn(20.0).bgr).mean() < 8


def test_nothing_is_left_behind():
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    source = DemoSource("demo:drive?size=160x96&fps=25", DemoOptions(), HurriedClock())
    source.open()
    source.read()
    source.close()
    source.close()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
