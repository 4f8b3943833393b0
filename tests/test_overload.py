"""More pictures than an engine can take, in simulated time: bounded latency, fair shares, every loss counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from streamvision.batch import WEIGHTS, Batcher, BatchPolicy
from streamvision.types import Frame
from tests.fakes import FakeClock
from tests.test_batch import frame

ENGINE_FPS = 40.0
"""Pictures a second, in batches of any size."""
SPAN_S = 60.0
MAX_AGE_S = 0.5


@dataclass
class Camera:
    """A stream with its books."""

    name: str
    fps: float
    priority: str = "normal"
    begins_s: float = 0.0
    ends_s: float = SPAN_S
    sent: int = 0
    lost: dict[str, int] = field(default_factory=lambda: {"overflow": 0, "max_age": 0})
    analysed_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)

    @property
    def next_s(self) -> float:
        return self.begins_s + self.sent / self.fps

    def rate(self, begin_s: float, end_s: float) -> float:
        return sum(begin_s <= at_s < end_s for at_s in self.analysed_s) / (end_s - begin_s)


def simulate(cameras: list[Camera], *, max_batch: int) -> None:
    """Let cameras send and one engine compute for `SPAN_S`; afterwards every camera's books are complete."""
    clock = FakeClock()
    zero_s = clock.monotonic()
    known = {camera.name: camera for camera in cameras}

    def expired(lost: Frame) -> None:
        known[lost.info.stream].lost["max_age"] += 1

    batcher = Batcher(BatchPolicy(max_batch, max_wait_s=0.0, max_age_s=MAX_AGE_S), clock, expired)
    channels = {}

    def now_s() -> float:
        return clock.monotonic() - zero_s

    def send_until(until_s: float) -> None:
        while due := [each for each in cameras if each.next_s <= until_s and each.next_s < each.ends_s]:
            camera = min(due, key=lambda each: (each.next_s, each.name))
            clock.advance(camera.next_s - now_s())
            if camera.name not in channels:

                def overflowed(_: Frame, camera: Camera = camera) -> None:
                    camera.lost["overflow"] += 1

                weight = WEIGHTS[camera.priority]
                channels[camera.name] = batcher.add(camera.name, live=True, on_overflow=overflowed, weight=weight)
            channels[camera.name].put(frame(camera.name, clock.monotonic(), camera.sent))
            camera.sent += 1
            if camera.next_s >= camera.ends_s:
                channels[camera.name].close()
        clock.advance(max(0.0, until_s - now_s()))

    step_s = 0.001
    while now_s() < SPAN_S + 2 * MAX_AGE_S:
        send_until(now_s())
        if (batch := batcher.collect(0)) is None:
            clock.advance(step_s)
            continue
        send_until(now_s() + len(batch) / ENGINE_FPS)
        for one in batch.frames:
            known[one.info.stream].analysed_s.append(now_s())
            known[one.info.stream].ages_s.append(clock.monotonic() - one.ready_s)


def shares(wanted: dict[str, float], weights: dict[str, float], capacity: float) -> dict[str, float]:
    """Return the weighted max-min fair rates: who wants less than its share leaves the rest to the others."""
    given: dict[str, float] = {}
    while len(given) < len(wanted):
        left = {name: rate for name, rate in wanted.items() if name not in given}
        unit = (capacity - sum(given.values())) / sum(weights[name] for name in left)
        modest = {name: rate for name, rate in left.items() if rate <= unit * weights[name]}
        if not modest:
            return {**given, **{name: unit * weights[name] for name in left}}
        given |= modest
    return given


def balanced(camera: Camera) -> bool:
    return camera.sent == len(camera.analysed_s) + sum(camera.lost.values())


RATES = (4.0, 5.0, 6.0, 7.0, 7.0, 8.0, 9.0, 14.0)
"""Together 60 a second: 150 % of what the engine can take."""


@pytest.mark.parametrize("max_batch", [1, 3, 16])
@pytest.mark.parametrize("load", [1.5, 4.0])
def test_drops_are_fair_and_counted_and_latency_is_bounded(load: float, max_batch: int):
    cameras = [Camera(f"cam{n}", rate * load / 1.5) for n, rate in enumerate(RATES)]
    simulate(cameras, max_batch=max_batch)
    fair = shares({each.name: each.fps for each in cameras}, {each.name: 1.0 for each in cameras}, ENGINE_FPS)
    for camera in cameras:
        assert balanced(camera)
        assert camera.rate(5, SPAN_S) == pytest.approx(fair[camera.name], rel=0.1)
        assert max(camera.ages_s) <= MAX_AGE_S + max_batch / ENGINE_FPS
    assert sum(each.rate(5, SPAN_S) for each in cameras) == pytest.approx(ENGINE_FPS, rel=0.05), "no time is wasted"


@pytest.mark.parametrize("max_batch", [1, 3, 16])
def test_priorities_are_honoured_and_nobody_starves(max_batch: int):
    names = ["high", "high", "normal", "normal", "normal", "low", "low", "low"]
    cameras = [Camera(f"cam{n}", 20.0, name) for n, name in enumerate(names)]
    simulate(cameras, max_batch=max_batch)
    weights = {each.name: WEIGHTS[each.priority] for each in cameras}
    fair = shares({each.name: each.fps for each in cameras}, weights, ENGINE_FPS)
    for camera in cameras:
        assert balanced(camera)
        assert camera.rate(5, SPAN_S) == pytest.approx(fair[camera.name], rel=0.1)
        assert max(later - earlier for earlier, later in pairwise(camera.analysed_s)) < 2.5, "nobody waits long"


def test_a_priority_changes_nothing_while_there_is_enough_for_all():
    cameras = [Camera(f"cam{n}", 3.0, name) for n, name in enumerate(["high", "normal", "low"])]
    simulate(cameras, max_batch=16)
    for camera in cameras:
        assert len(camera.analysed_s) == camera.sent
        assert max(camera.ages_s) < 0.2


def test_who_joins_gets_its_share_at_once_and_who_leaves_frees_it():
    cameras = [Camera(f"cam{n}", 20.0) for n in range(4)]
    cameras.append(Camera("guest", 20.0, begins_s=20.0, ends_s=40.0))
    simulate(cameras, max_batch=2)
    assert all(balanced(each) for each in cameras)
    for camera in cameras[:-1]:
        assert camera.rate(5, 20) == pytest.approx(10, rel=0.1)
        assert camera.rate(21, 40) == pytest.approx(8, rel=0.1)
        assert camera.rate(41, 60) == pytest.approx(10, rel=0.1)
    assert cameras[-1].rate(21, 40) == pytest.approx(8, rel=0.1), (
        "neither starved, nor served first for having been away"
    )
