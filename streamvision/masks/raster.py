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
    values, region = masks.values[index], masks.region[index].tolist()
    inside = values > 0
    x, columns = _pixels(inside.any(axis=0), (region[0], region[2]), source_wh[0], size_wh[0])
    y, rows = _pixels(inside.any(axis=1), (region[1], region[3]), source_wh[1], size_wh[1])
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


def span(alive: Bitmap, side: tuple[float, float]) -> tuple[float, float]:
    """Return from where to where along one side of a region (source px) a mask can be positive; (0, 0) for nowhere.

    ``alive`` (n,) tells which of the side's samples have anything positive across: from one of them the field is
    positive to the centre of the next at most, and at the border to the border.
    """
    found = np.flatnonzero(alive)
    if not len(found) or not side[0] < side[1]:
        return 0.0, 0.0
    step = (side[1] - side[0]) / len(alive)
    first, last = int(found[0]), int(found[-1])
    low = side[0] + (first - 0.5) * step if first else side[0]
    high = side[0] + (last + 1.5) * step if last < len(alive) - 1 else side[1]
    return low, high


def _pixels(alive: Bitmap, side: tuple[float, float], source: int, size: int) -> tuple[int, Float64]:
    """Return the first pixel that a mask may cover along one side, and where in samples the pixels' centres lie.

    A centre on the region's border belongs to the region that begins there.
    """
    low, high = span(alive, side)
    first = max(0, math.ceil(low * size / source - 0.5))
    end = min(size, math.ceil(high * size / source - 0.5))
    if end <= first:
        return 0, np.zeros(0)
    centres = (np.arange(first, end, dtype=np.float64) + 0.5) * (source / size)
    return first, to_samples(centres, side, len(alive))


def to_samples(at: Float64, side: tuple[float, float], count: int) -> Float64:
    """Return positions in source px along one side of a region in samples: 0 is the centre of the first."""
    return (at - side[0]) * (count / (side[1] - side[0])) - 0.5


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
