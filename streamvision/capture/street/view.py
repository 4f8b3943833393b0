"""A pinhole camera above a street: metres (x along the street, y away from the camera, z up) -> pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_CAMERA = np.array([-8.0, -20.5, 11.5])
_PITCH = np.deg2rad(27.0)
_YAW = np.deg2rad(12.0)
_FOCAL = 0.86
"""In picture widths (of a 16:9 picture that covers the frame)."""


@dataclass(frozen=True, slots=True)
class View:
    """The street's camera for one picture size; other shapes than 16:9 show a part of the same scene."""

    size_wh: tuple[int, int]
    matrix: NDArray[np.float64] = field(init=False, repr=False)
    focal_px: float = field(init=False)

    def __post_init__(self) -> None:
        width, height = self.size_wh
        focal = _FOCAL * max(width, height * 16 / 9)
        object.__setattr__(self, "focal_px", focal)
        intrinsic = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        turn = _rotation()
        object.__setattr__(self, "matrix", intrinsic @ np.column_stack([turn, -turn @ _CAMERA]))

    def project(self, points: Points) -> tuple[Points, Points]:
        """Return pixels (n,2) and depths (n,) in metres of points (n,3)."""
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.maximum(depth, 0.1)[:, None], depth

    def plane(self, origin: Points, right: Points, down: Points) -> NDArray[np.float64]:
        """Return the 3x3 homography from (u, v) of the plane origin + u * right + v * down to pixels."""
        axes = np.column_stack([right, down, origin])
        return np.asarray(self.matrix[:, :3] @ axes + np.outer(self.matrix[:, 3], [0, 0, 1]))


def _rotation() -> NDArray[np.float64]:
    """Return the rows right, down, forward of the camera in street coordinates."""
    forward = np.array([np.sin(_YAW) * np.cos(_PITCH), np.cos(_YAW) * np.cos(_PITCH), -np.sin(_PITCH)])
    right = np.array([np.cos(_YAW), -np.sin(_YAW), 0.0])
    down: NDArray[Any] = np.cross(forward, right)
    return np.stack([right, down, forward])


TOWARDS_CAMERA = -_rotation()[2]
"""Unit vector from the scene to the camera."""
