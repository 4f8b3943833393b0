"""Pure functions on boxes, pictures and polygons. numpy only; coordinates are pixels unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-12
_MIN_LENGTH = 1e-4
_MIN_AREA = 1e-6

_ROUNDING_ERROR = 1e-6
"""A side that should fill the network's input exactly must not fall short of it by the last bit of a float."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """An affine map between a source picture and a network's input: model = source * scale + offset.

    ``inner_wh`` is the size of the scaled picture inside the input of ``model_wh``; the rest is padding.
    """

    source_wh: tuple[int, int]
    model_wh: tuple[int, int]
    inner_wh: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    @classmethod
    def fit(cls, source_wh: tuple[int, int], model_wh: tuple[int, int], *, centre: bool = True) -> Letterbox:
        """Keep the aspect ratio; the padding is on both sides, or right and below without ``centre``.

        Sizes between two pixels are rounded as those do who train such networks: to the nearest with the picture in
        the centre (Ultralytics), down with the picture top left (YOLOX). One pixel can cost a hundredth of the AP.
        """
        scale = min(model_wh[0] / source_wh[0], model_wh[1] / source_wh[1])
        sides = (source_wh[0] * scale, source_wh[1] * scale)
        whole = [round(side) if centre else int(side + _ROUNDING_ERROR) for side in sides]
        inner = (max(1, whole[0]), max(1, whole[1]))
        offset = ((model_wh[0] - inner[0]) // 2, (model_wh[1] - inner[1]) // 2) if centre else (0, 0)
        ratio = (inner[0] / source_wh[0], inner[1] / source_wh[1])
        return cls(source_wh, model_wh, inner, ratio, offset)

    @classmethod
    def stretch(cls, source_wh: tuple[int, int], model_wh: tuple[int, int]) -> Letterbox:
        """Fill the whole input, whatever the aspect ratio."""
        scale = (model_wh[0] / source_wh[0], model_wh[1] / source_wh[1])
        return cls(source_wh, model_wh, model_wh, scale, (0, 0))

    def to_source(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N,4) in model px to source px, clipped to the source picture."""
        offset = np.asarray(self.offset_xy * 2, np.float32)
        scale = np.asarray(self.scale_xy * 2, np.float32)
        limit = np.asarray(self.source_wh * 2, np.float32)
        return np.asarray(np.clip((xyxy - offset) / scale, 0, limit), np.float32)

    def points_to_source(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map points (..., 2) in model px to source px; they may lie outside the source picture."""
        offset = np.asarray(self.offset_xy, np.float32)
        scale = np.asarray(self.scale_xy, np.float32)
        return np.asarray((points - offset) / scale, np.float32)

    def to_model(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes (N,4) in source px to model px."""
        offset = np.asarray(self.offset_xy * 2, np.float32)
        scale = np.asarray(self.scale_xy * 2, np.float32)
        return np.asarray(xyxy * scale + offset, np.float32)

    def resized(self, model_wh: tuple[int, int]) -> Letterbox:
        """Return the same map onto a raster of another size, such as a network's smaller output, in whole pixels."""
        low, inner = [0, 0], [0, 0]
        for axis, (new, old) in enumerate(zip(model_wh, self.model_wh, strict=True)):
            low[axis] = round(self.offset_xy[axis] * new / old)
            inner[axis] = max(1, round((self.offset_xy[axis] + self.inner_wh[axis]) * new / old) - low[axis])
        scale = (inner[0] / self.source_wh[0], inner[1] / self.source_wh[1])
        return Letterbox(self.source_wh, model_wh, (inner[0], inner[1]), scale, (low[0], low[1]))


def box_areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the areas (N,) of boxes (N,4); an inside-out box has area 0."""
    sides = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union (N,M) of boxes (N,4) and (M,4); 0 where both are empty."""
    # One plane per coordinate: a trailing axis of two is three to ten times slower in numpy.
    a_x1, a_y1, a_x2, a_y2 = a.T[:, :, None]
    b_x1, b_y1, b_x2, b_y2 = b.T[:, None, :]
    shared = np.minimum(a_x2, b_x2) - np.maximum(a_x1, b_x1)
    height = np.minimum(a_y2, b_y2) - np.maximum(a_y1, b_y1)
    np.maximum(shared, 0, out=shared)
    shared *= np.maximum(height, 0, out=height)
    union = box_areas(a)[:, None] + box_areas(b)
    union -= shared
    shared /= np.maximum(union, np.finfo(np.float32).smallest_subnormal, out=union)
    return np.asarray(shared, np.float32)


def _following(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the end (P,2) of each side of a polygon; several times faster than ``np.roll``."""
    return np.concatenate([polygon[1:], polygon[:1]])


def _gaps(
    points: NDArray[np.float64], polygon: NDArray[np.float64], walls: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Return the distances (N,) of points (N,2) to the sides of a polygon (P,2) that are ``walls``."""
    start, side = polygon[None], (_following(polygon) - polygon)[None]
    if walls is not None:
        start, side = start[:, walls], side[:, walls]
    reach = points[:, None, :] - start
    length2 = np.maximum((side * side).sum(-1), np.finfo(np.float64).tiny)
    along = np.clip((reach * side).sum(-1) / length2, 0.0, 1.0)
    off = reach - along[..., None] * side
    return np.asarray(np.sqrt((off * off).sum(-1)).min(1, initial=np.inf), np.float64)


def points_in_polygon(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points (N,2) lie inside a simple polygon (P,2): even-odd rule, a ray to the right.

    A point exactly on the outline may come out either way; `polygon_depths` is exact there.
    """
    x, y = points[:, :1], points[:, 1:]
    (x1, y1), (x2, y2) = polygon.T, _following(polygon).T
    rise = np.where(y1 == y2, 1.0, y2 - y1)
    met = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / rise + x1)
    return np.asarray(met.sum(1) % 2 == 1, np.bool_)


def polygon_depths(
    points: NDArray[np.float64], polygon: NDArray[np.float64], walls: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return how deep (N,) points (N,2) lie inside a polygon (P,2): distance to its outline, negative outside.

    ``walls`` (P,) tells which sides count for the distance, side i going from point i to the next; without any the
    depth is infinite.
    """
    inside = points_in_polygon(points, polygon)
    gaps = _gaps(points, polygon, walls)
    return np.where(inside, gaps, -gaps)


def line_offsets(points: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances (N,) of points (N,2) from the infinite line through ``line`` (2,2).

    Positive to the right, looking from its first to its second point (with y down), negative to the left.
    """
    dx, dy = line[1] - line[0]
    reach = points - line[0]
    return np.asarray((reach[:, 1] * dx - reach[:, 0] * dy) / np.hypot(dx, dy), np.float64)


def line_positions(points: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where (N,) points (N,2) fall along ``line`` (2,2): 0 at its first point, 1 at its second."""
    side = line[1] - line[0]
    return np.asarray((points - line[0]) @ side / (side @ side), np.float64)


def segments_meet(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which segments (N,2,2) cross or touch the segments (N,2,2) of the same row."""
    near_a, far_a = _turn(b, a[:, 0]), _turn(b, a[:, 1])
    near_b, far_b = _turn(a, b[:, 0]), _turn(a, b[:, 1])
    crosses = (near_a * far_a < 0) & (near_b * far_b < 0)
    touches = (
        ((near_a == 0) & _within(b, a[:, 0]))
        | ((far_a == 0) & _within(b, a[:, 1]))
        | ((near_b == 0) & _within(a, b[:, 0]))
        | ((far_b == 0) & _within(a, b[:, 1]))
    )
    return np.asarray(crosses | touches, np.bool_)


def _turn(segments: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sign (N,) of the side on which points (N,2) lie; 0 on the line, up to rounding."""
    side, reach = segments[:, 1] - segments[:, 0], points - segments[:, 0]
    turn = side[:, 0] * reach[:, 1] - side[:, 1] * reach[:, 0]
    return np.where(np.abs(turn) < _ROUNDING, 0.0, np.sign(turn))


def _within(segments: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points (N,2) lie in the bounding boxes of segments (N,2,2)."""
    inside = (points >= segments.min(1) - _ROUNDING) & (points <= segments.max(1) + _ROUNDING)
    return np.asarray(inside.all(1), np.bool_)


def polygon_problem(points: Sequence[Sequence[float]]) -> str | None:
    """Say why a zone outline (fractions of the picture) can never work as one, and the remedy; None if it can."""
    outside = _outside_problem(points)
    if outside is not None:
        return outside
    if len(points) < 3:
        return f"a zone needs at least three points, not {len(points)}; list its corners in order"
    corners = np.asarray(points, np.float64)
    repeated = _repeated(corners)
    if repeated is not None:
        return f"points {repeated[0]} and {repeated[1]} are the same; write each corner once, the outline closes itself"
    if _area(corners) < _MIN_AREA:
        return "the zone has no area, nothing can be inside it; its corners must not lie on one line"
    return _crossing_problem(corners)


def line_problem(points: Sequence[Sequence[float]]) -> str | None:
    """Say why a counting line (fractions of the picture) can never be crossed, and the remedy; None if it can."""
    outside = _outside_problem(points)
    if outside is not None:
        return outside
    if len(points) != 2:
        return f"a line has two points, not {len(points)}; write [[x1, y1], [x2, y2]]"
    first, second = np.asarray(points, np.float64)
    if np.abs(second - first).max() < _MIN_LENGTH:
        return "the line has no length, nothing can cross it; its two points must differ"
    for axis, edge in ((0, "left"), (1, "top"), (0, "right"), (1, "bottom")):
        border = 0.0 if edge in ("left", "top") else 1.0
        if first[axis] == second[axis] == border:
            return f"the line lies on the picture's {edge} edge, nothing can be seen beyond it; move it inwards"
    return None


def _outside_problem(points: Sequence[Sequence[float]]) -> str | None:
    for number, (x, y) in enumerate(points, 1):
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return (
                f"point {number} ({x:g}, {y:g}) lies outside the picture; coordinates go from 0 to 1: "
                "divide pixels by the picture's width and height"
            )
    return None


def _repeated(corners: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the numbers (from 1) of the first two corners that are the same."""
    same = np.abs(corners[:, None] - corners[None]).max(-1) < _MIN_LENGTH
    pairs = np.argwhere(np.triu(same, 1))
    return None if len(pairs) == 0 else (int(pairs[0, 0]) + 1, int(pairs[0, 1]) + 1)


def _area(corners: NDArray[np.float64]) -> float:
    """Return the area that a fan of triangles covers: the shoelace formula without its signs.

    The signed sum is 0 for a figure of eight, whose mistake is another one.
    """
    first, second = corners[1:-1] - corners[0], corners[2:] - corners[0]
    return float(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2)


def _crossing_problem(corners: NDArray[np.float64]) -> str | None:
    sides = np.stack([corners, _following(corners)], axis=1)
    count = len(sides)
    first, second = np.triu_indices(count, 2)
    apart = (second + 1) % count != first
    first, second = first[apart], second[apart]
    meeting = np.flatnonzero(segments_meet(sides[first], sides[second]))
    if len(meeting) == 0:
        return None
    a, b = int(first[meeting[0]]), int(second[meeting[0]])
    return (
        f"the outline crosses itself: its side from point {a + 1} to {a + 2} meets its side from point {b + 1} "
        f"to {(b + 1) % count + 1}; list the corners in order around the zone"
    )
