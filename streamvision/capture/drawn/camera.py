"""A pinhole camera anywhere above the ground: metres (x east, y north, z up) -> pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
NEAR_M = 0.25
"""Nothing nearer than this is drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Where a camera stands and looks.

    position (3,) m; yaw rad, clockwise from north (+y); pitch rad, downwards; roll rad; focal_px. Pixels: x to the
    right, y down, the optical axis in the picture's centre.
    """

    size_wh: tuple[int, int]
    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal_px: float
    roll: float = 0.0
    axes: NDArray[np.float64] = field(init=False, repr=False)
    """Rows right, down, forward in metres' coordinates."""
    matrix: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width, height = self.size_wh
        axes = _axes(self.yaw, self.pitch, self.roll)
        intrinsic = np.array([[self.focal_px, 0, width / 2], [0, self.focal_px, height / 2], [0, 0, 1]])
        turned = -axes @ np.asarray(self.position, np.float64)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "matrix", intrinsic @ np.column_stack([axes, turned]))

    def scaled(self, factor: float) -> Camera:
        """Return the same camera with a picture that is larger by a factor."""
        width, height = self.size_wh
        size = (round(width * factor), round(height * factor))
        return replace(self, size_wh=size, focal_px=self.focal_px * factor)

    def project(self, points: Points) -> tuple[Points, Points]:
        """Return pixels (n,2) and depths (n,) in metres of points (n,3); meaningless where depth < `NEAR_M`."""
        homogeneous = points @ self.matrix[:, :3].T + self.matrix[:, 3]
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.maximum(depth, NEAR_M)[:, None], depth

    def plane(self, origin: Points, right: Points, down: Points) -> NDArray[np.float64]:
        """Return the 3x3 homography from (u, v) of the plane origin + u * right + v * down to pixels."""
        axes = np.column_stack([right, down, origin])
        return np.asarray(self.matrix[:, :3] @ axes + np.outer(self.matrix[:, 3], [0, 0, 1]))

    def rays(self) -> NDArray[np.float32]:
        """Return the direction (h,w,3) of every pixel's ray, one metre of depth long."""
        width, height = self.size_wh
        across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(self.focal_px)
        along = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(self.focal_px)
        right, down, forward = self.axes.astype(np.float32)
        return np.asarray(across[None, :, None] * right + along[:, None, None] * down + forward, np.float32)

    def ground_at(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Return the point (x, y) of the ground that a pixel shows; None at and above the horizon."""
        width, height = self.size_wh
        local = np.array([(x_px - width / 2) / self.focal_px, (y_px - height / 2) / self.focal_px, 1.0])
        ray = local @ self.axes
        if ray[2] > -1e-4:
            return None
        share = -self.position[2] / ray[2]
        return float(self.position[0] + ray[0] * share), float(self.position[1] + ray[1] * share)


def _axes(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([right * cos + down * sin, down * cos - right * sin, forward])
