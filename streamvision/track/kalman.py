"""A constant-velocity Kalman filter over boxes, in seconds, for all tracks of a stream at once.

The four coordinates of a box (centre x, centre y, width, height) do not influence each other, so the usual 8-state
filter (Bewley et al., SORT, 2016) falls apart into four filters of two states, position and velocity, which need no
matrix algebra: each step is a handful of elementwise operations over every track.

A state is an array (T, 5, 4) float64: for each track the rows position [px], velocity [px/s], and the entries of the
symmetric 2x2 covariance: variance of the position, covariance, variance of the velocity; for each the four columns
centre x, centre y, width, height. All noise grows with the size of the box, as in ByteTrack, but is a density over
time, so that one second costs the same certainty whether it was seen in 25 pictures or in 5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

POSITION, VELOCITY, POSITION_VAR, COVARIANCE, VELOCITY_VAR = range(5)

# Standard deviations and densities in units of the box's size (mean of width and height), for cx, cy, w, h. Chosen
# on MOTChallenge 2015 (pedestrians, 7 to 30 pictures per second) and on drawn traffic at 5 to 25.
_MEASURED_VAR = np.array([0.12, 0.12, 0.15, 0.15]) ** 2
_START_VELOCITY_VAR = np.array([4.0, 4.0, 0.5, 0.5]) ** 2
_DRIFT_DENSITY = np.array([0.05, 0.05, 0.05, 0.05])
_ACCELERATION_DENSITY = np.array([0.7, 0.7, 0.2, 0.2])

_SMALLEST_SIDE = 1e-3


def _flow() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return F0, F1, F2 (20, 20): a flattened state moves by ``state @ (F0 + dt F1 + dt^2 F2)``."""
    first, second, each = np.zeros((5, 5)), np.zeros((5, 5)), np.eye(4)
    first[VELOCITY, POSITION] = 1
    first[COVARIANCE, POSITION_VAR] = 2
    first[VELOCITY_VAR, COVARIANCE] = 1
    second[VELOCITY_VAR, POSITION_VAR] = 1
    return np.kron(np.eye(5), each), np.kron(first, each), np.kron(second, each)


def _noise() -> tuple[Float64, Float64, Float64]:
    """Return Q1, Q2, Q3 (20,): what dt, dt^2 and dt^3 seconds add to a flattened state of size 1."""
    first, second, third = np.zeros((5, 4)), np.zeros((5, 4)), np.zeros((5, 4))
    first[POSITION_VAR] = _DRIFT_DENSITY
    first[VELOCITY_VAR] = _ACCELERATION_DENSITY
    second[COVARIANCE] = _ACCELERATION_DENSITY / 2
    third[POSITION_VAR] = _ACCELERATION_DENSITY / 3
    return first.ravel(), second.ravel(), third.ravel()


_F0, _F1, _F2 = _flow()
_Q1, _Q2, _Q3 = _noise()


@lru_cache(maxsize=256)
def _step(dt_s: float) -> tuple[Float64, Float64]:
    """Return the flow (20, 20) and the noise (20,) of one step; cameras repeat the same few steps."""
    return _F0 + dt_s * _F1 + dt_s**2 * _F2, dt_s * _Q1 + dt_s**2 * _Q2 + dt_s**3 * _Q3


def _size_squared(position: Float64) -> Float64:
    """Return (T, 1) the squared mean side of boxes (T, 4) cxcywh."""
    size = position[:, 2:3] + position[:, 3:4]
    return np.asarray(size * size * 0.25)


def start(measured: Float64) -> Float64:
    """Return the states (T, 5, 4) of objects seen for the first time as boxes (T, 4) cxcywh."""
    scale = _size_squared(measured)
    state = np.zeros((len(measured), 5, 4))
    state[:, POSITION] = measured
    state[:, POSITION_VAR] = scale * _MEASURED_VAR
    state[:, VELOCITY_VAR] = scale * _START_VELOCITY_VAR
    return state


def predict(state: Float64, dt_s: float) -> Float64:
    """Return states (T, 5, 4) moved on by ``dt_s`` >= 0 seconds.

    Everything that happens is linear in a state, so that one matrix product does it for all tracks.
    """
    flow, noise = _step(round(dt_s, 6))
    moved = state.reshape(-1, 20) @ flow
    moved += _size_squared(state[:, POSITION]) * noise
    moved = moved.reshape(-1, 5, 4)
    np.maximum(moved[:, POSITION, 2:], _SMALLEST_SIDE, out=moved[:, POSITION, 2:])
    return moved


def correct(state: Float64, measured: Float64) -> None:
    """Correct states (M, 5, 4) in place by the boxes (M, 4) cxcywh as which they were seen."""
    variances = state[:, POSITION_VAR : COVARIANCE + 1]
    total = variances[:, 0] + _size_squared(measured) * _MEASURED_VAR
    gains = variances / total[:, None]
    surprise = measured - state[:, POSITION]
    state[:, POSITION : VELOCITY + 1] += gains * surprise[:, None]
    state[:, VELOCITY_VAR] -= gains[:, 1] * variances[:, 1]
    variances *= 1 - gains[:, :1]
    np.maximum(state[:, POSITION, 2:], _SMALLEST_SIDE, out=state[:, POSITION, 2:])


def distance_squared(state: Float64, measured: Float64) -> Float64:
    """Return (T, N) the squared Mahalanobis distances between predicted and measured (N, 4) centres."""
    variance = state[:, POSITION_VAR, :2] + _size_squared(state[:, POSITION]) * _MEASURED_VAR[:2]
    along = measured[None, :, :2] - state[:, None, POSITION, :2]
    return np.asarray((along * along / variance[:, None]).sum(axis=2))
