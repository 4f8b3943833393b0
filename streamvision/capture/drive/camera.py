"""What the road needs to know of a camera that looks along it: (0, 0, height), yaw 0; its pitch and roll are free.

Whoever looks aside sees a road whose first metre runs askew: the yaw is the road's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import NEAR_M, Camera, Points


def upright(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far (h,w; px) right of and below the optical axis each pixel would lie if the camera did not roll."""
    width, height = camera.size_wh
    across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None, :]
    below = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    sin, cos = np.float32(np.sin(camera.roll)), np.float32(np.cos(camera.roll))
    return across * cos - below * sin, below * cos + across * sin


def row(camera: Camera, y: Points, z: Points) -> tuple[Points, Points]:
    """Return how far (px) below the optical axis, roll apart, points ahead lie, and their depths in metres."""
    sin, cos = np.sin(camera.pitch), np.cos(camera.pitch)
    drop = camera.position[2] - z
    depth = np.maximum(y * cos + drop * sin, NEAR_M)
    return np.asarray(camera.focal_px * (drop * cos - y * sin) / depth), np.asarray(depth)


def horizon(camera: Camera) -> float:
    """Return how far (px) below the optical axis the level horizon lies; negative where it lies above."""
    return float(-camera.focal_px * np.tan(camera.pitch))
