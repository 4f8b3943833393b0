"""Which pictures are wanted, and when they are due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.capture.pacing import Pacer, TargetRate


def taken(times: list[float], fps: float | None) -> list[float]:
    rate = TargetRate(fps)
    return [time for time in times if rate.wants(time)]


@pytest.mark.parametrize(
    ("source_fps", "fps", "per_second"),
    [(25, 5, 5), (25, 10, 10), (30, 10, 10), (30, 7, 7), (25, 12.5, 12.5), (25, 25, 25), (25, 60, 25), (10, None, 10)],
)
def test_the_rate_is_met_exactly_and_evenly(source_fps: float, fps: float | None, per_second: float) -> None:
    times = [index / source_fps for index in range(int(source_fps * 60))]
    chosen = taken(times, fps)
    assert len(chosen) == per_second * 60
    assert np.diff(chosen).max() <= 1 / per_second + 1 / source_fps + 1e-9
    assert np.diff(chosen).min() >= 1 / per_second - 1 / source_fps - 1e-9


def test_jitter_does_not_change_the_choice() -> None:
    rng = np.random.default_rng(1)
    times = [index / 25 + float(rng.uniform(-0.008, 0.008)) for index in range(1, 1500)]
    gaps = np.diff(taken(times, 5))
    assert gaps.max() < 0.22
    assert gaps.min() > 0.18


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.1, 60))
def test_never_more_than_asked(steps: list[float], fps: float) -> None:
    times = [float(value) for value in np.cumsum(steps)]
    chosen = taken(times, fps)
    for index, time in enumerate(chosen):
        assert index + 1 <= (time - chosen[0]) * fps + 1.1 + 1e-6
        assert index % 10 <= (time - chosen[index - index % 10]) * fps + 1.1 + 1e-6


@given(st.lists(st.floats(0, 2), min_size=1, max_size=100), st.floats(0.1, 60))
def test_the_first_picture_after_a_pause_is_taken(steps: list[float], fps: float) -> None:
    times = [float(value) for value in np.cumsum(steps)]
    assert taken([*times, times[-1] + 2 / fps], fps)[-1] == times[-1] + 2 / fps
    assert taken(times, fps)[0] == times[0]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        TargetRate(fps)


def test_a_paced_file_runs_at_its_own_speed_and_does_not_hurry_after_a_hold_up() -> None:
    pacer = Pacer()
    assert pacer.wait_s(0.0, 100.0) == 0
    assert pacer.wait_s(0.04, 100.01) == pytest.approx(0.03)
    assert pacer.wait_s(0.08, 100.2) == 0  # a little late: the next ones make up for it
    assert pacer.wait_s(0.16, 100.2) == 0
    assert pacer.wait_s(0.24, 100.2) == pytest.approx(0.04)
    assert pacer.wait_s(0.28, 107.0) == 0  # held up for long: a new start
    assert pacer.wait_s(0.32, 107.0) == pytest.approx(0.04)
