"""Masks -> bitmaps, at the cost of the object's own window and not of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.types import Float32, Masks

Bitmap = NDArray[np.bool_]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The part of a bitmap that holds an object: pixels (h,w) bool, possibly empty; the rest is background.

    ``origin_xy`` is where its top left pixel lies in the bitmap of ``size_wh``.
    """

    pixels: Bitmap
    origin_xy: tuple[int, int]
    size_wh: tuple[int, int]

    @property
    def area(self) -> int:
        """How many pixels belong to the object."""
        return int(np.count_nonzero(self.pixels))

    def full(self) -> Bitmap:
        """Return the whole bitmap (height, width)."""
        canvas = np.zeros(self.size_wh[::-1], np.bool_)
        self.paint(canvas)
        return canvas

    def paint(self, canvas: Bitmap) -> None:
        """Write the patch into a bitmap (height, width) of the same picture."""
        (x, y), (height, width) = self.origin_xy, self.pixels.shape
        canvas[y : y + height, x : x + width] = self.pixels

    def iou(self, other: Patch) -> float:
        """Return the intersection over union with a patch of the same picture; 0 where both are empty."""
        if self.size_wh != other.size_wh:
            raise ValueError(f"patches of pictures of different sizes: {self.size_wh} and {other.size_wh}")
        shared = self._overlap(other)
        union = self.area + other.area - shared
        return shared / union if union else 0.0

    def _overlap(self, other: Patch) -> int:
        """Return how many pixels both have."""
        low = np.maximum(self.origin_xy, other.origin_xy)
        high = np.minimum(self._end_xy, other._end_xy)
        if (high <= low).any():
            return 0
        return int(np.count_nonzero(self._part(low, high) & other._part(low, high)))

    @property
    def _end_xy(self) -> tuple[int, int]:
        height, width = self.pixels.shape
        return self.origin_xy[0] + width, self.origin_xy[1] + height

    def _part(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> Bitmap:
        (x1, y1), (x2, y2) = (low - self.origin_xy).tolist(), (high - self.origin_xy).tolist()
        return self.pixels[y1:y2, x1:x2]


def patch(masks: Masks, index: int, source_wh: tuple[int, int], size_wh: tuple[int, int] | None = None) -> Patch:
    """Return one object's bitmap in a picture of ``source_wh``, shown at ``size_wh`` (the source's own by default)."""
    size_wh = size_wh or source_wh
    values = masks.values[index]
    (x1, y1), (x2, y2) = extent(masks, index)
    x, columns = _pixels((x1, x2), source_wh[0], size_wh[0])
    y, rows = _pixels((y1, y2), source_wh[1], size_wh[1])
    columns, rows = to_samples(masks, index, columns, rows)
    return Patch(sample(values, rows, columns) > 0, (x, y), size_wh)


def bitmap(masks: Masks, index: int, source_wh: tuple[int, int], size_wh: tuple[int, int] | None = None) -> Bitmap:
    """Return where one object is in the whole picture: (height, width) of ``size_wh``, by default the source's."""
    return patch(masks, index, source_wh, size_wh).full()


def bitmaps(masks: Masks, source_wh: tuple[int, int], size_wh: tuple[int, int] | None = None) -> Bitmap:
    """Return where every object is: (N, height, width) of ``size_wh``. 100 of them at 1080p are 207 MB: see `patch`."""
    width, height = size_wh or source_wh
    canvas = np.zeros((len(masks), height, width), np.bool_)
    for index, layer in enumerate(canvas):
        patch(masks, index, source_wh, size_wh).paint(layer)
    return canvas


def extent(masks: Masks, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the corners (source px) of a rectangle beyond which an object is not; (0, 0) twice for nowhere."""
    inside = masks.values[index] > 0
    x1, y1, x2, y2 = masks.region[index].tolist()
    left, right = _span(inside.any(axis=0), x1, x2)
    top, bottom = _span(inside.any(axis=1), y1, y2)
    if masks.bounds is not None:
        x1, y1, x2, y2 = masks.bounds[index].tolist()
        left, top, right, bottom = max(left, x1), max(top, y1), min(right, x2), min(bottom, y2)
    return ((left, top), (right, bottom)) if left < right and top < bottom else ((0.0, 0.0), (0.0, 0.0))


def _span(alive: Bitmap, low: float, high: float) -> tuple[float, float]:
    """Return from where to where between two sides of a region a mask can be positive.

    ``alive`` (n,) tells which samples have anything positive across: from one of them the field is positive to the
    centre of the next at most, and at the side to the side.
    """
    found = np.flatnonzero(alive)
    if not len(found):
        return high, low
    step = (high - low) / len(alive)
    first, last = int(found[0]), int(found[-1])
    return (
        low + (first - 0.5) * step if first else low,
        low + (last + 1.5) * step if last < len(alive) - 1 else high,
    )


def _pixels(side: tuple[float, float], source: int, size: int) -> tuple[int, Float64]:
    """Return the first pixel whose centre lies in ``side`` (source px), and where (source px) all such centres lie.

    A centre on the border belongs to the region that begins there.
    """
    first = max(0, math.ceil(side[0] * size / source - 0.5))
    end = min(size, math.ceil(side[1] * size / source - 0.5))
    if end <= first:
        return 0, np.zeros(0)
    return first, (np.arange(first, end, dtype=np.float64) + 0.5) * (source / size)


def to_samples(masks: Masks, index: int, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Return positions in source px as positions in an object's raster: 0 is the centre of its first sample."""
    height, width = masks.values.shape[1:]
    x1, y1, x2, y2 = masks.region[index].tolist()
    if not len(x) or not len(y):
        return np.zeros(0), np.zeros(0)
    return (x - x1) * (width / (x2 - x1)) - 0.5, (y - y1) * (height / (y2 - y1)) - 0.5


def sample(values: Float32, rows: Float64, columns: Float64) -> Float32:
    """Return the field (R,C) at positions in samples; beyond the outermost centres their values go on."""
    if not len(rows) or not len(columns):
        return np.zeros((len(rows), len(columns)), np.float32)
    across = np.ascontiguousarray(_between(values.T, columns).T)  # the few rows of the raster first
    return _between(across, rows)


def _between(values: Float32, at: Float64) -> Float32:
    """Interpolate linearly between the rows of ``values`` (n,...)."""
    last = len(values) - 1
    at = np.clip(at, 0, last)
    low = at.astype(np.intp)
    share = (at - low).astype(np.float32)[:, None]
    mixed = values[np.minimum(low + 1, last)]
    mixed *= share
    below = values[low]
    below *= 1 - share
    mixed += below
    return mixed
