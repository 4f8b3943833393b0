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

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

POSITION, VELOCITY, POSITION_VAR, COVARIANCE, VELOCITY_VAR = range(5)

# Standard deviations and densities in units of the box's size (mean of width and height), for cx, cy, w, h.
_MEASURED_STD = np.array([0.07, 0.07, 0.10, 0.10])
_START_VELOCITY_STD = np.array([2.5, 2.5, 0.5, 0.5])
_DRIFT_DENSITY = np.array([0.05, 0.05, 0.05, 0.05])
_ACCELERATION_DENSITY = np.array([1.5, 1.5, 0.3, 0.3])

_MEASURED_VAR = _MEASURED_STD**2
_SMALLEST_SIDE = 1e-3


def _size_squared(position: Float64) -> Float64:
    """Return (T, 1) the squared mean side of boxes (T, 4) cxcywh."""
    size = position[:, 2:].sum(axis=1, keepdims=True)
    return np.asarray(size * size * 0.25)


def start(measured: Float64) -> Float64:
    """Return the states (T, 5, 4) of objects seen for the first time as boxes (T, 4) cxcywh."""
    scale = _size_squared(measured)
    state = np.zeros((len(measured), 5, 4))
    state[:, POSITION] = measured
    state[:, POSITION_VAR] = scale * _MEASURED_VAR
    state[:, VELOCITY_VAR] = scale * _START_VELOCITY_STD**2
    return state


def predict(state: Float64, dt_s: float) -> None:
    """Move states (T, 5, 4) on by ``dt_s`` >= 0 seconds, in place."""
    scale = _size_squared(state[:, POSITION])
    position_var, covariance, velocity_var = state[:, POSITION_VAR], state[:, COVARIANCE], state[:, VELOCITY_VAR]
    state[:, POSITION] += dt_s * state[:, VELOCITY]
    position_var += dt_s * (2 * covariance + dt_s * velocity_var)
    position_var += scale * (_DRIFT_DENSITY * dt_s + _ACCELERATION_DENSITY * (dt_s**3 / 3))
    covariance += dt_s * velocity_var + scale * (_ACCELERATION_DENSITY * (dt_s**2 / 2))
    velocity_var += scale * (_ACCELERATION_DENSITY * dt_s)
    np.maximum(state[:, POSITION, 2:], _SMALLEST_SIDE, out=state[:, POSITION, 2:])


def correct(state: Float64, measured: Float64) -> Float64:
    """Return states (M, 5, 4) after they were seen as boxes (M, 4) cxcywh; the input is left as it is."""
    position_var, covariance = state[:, POSITION_VAR], state[:, COVARIANCE]
    total = position_var + _size_squared(measured) * _MEASURED_VAR
    gain, velocity_gain = position_var / total, covariance / total
    surprise = measured - state[:, POSITION]
    corrected = np.empty_like(state)
    corrected[:, POSITION] = state[:, POSITION] + gain * surprise
    corrected[:, VELOCITY] = state[:, VELOCITY] + velocity_gain * surprise
    corrected[:, POSITION_VAR] = (1 - gain) * position_var
    corrected[:, COVARIANCE] = (1 - gain) * covariance
    corrected[:, VELOCITY_VAR] = state[:, VELOCITY_VAR] - velocity_gain * covariance
    np.maximum(corrected[:, POSITION, 2:], _SMALLEST_SIDE, out=corrected[:, POSITION, 2:])
    return corrected


def distance_squared(state: Float64, measured: Float64) -> Float64:
    """Return (T, N) the squared Mahalanobis distances between predicted and measured (N, 4) centres."""
    variance = state[:, POSITION_VAR, :2] + _size_squared(state[:, POSITION]) * _MEASURED_VAR[:2]
    along = measured[None, :, :2] - state[:, None, POSITION, :2]
    return np.asarray((along * along / variance[:, None]).sum(axis=2))
