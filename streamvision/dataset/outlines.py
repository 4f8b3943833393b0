"""Shapes of objects as annotation files give them: polygons, or COCO's run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.dataset.values import Outline
from streamvision.masks import Patch, from_text, rle
from streamvision.types import Float32, UInt8


def bitmap(outline: Outline, size_wh: tuple[int, int]) -> UInt8:
    """Return where an object is: (h,w) uint8, 0 or 1. A pixel belongs to a polygon where its centre lies in it."""
    if isinstance(outline, Mapping):
        return _from_runs(outline)
    canvas = np.zeros(size_wh[::-1], np.uint8)
    return fill(canvas, outline)


def fill(canvas: UInt8, polygons: Sequence[NDArray[Any]]) -> UInt8:
    """Set a raster (h,w) to 1 inside polygons (k,2), px of the raster, and return it; several are a union.

    A pixel belongs to a polygon where its centre does, by the even-odd rule. cv2 would add the border's pixels.
    """
    for polygon in polygons:
        rows, columns = _crossings(np.asarray(polygon, np.float64), canvas.shape[0])
        if len(rows):
            top, bottom = int(rows.min()), int(rows.max()) + 1
            left, right = (int(side) for side in columns.clip(0, canvas.shape[1])[[columns.argmin(), columns.argmax()]])
            width = right - left + 1
            places = (rows - top) * width + columns.clip(left, right) - left
            flips = np.bincount(places, minlength=(bottom - top) * width).reshape(bottom - top, width)
            canvas[top:bottom, left:right] |= (np.cumsum(flips[:, :-1], axis=1) & 1).astype(np.uint8)
    return canvas


def _crossings(points: NDArray[np.float64], height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for every crossing of a side with the middle of a row that row, and the first pixel behind it."""
    x, y = points.T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    first = np.ceil(np.minimum(y, y_next) - 0.5).clip(0, height).astype(np.int64)
    counts = np.ceil(np.maximum(y, y_next) - 0.5).clip(0, height).astype(np.int64) - first
    side = np.repeat(np.arange(len(x)), counts)
    rows = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (rows + 0.5 - y[side]) / (y_next[side] - y[side])
    return rows, np.ceil(x[side] + share * (x_next[side] - x[side]) - 0.5).clip(-(2**40), 2**40).astype(np.int64)


def moved(outline: Outline, matrix: NDArray[np.float64], source_wh: tuple[int, int], size_wh: tuple[int, int]) -> UInt8:
    """Return an object's bitmap (h,w) of ``size_wh`` after an affine map (2,3) from source px to its px."""
    if not isinstance(outline, Mapping):
        straight = [np.asarray(one, np.float64) @ matrix[:, :2].T + matrix[:, 2] for one in outline]
        return fill(np.zeros(size_wh[::-1], np.uint8), straight)
    stored = bitmap(outline, source_wh)
    return np.asarray(cv2.warpAffine(stored, centred(matrix), size_wh, flags=cv2.INTER_NEAREST), np.uint8)


def centred(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an affine map (2,3) between outer borders of pixels as cv2 wants it: between their centres."""
    half = np.full(2, 0.5)
    return np.column_stack([matrix[:, :2], matrix[:, :2] @ half + matrix[:, 2] - half])


def box(outline: Outline) -> Float32 | None:
    """Return the box (4,) around an outline, xyxy px; None where there is nothing in it."""
    if isinstance(outline, Mapping):
        rows, columns = np.nonzero(_from_runs(outline))
        if not len(rows):
            return None
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    parts = [np.asarray(one, np.float32).reshape(-1, 2) for one in outline]
    if not any(map(len, parts)):
        return None
    points = np.concatenate(parts)
    return np.concatenate([points.min(0), points.max(0)]).astype(np.float32)


def area(outline: Outline, size_wh: tuple[int, int]) -> float:
    """Return how many pixels an outline covers."""
    return float(np.count_nonzero(bitmap(outline, size_wh)))


def runs_problem(outline: Mapping[str, object], size_wh: tuple[int, int]) -> str | None:
    """Say why COCO's run lengths cannot be a mask of a picture of that size; None if they can."""
    size, pixels = outline.get("size"), size_wh[0] * size_wh[1]
    if not isinstance(size, list | tuple) or list(size) != [size_wh[1], size_wh[0]]:
        return f"its size is {size!r}, not [height, width] of the picture"
    try:
        counts = _counts(outline)
    except (ValueError, OverflowError) as error:
        return str(error)
    if (counts < 0).any() or (counts > pixels).any():  # their sum might have wrapped around
        return f"its run lengths cannot add up to the {pixels} pixels: one is negative, or more than all of them"
    if counts.sum() != pixels:
        return f"its run lengths add up to {int(counts.sum())}, not to the {pixels} pixels"
    return None


def _counts(outline: Mapping[str, object]) -> NDArray[np.int64]:
    counts = outline.get("counts")
    if isinstance(counts, str):
        return from_text(counts)
    if not isinstance(counts, list) or not all(type(one) is int for one in counts):
        raise ValueError("its counts are neither COCO's text nor a list of whole numbers")
    return np.asarray(counts, np.int64)


def _from_runs(outline: Mapping[str, object]) -> UInt8:
    size: Any = outline["size"]
    height, width = size
    counts = _counts(outline)
    inside = (np.arange(len(counts)) % 2).astype(np.uint8)
    return np.repeat(inside, counts).reshape(width, height).T.copy()


def runs(outline: Outline, size_wh: tuple[int, int]) -> dict[str, object]:
    """Return an outline as COCO's compressed run lengths, ready for JSON."""
    return rle(Patch(bitmap(outline, size_wh).astype(np.bool_), (0, 0), size_wh))
