from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.clock import SystemClock
from streamvision.web import RateMeter


class HandClock(SystemClock):
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_a_steady_counter_has_a_steady_rate() -> None:
    clock = HandClock()
    meter = RateMeter(clock)
    assert meter.sample(0) == 0
    for second in range(1, 20):
        clock.now_s += 1
        assert meter.sample(second * 25) == pytest.approx(25)


def test_the_rate_falls_to_nothing_within_the_window_after_the_counter_stops() -> None:
    clock = HandClock()
    meter = RateMeter(clock, window_s=5)
    for second in range(10):
        clock.now_s += 1
        meter.sample(second * 25)
    rates = []
    for _ in range(7):
        clock.now_s += 1
        rates.append(meter.sample(225))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0


def test_asked_seldom_it_gives_the_mean_since_it_was_asked_last() -> None:
    clock = HandClock()
    meter = RateMeter(clock)
    meter.sample(0)
    clock.now_s += 60
    assert meter.sample(600) == 10
    clock.now_s += 60
    assert meter.sample(600) == 0


def test_a_counter_that_begins_anew_is_no_negative_rate() -> None:
    clock = HandClock()
    meter = RateMeter(clock)
    meter.sample(1000)
    clock.now_s += 1
    assert meter.sample(3) == 0
    clock.now_s += 1
    assert meter.sample(13) == 10


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 100)), max_size=60))
def test_a_rate_is_never_negative_nor_above_what_was_ever_counted(steps: list[tuple[float, int]]) -> None:
    clock = HandClock()
    meter = RateMeter(clock)
    count = 0
    for pause_s, more in steps:
        clock.now_s += pause_s
        count += more
        assert meter.sample(count) >= 0
        assert len(meter._samples) < 30
