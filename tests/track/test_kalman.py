"""The filter equals the textbook's, whatever the frame rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.track import kalman
from streamvision.track.kalman import COVARIANCE, POSITION, POSITION_VAR, VELOCITY, VELOCITY_VAR

BOX = np.array([[100.0, 200.0, 40.0, 80.0]])


def _textbook(measured: np.ndarray, steps_s: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """One coordinate (centre x) with 2x2 matrices; boxes keep their size. Returns mean and covariance."""
    size2 = 60.0**2
    noise = size2 * kalman._MEASURED_VAR[0]
    mean = np.array([measured[0], 0.0])
    cov = np.diag([noise, size2 * kalman._START_VELOCITY_VAR[0]])
    look = np.array([[1.0, 0.0]])
    for dt, value in zip(steps_s, measured[1:], strict=True):
        flow = np.array([[1, dt], [0, 1]])
        push = kalman._ACCELERATION_DENSITY[0] * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        push[0, 0] += kalman._DRIFT_DENSITY[0] * dt
        mean, cov = flow @ mean, flow @ cov @ flow.T + size2 * push
        gain = cov @ look.T / (look @ cov @ look.T + noise)
        mean = mean + (gain * (value - mean[0])).ravel()
        cov = (np.eye(2) - gain @ look) @ cov
    return mean, cov


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(-30, 30)), min_size=1, max_size=12),
)
def test_it_is_the_textbook_filter(looks: list[tuple[int, float]]) -> None:
    steps_s = [milliseconds / 1000 for milliseconds, _ in looks]
    centres = 100 + np.concatenate(([0.0], np.cumsum([move for _, move in looks])))
    state = kalman.start(BOX)
    for dt_s, centre in zip(steps_s, centres[1:], strict=True):
        state = kalman.predict(state, dt_s)
        kalman.correct(state, np.array([[centre, 200.0, 40.0, 80.0]]))
    mean, cov = _textbook(centres, steps_s)
    assert state[0, [POSITION, VELOCITY], 0] == pytest.approx(mean, rel=1e-6, abs=1e-6)
    assert state[0, POSITION_VAR, 0] == pytest.approx(cov[0, 0])
    assert state[0, COVARIANCE, 0] == pytest.approx(cov[0, 1], abs=1e-6)
    assert state[0, VELOCITY_VAR, 0] == pytest.approx(cov[1, 1])


def test_a_second_is_a_second_in_one_step_or_in_many() -> None:
    state = kalman.start(BOX)
    state[:, VELOCITY, :2] = [30.0, -10.0]
    once = kalman.predict(state, 1.0)
    often = state
    for _ in range(25):
        often = kalman.predict(often, 0.04)
    assert often == pytest.approx(once, rel=1e-9)


def test_no_time_changes_nothing() -> None:
    state = kalman.start(BOX)
    assert (kalman.predict(state, 0.0) == state).all()


def test_a_shrinking_box_never_turns_inside_out() -> None:
    state = kalman.start(BOX)
    state[:, VELOCITY, 2:] = -100.0
    state = kalman.predict(state, 10.0)
    assert (state[:, POSITION, 2:] > 0).all()


def test_distance_is_counted_in_deviations() -> None:
    state = kalman.start(BOX)
    deviation = np.sqrt(state[0, POSITION_VAR, 0] + 60.0**2 * kalman._MEASURED_VAR[0])
    away = BOX + np.array([2 * deviation, 0, 0, 0])
    assert kalman.distance_squared(state, np.vstack((BOX, away))) == pytest.approx(np.array([[0.0, 4.0]]))
