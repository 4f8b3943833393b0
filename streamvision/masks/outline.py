"""Masks -> polygons: the border of an object as a person would draw it, finer than a pixel.

The border is where the mask's field crosses zero, found by marching squares (Lorensen and Cline, "Marching Cubes",
1987, in the plane) on the raster as the network made it, so that the cost does not grow with the picture. Saddles are
settled by the value in the middle of the cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.masks.raster import Float64, extent, sample, to_samples
from streamvision.types import Float32, Masks

_COARSER = 1.4
_LEAST_PX = 0.01


def polygon(
    masks: Masks, index: int, source_wh: tuple[int, int], *, tolerance_px: float = 1.0, max_points: int = 64
) -> Float32 | None:
    """Return the outer border (P,2) of an object's largest part in source px; see `polygons`. None: it has no part."""
    parts = _parts(masks, index, source_wh)
    return _simple(parts[0], source_wh, tolerance_px, max_points) if parts else None


def polygons(
    masks: Masks, index: int, source_wh: tuple[int, int], *, tolerance_px: float = 1.0, max_points: int = 64
) -> list[Float32]:
    """Return the outer borders of an object's parts, each (P,2) float32 in source px, the largest first.

    They run clockwise as seen on the screen, from 3 to ``max_points`` (4 at least) points, inside the picture; holes
    are filled. A border is off by ``tolerance_px`` at most, or by more where so many points do not suffice. A part
    thinner than that is given as the smallest rectangle around it.
    """
    return [_simple(part, source_wh, tolerance_px, max_points) for part in _parts(masks, index, source_wh)]


def _parts(masks: Masks, index: int, source_wh: tuple[int, int]) -> list[Float64]:
    """Return the exact outer borders (P,2), the largest area first."""
    (x1, y1), (x2, y2) = extent(masks, index)
    values, region = masks.values[index], masks.region[index].tolist()
    x = _knots(values.shape[1], (region[0], region[2]), max(x1, 0.0), min(x2, float(source_wh[0])))
    y = _knots(values.shape[0], (region[1], region[3]), max(y1, 0.0), min(y2, float(source_wh[1])))
    columns, rows = to_samples(masks, index, x, y)
    if not len(columns):
        return []
    field = np.pad(sample(values, rows, columns), 1, constant_values=-1.0).astype(np.float64)
    border = [_points(loop, field, _doubled(x), _doubled(y)) for loop in _loops(field)]
    sized = sorted(((_area(points), points) for points in border), key=lambda pair: -pair[0])
    return [points for area, points in sized if area > 0]


def _knots(count: int, side: tuple[float, float], low: float, high: float) -> Float64:
    """Return the ends of what is seen and between them the centres of ``count`` samples along a side (source px)."""
    if low >= high:
        return np.zeros(0)
    centres = side[0] + (np.arange(count) + 0.5) * ((side[1] - side[0]) / count)
    return np.concatenate(([low], centres[(centres > low) & (centres < high)], [high]))


def _doubled(knots: Float64) -> Float64:
    """Return knots with both ends twice: what lies beyond is outside, and begins right there."""
    return np.concatenate((knots[:1], knots, knots[-1:]))


def _loops(field: Float64) -> Iterator[NDArray[np.int64]]:
    """Yield each closed border as numbers of the grid edges that it crosses, the object always on its right.

    Edge ``row * width + column`` leads from there to the right; after ``height * width`` of them come those that
    lead down.
    """
    following = _steps(field)
    while following:
        first, at = following.popitem()
        loop = [first]
        while at != first:
            loop.append(at)
            at = following.pop(at)
        yield np.array(loop)


def _steps(field: Float64) -> dict[int, int]:
    """Return for each crossed edge which one the border crosses next."""
    inside = field > 0
    corners = np.stack((inside[:-1, :-1], inside[:-1, 1:], inside[1:, 1:], inside[1:, :-1]))
    rows, columns = np.nonzero(corners.any(axis=0) & ~corners.all(axis=0))
    corners = corners[:, rows, columns]
    height, width = field.shape
    top = rows * width + columns
    edges = np.stack((top, top + height * width + 1, top + width, top + height * width))
    clockwise = np.roll(corners, -1, axis=0)
    leaves, enters = corners & ~clockwise, ~corners & clockwise
    # Going round the cell, the border begins where the object is left and ends where it is entered again.
    begin, end = edges[leaves.argmax(0), np.arange(len(top))], edges[enters.argmax(0), np.arange(len(top))]
    steps = dict(zip(begin.tolist(), end.tolist(), strict=True))
    saddles = np.flatnonzero(leaves.sum(axis=0) == 2)
    middle = field[rows, columns] + field[rows, columns + 1] + field[rows + 1, columns] + field[rows + 1, columns + 1]
    for cell in saddles.tolist():
        turn = 1 if middle[cell] > 0 else -1
        for side in np.flatnonzero(leaves[:, cell]).tolist():
            steps[int(edges[side, cell])] = int(edges[(side + turn) % 4, cell])
    return steps


def _points(loop: NDArray[np.int64], field: Float64, x: Float64, y: Float64) -> Float64:
    """Return where a border crosses its edges (P,2)."""
    height, width = field.shape
    down = loop >= height * width
    row, column = np.divmod(loop % (height * width), width)
    next_row, next_column = row + down, column + ~down
    here, there = field[row, column], field[next_row, next_column]
    share = here / (here - there)
    return np.stack((x[column] + share * (x[next_column] - x[column]), y[row] + share * (y[next_row] - y[row])), axis=1)


def _area(points: Float64) -> float:
    """Return a polygon's area, negative if it runs counter-clockwise on the screen: the border of a hole."""
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    return float(x @ next_y - next_x @ y) / 2


def _simple(points: Float64, source_wh: tuple[int, int], tolerance_px: float, max_points: int) -> Float32:
    """Return a border with fewer points (Douglas and Peucker, 1973)."""
    line = points.astype(np.float32)[:, None]
    coarse = cv2.approxPolyDP(line, tolerance_px, True)
    while len(coarse) > max_points:
        tolerance_px = max(_LEAST_PX, tolerance_px * _COARSER)
        coarse = cv2.approxPolyDP(line, tolerance_px, True)
    if len(coarse) < 3:
        coarse = cv2.boxPoints(cv2.minAreaRect(line))[:, None]
    return np.asarray(np.clip(coarse[:, 0], 0, source_wh), np.float32)
