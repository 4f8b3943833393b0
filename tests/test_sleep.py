"""The machine sleeps: who notices, what is given up, what is told, and what must not misfire."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamvision.analysis import Outages
from streamvision.capture.hangs import Abandoned
from streamvision.capture.reconnect import StateChange
from streamvision.clock import SLEEP_S, MediaTimeline, SleepWatch, SystemClock
from streamvision.health import Heartbeats
from streamvision.metrics import StreamStats
from streamvision.types import Phase, StreamState
from tests.capture.test_hangs import WAIT_S, Hanging, Rig, until
from tests.fakes import FakeClock
from tests.test_analysis import analyser, detections, info, seen

HOUR_S = 3600.0


def test_a_sleep_is_noticed_once_and_a_jump_of_the_clock_is_none():
    clock = FakeClock()
    watch = SleepWatch(clock)
    clock.advance(50)
    clock.jump(HOUR_S)
    assert watch.look() == 0
    clock.sleep(HOUR_S)
    assert watch.look() == pytest.approx(HOUR_S)
    assert watch.look() == 0
    clock.sleep(SLEEP_S / 2)
    assert watch.look() == 0
    clock.sleep(SLEEP_S)
    assert watch.look() == pytest.approx(1.5 * SLEEP_S)


def test_the_systems_own_clocks_say_no_sleep_while_nobody_sleeps():
    watch = SleepWatch(SystemClock())
    assert [watch.look() for _ in range(1000)] == [0.0] * 1000


def test_media_time_goes_on_after_the_sleep_and_says_so():
    clock = FakeClock(0.0)
    timeline = MediaTimeline(clock, live=True)
    for index in range(50):
        before = timeline.stamp(index / 25, clock.monotonic())
        clock.advance(0.04)
    clock.sleep(HOUR_S)
    after = timeline.stamp(2.0, clock.monotonic())
    assert after.media_s - before.media_s == pytest.approx(HOUR_S, abs=5.1)
    assert (before.sleeps, after.sleeps) == (0, 1)
    assert abs(after.captured_at - clock.utcnow()) < timedelta(seconds=2)
    clock.advance(0.04)
    assert timeline.stamp(2.04, clock.monotonic()).sleeps == 1


def test_a_file_does_not_notice():
    clock = FakeClock(0.0)
    timeline = MediaTimeline(clock, live=False)
    timeline.stamp(0.0, 0.0)
    clock.sleep(HOUR_S)
    stamp = timeline.stamp(0.04, 0.0)
    assert (round(stamp.media_s, 3), stamp.sleeps) == (0.04, 0)


def test_tracks_and_happenings_end_with_the_sleep():
    one, tracker, rule, _ = analyser()
    one.update(seen(info(0), detections(0.9)))
    slept = info(1)
    object.__setattr__(slept, "sleeps", 1)
    _, events = one.update(seen(slept, detections(0.9)))
    assert tracker.resets == 1
    assert rule.closed == ["slept"]
    assert [found.phase for found in events] == [Phase.END, Phase.INSTANT]


@pytest.mark.parametrize("jump_s", [0.0, 1e9, -1e9])
def test_the_outage_began_when_the_machine_fell_asleep_and_lasts_as_long_as_it_did(jump_s: float):
    clock = FakeClock()
    numbers = iter(range(9))
    outages = Outages("gate", lambda: f"id{next(numbers)}", clock, StreamStats("gate"))
    asleep_at = clock.utcnow()
    clock.sleep(HOUR_S)
    gone = StateChange("gate", StreamState.LIVE, StreamState.BACKING_OFF, "slept", "slept", 100.0, HOUR_S)
    (start,) = outages.update(gone)
    assert (start.time, start.data["reason"]) == (asleep_at, "slept")
    clock.jump(jump_s)
    clock.advance(2.0)
    (end,) = outages.update(StateChange("gate", StreamState.CONNECTING, StreamState.LIVE, "picture", "", 102.0))
    assert end.evidence["outage_s"] == HOUR_S + 2


def test_a_capture_in_a_call_connects_anew_at_once():
    stuck, good = Hanging("read"), Hanging("")
    rig = Rig(stuck, good)
    assert stuck.entered.wait(WAIT_S)
    rig.clock.sleep(HOUR_S)
    rig.capture.supervise()
    assert rig.stats.abandoned == 0, "a sleep is no hang: deadlines stand still with it"
    rig.capture.woken(HOUR_S)
    until(lambda: rig.stats.decoded > 9)
    assert rig.stats.abandoned == 0
    assert dict(rig.stats.reconnects) == {"slept": 1}
    (change,) = [one for one in rig.changes if one.reason == "slept"]
    assert change.ago_s == HOUR_S
    stuck.let_go.set()
    until(lambda: stuck.closed > 0 and not rig.capture._abandoned._in_time["gate"])
    assert not rig.beats.silent()
    rig.end()


def test_threads_of_before_a_sleep_hold_no_other_stream_off():
    together = Abandoned(per_stream=2, in_all=1)
    for stream in ("a", "b", "c"):
        together.add(stream, in_time=True)
    assert not any(together.obstacle(stream) for stream in ("a", "b", "c"))
    together.add("a", in_time=True)
    assert "2 earlier" in together.obstacle("a")
    together.remove("a", in_time=True)
    assert together.obstacle("a") == ""


def test_heartbeats_do_not_misfire():
    clock = FakeClock()
    beats = Heartbeats(clock)
    beats.register("engine", 10.0)
    clock.sleep(HOUR_S)
    clock.jump(-1e9)
    assert beats.silent() == []
