"""Masks from prototypes: one product of matrices for all objects of a picture, then only their own windows.

The raster of each object is a window on the prototypes as large as the largest box needs, so that 100 small objects do
not cost 100 pictures of memory. Where a mask leaves its box it ends: see ``bounds`` of `Masks`.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from streamvision.geometry import Letterbox
from streamvision.types import Float32, Masks

Intp = NDArray[np.intp]

_PIECE = 2**17
"""Multiplications in one call of BLAS; OpenBLAS takes more than one thread from twice as many on."""


def assemble(coefficients: Float32, prototypes: Float32, xyxy: Float32, letterbox: Letterbox) -> Masks:
    """Return the masks of boxes (N,4) in model px, made of coefficients (N,c) and prototypes (c,h,w), as logits."""
    height, width = prototypes.shape[1:]
    if not len(coefficients):
        return Masks(np.empty((0, 1, 1), np.float32), np.empty((0, 4), np.float32), np.empty((0, 4), np.float32))
    stride = np.divide(letterbox.model_wh, (width, height), dtype=np.float32)
    bounds = letterbox.to_source(xyxy)
    # Without what lies in the padding. A box that is no number is dropped by the caller, but has an index until then.
    boxes = np.nan_to_num(letterbox.to_model(bounds) / np.tile(stride, 2))
    left, columns = _windows(boxes[:, 0], boxes[:, 2], width)
    top, rows = _windows(boxes[:, 1], boxes[:, 3], height)
    # Only the rows in which there is any object; above and below them is often padding.
    first, end = int(top.min()), int(top.max()) + rows
    fields, group, place = _fields(coefficients, prototypes[:, first:end])
    windows = sliding_window_view(fields, (rows, columns), axis=(1, 3))
    values = windows[group, top - first, place, left]
    corner = np.stack((left, top), axis=1)
    ends = np.stack((corner, corner + np.array((columns, rows))), axis=1).astype(np.float32)
    return Masks(values, letterbox.points_to_source(ends * stride).reshape(-1, 4), bounds)


def _fields(coefficients: Float32, prototypes: Float32) -> tuple[Float32, Intp, Intp]:
    """Return the sums (groups,h,objects of a group,w), and group and place (N,) of each object.

    In one piece the product would be worth several threads to BLAS, which wait for one another where an engine has the
    cores: measured, 0.6 ms alone and 20 to 40 ms beside one. These pieces stay in the calling thread: 0.9 ms always.
    """
    count, (depth, _, width) = len(coefficients), prototypes.shape
    per = max(1, _PIECE // (depth * width))
    groups = -(-count // per)
    padded = np.zeros((groups * per, depth), np.float32)
    padded[:count] = coefficients
    number = np.arange(count)
    sums = np.matmul(padded.reshape(groups, 1, per, depth), prototypes.transpose(1, 0, 2)[None])
    return sums, number // per, number % per


def _windows(low: Float32, high: Float32, count: int) -> tuple[Intp, int]:
    """Return the first sample (N,) of a window on one side for each box, and how many samples all of them have.

    A window holds every sample within its box and the next one on both ends, if there is one.
    """
    first = np.clip(np.floor(low - 0.5), 0, count - 1).astype(np.intp)
    end = np.clip(np.ceil(high - 0.5) + 1, 1, count).astype(np.intp)
    size = int((end - first).max())
    return np.minimum(first, count - size), size
