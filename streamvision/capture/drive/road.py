"""A road as a curve with a cross-section: (s along it, d to the right of its axis) <-> metres around the camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Points

Ink = tuple[float, float, float]
"""BGR, 0-255."""
_BEHIND_M, _AHEAD_M, _STEP_M = -30.0, 900.0, 1.0
_STEEPEST = 1.25
"""The most, in radians, that a road turns away from the camera's view: the way ahead stays single-valued."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The axis of a road in steps: s, x, y, z in metres and its heading in radians (0 ahead, positive to the right)."""

    s: Points
    x: Points
    y: Points
    z: Points
    heading: Points

    @classmethod
    def of(
        cls, shift_m: float, heading: float, bend: Callable[[Points], Points], grade: Callable[[Points], Points]
    ) -> Way:
        """Integrate curvature (1/m, positive to the right) and grade over s; s 0, at the camera, lies at x shift."""
        s = np.arange(_BEHIND_M, _AHEAD_M, _STEP_M)
        zero = int(-_BEHIND_M / _STEP_M)
        angle = heading + _sum_from(zero, bend(s))
        angle = np.clip(angle, -_STEEPEST, _STEEPEST)
        x, y, z = (_sum_from(zero, each) for each in (np.sin(angle), np.cos(angle), grade(s)))
        return cls(s, x + shift_m, y, z, angle)

    def point(self, s: Points | float, d: Points | float, up: Points | float = 0.0) -> Points:
        """Return points (...,3) in metres: ``d`` to the right of the axis and ``up`` above the ground."""
        s, d, up = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (s, d, up)))
        x = np.interp(s, self.s, self.x) + d / np.cos(self.angle(s))
        return np.stack([x, np.interp(s, self.s, self.y), np.interp(s, self.s, self.z) + up], axis=-1)

    def angle(self, s: Points | float) -> Points:
        """Return the heading in radians at s."""
        return np.asarray(np.interp(s, self.s, self.heading))


def _sum_from(zero: int, values: Points) -> Points:
    total = np.cumsum((values + np.roll(values, 1)) / 2 * _STEP_M)
    return np.asarray(total - total[zero])


@dataclass(frozen=True, slots=True)
class Band:
    """A strip of ground from ``left`` to ``right`` (d, metres): what it is made of and whether it may be driven on."""

    left: float
    right: float
    surface: str
    ink: Ink
    drivable: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A painted lane line at ``d``: dashed where ``dash_m`` (on, off) says so; ``wear`` 0 fresh to 1 gone."""

    d: float
    width_m: float
    ink: Ink
    dash_m: tuple[float, float] | None = None
    wear: float = 0.0
    span: tuple[float, float] = (-1e4, 1e4)


@dataclass(frozen=True, slots=True)
class Mark:
    """Paint on the road that is no lane line: a polygon of (s, d) corners (n,2)."""

    corners: NDArray[np.float64]
    ink: Ink
    wear: float = 0.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """A road that crosses: from ``near`` to ``far`` along s, its corners rounded by ``corner_m``."""

    near: float
    far: float
    corner_m: float


@dataclass(frozen=True, slots=True)
class Road:
    """The way, its cross-section from left to right, what is painted on it, and what crosses it."""

    way: Way
    bands: tuple[Band, ...]
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    ragged_m: float = 0.0
    """How far the edges between its bands wander."""
    seed: int = 0
    offset_m: float = 0.0
    """Road metres that lie behind: textures and dashes stay where they are while the camera moves."""
