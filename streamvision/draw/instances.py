"""Objects as a network outlines them: translucent masks with a crisp border, and keypoints as dots.

Only a mask's own window of the picture is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from streamvision.draw.palette import DARK, RGB
from streamvision.draw.strokes import SHIFT, point, polyline, stroke_px
from streamvision.masks import patch, polygons
from streamvision.types import Detections, Masks, UInt8

_TINT = 0.38
_MAX_POINTS = 200
_CENTRE = np.float32(0.5)
"""cv2 counts from the first pixel's centre, everything else here from its corner."""


def draw_instances(
    canvas: UInt8, found: Detections, shown: Sequence[tuple[int, RGB]], source_wh: tuple[int, int]
) -> None:
    """Draw masks and keypoints of ``shown`` rows of the detections, each in its colour, in place.

    ``source_wh`` is the size of the picture that the detections are about; the canvas may have any size.
    """
    if found.masks is not None:
        for index, colour in reversed(shown):  # the surest on top
            _fill(canvas, found.masks, index, colour, source_wh)
        for index, colour in reversed(shown):
            _border(canvas, found.masks, index, colour, source_wh)
    if found.keypoints is not None:
        for index, colour in shown:
            _dots(canvas, found.keypoints[index] * _scale(canvas, source_wh), colour)


def _scale(canvas: UInt8, source_wh: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.divide(canvas.shape[1::-1], source_wh, dtype=np.float32)


@cache
def _tint(colour: RGB) -> UInt8:
    """Return what becomes of each value of each channel (1,256,3) under a colour."""
    values = np.arange(256)[None, :, None]
    return np.round(values * (1 - _TINT) + np.array(colour) * _TINT).astype(np.uint8)


def _fill(canvas: UInt8, masks: Masks, index: int, colour: RGB, source_wh: tuple[int, int]) -> None:
    seen = patch(masks, index, source_wh, (canvas.shape[1], canvas.shape[0]))
    if not seen.pixels.size:
        return
    (x, y), (height, width) = seen.origin_xy, seen.pixels.shape
    part = canvas[y : y + height, x : x + width]
    cv2.copyTo(cv2.LUT(part, _tint(colour)), seen.pixels.view(np.uint8), part)


def _border(canvas: UInt8, masks: Masks, index: int, colour: RGB, source_wh: tuple[int, int]) -> None:
    scale = _scale(canvas, source_wh)
    tolerance_px = 0.4 / float(scale.max())
    for outline in polygons(masks, index, source_wh, tolerance_px=tolerance_px, max_points=_MAX_POINTS):
        polyline(canvas, outline * scale - _CENTRE, colour, stroke_px(canvas), closed=True)


def _dots(canvas: UInt8, points: np.ndarray[tuple[int, ...], np.dtype[np.float32]], colour: RGB) -> None:
    """Mark keypoints (K,2) in canvas px; such that are not finite are not there."""
    radius = stroke_px(canvas) + 1
    for place in points[np.isfinite(points).all(axis=1)]:
        at = point(np.clip(place - _CENTRE, -radius, np.add(canvas.shape[1::-1], radius)).astype(np.float32))
        cv2.circle(canvas, at, (radius + 1) << SHIFT, DARK, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(canvas, at, radius << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)
