"""Masks from prototypes: one product of matrices for all objects of a picture, then only their own windows.

The raster of each object is its box's window on the prototypes, one sample wider on each side, so that 100 small
objects do not cost 100 pictures of memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import Letterbox
from streamvision.types import Float32, Masks

Intp = NDArray[np.intp]

_OUTSIDE = np.float32(-1.0)


def assemble(coefficients: Float32, prototypes: Float32, xyxy: Float32, letterbox: Letterbox) -> Masks:
    """Return the masks of boxes (N,4) in model px, made of coefficients (N,c) and prototypes (c,h,w), as logits."""
    depth, height, width = prototypes.shape
    fields = (coefficients @ prototypes.reshape(depth, -1)).reshape(-1, height, width)
    stride = np.divide(letterbox.model_wh, (width, height), dtype=np.float32)
    bounds = letterbox.to_source(xyxy)
    boxes = letterbox.to_model(bounds) / np.tile(stride, 2)  # without what lies in the padding
    left, right = _window(boxes[:, 0], boxes[:, 2], width)
    top, bottom = _window(boxes[:, 1], boxes[:, 3], height)
    values = _cropped(fields, left, right, top, bottom)
    low = np.stack((left, top), axis=1)
    ends = np.stack((low, low + values.shape[:0:-1]), axis=1).astype(np.float32)
    return Masks(values, letterbox.points_to_source(ends * stride).reshape(-1, 4), bounds)


def _window(low: Float32, high: Float32, count: int) -> tuple[Intp, Intp]:
    """Return the first sample (N,) of a side and the one after the last: those inside, and the next on both ends."""
    first = np.clip(np.floor(low - 0.5), 0, count - 1).astype(np.intp)
    end = np.clip(np.ceil(high - 0.5) + 1, 1, count).astype(np.intp)
    return first, np.maximum(end, first + 1)


def _cropped(fields: Float32, left: Intp, right: Intp, top: Intp, bottom: Intp) -> Float32:
    """Return the windows (N,H,W) of fields, as large as the largest needs, at the top left; the rest is outside."""
    shape = (max((bottom - top).max(initial=1), 1), max((right - left).max(initial=1), 1))
    values = np.full((len(fields), *shape), _OUTSIDE)
    windows = zip(values, fields, left.tolist(), right.tolist(), top.tolist(), bottom.tolist(), strict=True)
    for value, field, x1, x2, y1, y2 in windows:
        value[: y2 - y1, : x2 - x1] = field[y1:y2, x1:x2]
    return values
