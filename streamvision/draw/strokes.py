"""Anti-aliased strokes at sixteenths of a pixel, as wide as suits the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.draw.palette import RGB
from streamvision.types import UInt8

SHIFT = 4
"""cv2 draws at sixteenths of a pixel, so that slow boxes glide."""


def fixed(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return points as cv2's fixed-point integers."""
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def point(xy: NDArray[np.float32]) -> tuple[int, int]:
    """Return one point as cv2's fixed-point integers."""
    x, y = fixed(xy).tolist()
    return x, y


def stroke_px(canvas: UInt8) -> int:
    """Return the width of a line that suits a picture."""
    return int(max(1, round(min(canvas.shape[:2]) / 320)))


def polyline(canvas: UInt8, points: NDArray[np.float32], colour: RGB, thick: int, *, closed: bool = False) -> None:
    """Draw a line through points (N,2), in place."""
    cv2.polylines(canvas, [fixed(points)], closed, colour, thick, cv2.LINE_AA, SHIFT)
