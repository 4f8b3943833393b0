"""The time line of a stream, without any video."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.clock import MediaTimeline, Stamp, SystemClock
from streamvision.types import ClockSource
from tests.fakes import FakeClock

START = datetime(2025, 6, 1, 12, tzinfo=UTC)


def stamps(
    pts: list[float | None], received: list[float] | None = None, *, live: bool, clock: FakeClock | None = None
) -> list[Stamp]:
    clock = clock or FakeClock(0.0)
    timeline = MediaTimeline(clock, live=live, file_start=None if live else START)
    received = received or [0.0] * len(pts)
    found = []
    for pts_s, received_s in zip(pts, received, strict=True):
        clock.advance(max(0.0, received_s - clock.monotonic()))
        found.append(timeline.stamp(pts_s, received_s))
    return found


def media(found: list[Stamp]) -> list[float]:
    return [round(stamp.media_s, 6) for stamp in found]


@pytest.mark.parametrize(
    ("pts", "expected"),
    [
        pytest.param([7.0, 7.04, 7.08], [0, 0.04, 0.08], id="starts at 0"),
        pytest.param([0, 0.04, 0.5, 0.54], [0, 0.04, 0.5, 0.54], id="a gap is kept"),
        pytest.param([0.0, 0.2, 0.4, None, 0.8], [0, 0.2, 0.4, 0.6, 0.8], id="one is missing"),
        pytest.param([None, None, None], [0, 0.04, 0.08], id="all are missing"),
        pytest.param([0, 0.1, 0.2, 0.2, 0.4], [0, 0.1, 0.2, 0.3, 0.4], id="one is repeated"),
        pytest.param([0, 0.1, 0.2, 9e9, 9e9 + 0.1], [0, 0.1, 0.2, 0.3, 0.4], id="another century"),
        pytest.param([95443.6, 95443.7, 0.0, 0.1], [0, 0.1, 0.2, 0.3], id="33 bit wrap-around"),
        pytest.param([0, 0.1, math.nan, math.inf, 0.4], [0, 0.1, 0.2, 0.3, 0.4], id="not numbers"),
    ],
)
def test_file_times_follow_pts_and_survive_bad_ones(pts: list[float | None], expected: list[float]) -> None:
    assert media(stamps(pts, live=False)) == pytest.approx(expected, abs=1e-5)


def test_pts_in_decoding_order_become_even() -> None:
    order = [1, 4, 6, 5, 7, 9, 8, 10, 12, 11, 13, 15, 14, 16, 18, 17, 19, 21, 20, 22] + [
        base + add for base in range(22, 400, 3) for add in (2, 1, 3)
    ]
    found = np.array(media(stamps([index / 25 for index in order], live=False)))
    steps = np.diff(found)[20:]
    assert found[-1] == pytest.approx((order[-1] - order[0]) / 25, abs=0.1)
    assert steps.min() > 0.005
    assert steps.max() < 0.09


def test_a_loop_goes_on_after_one_picture_distance_in_a_new_epoch() -> None:
    timeline = MediaTimeline(FakeClock(), live=False, file_start=START)
    first = [timeline.stamp(pts, 0.0) for pts in (0.0, 0.1, 0.2)]
    timeline.restart()
    second = [timeline.stamp(pts, 0.0) for pts in (0.0, 0.1)]
    assert media(first + second) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [stamp.epoch for stamp in first + second] == [0, 0, 0, 1, 1]
    assert second[-1].captured_at == START + timedelta(seconds=0.4)


def test_a_reconnect_goes_on_by_the_time_that_passed() -> None:
    clock = FakeClock(0.0)
    timeline = MediaTimeline(clock, live=True)
    timeline.restart()  # before the first picture: still epoch 0
    before = [timeline.stamp(50 + index / 10, index / 10) for index in range(10)]
    timeline.restart()
    after = timeline.stamp(3.0, 7.9)
    assert before[0].epoch == 0
    assert after.epoch == 1
    assert after.media_s == pytest.approx(7.9)
    assert timeline.stamp(3.1, 8.0).media_s == pytest.approx(8.0)


@pytest.mark.parametrize("jump_s", [9e9, -9e9, 95443.7, -47721.9, 40.0, -40.0, 3.0, -3.0])
def test_a_jump_of_a_live_stream_goes_on_by_arrival(jump_s: float) -> None:
    pts = [index / 25 + (jump_s if index >= 50 else 0) for index in range(100)]
    found = media(stamps(pts, [index / 25 for index in range(100)], live=True))
    assert found == pytest.approx([index / 25 for index in range(100)], abs=1e-4)


def test_live_pictures_without_pts_are_timed_by_arrival() -> None:
    received = [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert media(stamps([None, None, 5.2, 5.3, None, 5.5], received, live=True)) == pytest.approx(received, abs=1e-6)


def test_a_late_burst_keeps_its_true_times() -> None:
    received = [index / 25 for index in range(250)]
    for index in range(100, 150):
        received[index] = 6.0  # held back for up to two seconds, then all at once
    found = stamps([index / 25 for index in range(250)], received, live=True, clock=FakeClock(0.0))
    start = found[0].captured_at
    truth = [start + timedelta(seconds=index / 25) for index in range(250)]
    worst_s = max(abs((stamp.captured_at - true).total_seconds()) for stamp, true in zip(found, truth, strict=True))
    assert media(found) == pytest.approx([index / 25 for index in range(250)], abs=1e-4)
    assert worst_s < 0.3
    assert found[100].uncertainty_s > 1.5  # it says so, though
    assert found[0].clock is ClockSource.ARRIVAL


def test_uncertainty_sinks_to_the_jitter() -> None:
    rng = np.random.default_rng(5)
    received = [index / 25 + rng.uniform(0, 0.05) for index in range(2000)]
    found = stamps([index / 25 for index in range(2000)], list(np.maximum.accumulate(received)), live=True)
    assert 0.1 <= found[-1].uncertainty_s <= 0.16
    assert found[0].uncertainty_s > 1


@pytest.mark.parametrize("delivered_fps", [21.0, 24.9, 25.1, 31.0])
def test_a_camera_that_states_a_wrong_rate_is_led_by_arrival(delivered_fps: float) -> None:
    """Pts count 25 pictures as a second; the camera delivers another number."""
    count = 4000
    received = [index / delivered_fps for index in range(count)]
    found = stamps([index / 25 for index in range(count)], received, live=True)
    drift = np.array(media(found)) - received
    late = np.diff(media(found))[-500:]
    assert np.abs(drift).max() < 6
    assert late.sum() == pytest.approx(500 / delivered_fps, rel=0.03)
    last_s = (found[-1].captured_at - found[0].captured_at).total_seconds()
    assert last_s == pytest.approx(received[-1], abs=2.5)


def test_the_held_group_of_pictures_at_the_start_keeps_its_spacing() -> None:
    pts = [index / 25 for index in range(200)]
    received = [max(1.5, index / 25) for index in range(200)]
    assert media(stamps(pts, received, live=True)) == pytest.approx(pts, abs=1e-6)


def test_the_senders_clock_is_believed_unless_it_is_absurd() -> None:
    clock = FakeClock(0.0)
    timeline = MediaTimeline(clock, live=True)
    now = clock.utcnow()
    good = timeline.stamp(0.0, 0.0, now - timedelta(seconds=0.3))
    ahead = timeline.stamp(0.1, 0.1, now + timedelta(seconds=2))
    absurd = timeline.stamp(0.2, 0.2, datetime(1970, 1, 1, tzinfo=UTC))
    assert (good.clock, good.captured_at, good.uncertainty_s) == (ClockSource.RTCP, now - timedelta(seconds=0.3), 0.02)
    assert ahead.uncertainty_s == pytest.approx(2, abs=0.2)
    assert absurd.clock is ClockSource.ARRIVAL


def test_file_time_is_the_recordings_own() -> None:
    stamp = MediaTimeline(SystemClock(), live=False, file_start=START).stamp(3.0, 1.0)
    assert (stamp.captured_at, stamp.clock, stamp.uncertainty_s) == (START, ClockSource.FILE, 1)


wild_pts = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 30) | st.floats(9e4, 1e5)
pictures = st.lists(st.tuples(wild_pts, st.floats(0, 3)), min_size=1, max_size=80)


@settings(max_examples=300, deadline=None)
@given(pictures, st.booleans(), st.sets(st.integers(0, 79), max_size=3))
def test_media_time_is_finite_and_grows_whatever_comes(
    script: list[tuple[float | None, float]], live: bool, restarts: set[int]
) -> None:
    clock = FakeClock(0.0)
    timeline = MediaTimeline(clock, live=live)
    found = []
    for index, (pts_s, wait_s) in enumerate(script):
        clock.advance(wait_s)
        if index in restarts:
            timeline.restart()
        found.append(timeline.stamp(pts_s, clock.monotonic()))
        if live:
            assert -15 <= found[-1].media_s - (clock.monotonic() - script[0][1]) <= 15
        assert found[-1].captured_at <= clock.utcnow()
        assert 0.1 <= found[-1].uncertainty_s <= 6
    times = [stamp.media_s for stamp in found]
    assert times[0] == 0
    assert all(math.isfinite(value) for value in times)
    assert all(a < b for a, b in itertools.pairwise(times))
    assert [stamp.epoch for stamp in found] == sorted(stamp.epoch for stamp in found)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=60), st.floats(-1e6, 1e6))
def test_good_file_pts_are_kept_as_they_are(steps: list[float], origin_s: float) -> None:
    pts = [origin_s, *(origin_s + float(value) for value in np.cumsum(steps))]
    assert [stamp.media_s for stamp in stamps(list(pts), live=False)] == pytest.approx(
        [p - pts[0] for p in pts], abs=1e-6
    )


def test_a_fork_goes_on_whatever_happens_to_the_time_line_that_it_comes_from() -> None:
    """A thread that was left behind may come back with a picture of its own at any moment."""

    def line(clock: FakeClock) -> MediaTimeline:
        timeline = MediaTimeline(clock, live=True)
        for number in range(20):
            timeline.stamp(number / 25, 100.0 + number / 25)
        return timeline

    def following(timeline: MediaTimeline, clock: FakeClock) -> list[Stamp]:
        clock.sleep(60.0)
        return [timeline.stamp(number / 25, 100.0 + number / 25) for number in range(20, 40)]

    clock = FakeClock()
    expected = following(line(clock), clock)
    clock = FakeClock()
    old = line(clock)
    fork = old.fork()
    clock.sleep(60.0)
    for late in (5.0, 3.0, 80.0):
        old.stamp(late, 190.0)
    clock.sleep(-60.0)
    assert following(fork, clock) == expected
