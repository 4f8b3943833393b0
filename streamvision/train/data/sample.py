"""One picture on its way into a batch, and the affine maps that bring it there. numpy and cv2 only.

Every change of place and size is one affine map without rotation, from source px to px of the network's input:
boxes stay boxes, and pixels are touched once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import UNLABELLED, Objects
from streamvision.dataset.outlines import centred, moved
from streamvision.types import Float32, UInt8

Matrix = NDArray[np.float64]
Window = tuple[int, int, int, int]

MIN_SIDE_PX = 1.0
"""What is left of an object that is narrower is not an object any more."""
_TRACE = 0.02
"""Of an object of which less is visible nothing is said, not even that it is to be ignored."""
_SHRINK = 0.6
"""Below this scale bilinear sampling would skip pixels, so halves are averaged first."""


@dataclass(slots=True)
class Stored:
    """A picture as it is kept: rgb (h,w,3) at a bounded size, and label maps of any size over the same scene."""

    rgb: UInt8
    source_wh: tuple[int, int]
    objects: Objects | None
    maps: dict[str, UInt8] = field(default_factory=dict)
    label: int | None = None


@dataclass(slots=True)
class Sample:
    """A picture in the network's size and what it shows there; fields as in `networks.Target`, in numpy.

    index: which example of the set it is, the first one of several.
    """

    rgb: UInt8
    xyxy: Float32
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    known: bool
    masks: UInt8 | None = None
    maps: dict[str, UInt8] = field(default_factory=dict)
    label: int | None = None
    index: int = -1


def affine(scale_xy: tuple[float, float], offset_xy: tuple[float, float]) -> Matrix:
    """Return the map (2,3): ``point * scale + offset``."""
    return np.array([[scale_xy[0], 0, offset_xy[0]], [0, scale_xy[1], offset_xy[1]]], np.float64)


def mirrored(matrix: Matrix, width: int) -> Matrix:
    """Return the same map into a picture that is seen in a mirror."""
    return np.array([[-matrix[0, 0], 0, width - matrix[0, 2]], matrix[1]], np.float64)


def blank(size_wh: tuple[int, int], pad: int, maps: tuple[str, ...], *, masks: bool) -> Sample:
    """Return a picture without anything in it."""
    width, height = size_wh
    return Sample(
        np.full((height, width, 3), pad, np.uint8), np.empty((0, 4), np.float32), np.empty(0, np.int64),
        np.empty(0, np.bool_), True, np.empty((0, height, width), np.uint8) if masks else None,
        {name: np.full((height, width), UNLABELLED, np.uint8) for name in maps},
    )  # fmt: skip


def paint(sample: Sample, stored: Stored, matrix: Matrix, window: Window, keep: float) -> None:
    """Draw a picture into a window (xyxy px) of a sample, and add what it shows there.

    ``keep``: which share of an object must be visible for it to count.
    """
    x1, y1, x2, y2 = window
    local = matrix - np.array([[0, 0, x1], [0, 0, y1]])
    size_wh = (x2 - x1, y2 - y1)
    if min(size_wh) < 1:
        return
    _warp(stored.rgb, _from_raster(local, stored.source_wh, stored.rgb), sample.rgb[y1:y2, x1:x2])
    for name, raster in stored.maps.items():
        map_matrix = centred(_from_raster(local, stored.source_wh, raster))
        sample.maps[name][y1:y2, x1:x2] = cv2.warpAffine(
            raster, map_matrix, size_wh, flags=cv2.INTER_NEAREST, borderValue=UNLABELLED
        )
    if stored.objects is not None and len(stored.objects):
        _add_objects(sample, stored, matrix, window, keep)


def box_map(xyxy: Float32, matrix: Matrix) -> Float32:
    """Return boxes (N,4) after an affine map without rotation; a mirror exchanges left and right."""
    ends = xyxy.reshape(-1, 2, 2) * matrix[[0, 1], [0, 1]] + matrix[:, 2]
    return np.concatenate([ends.min(1), ends.max(1)], axis=1).astype(np.float32)


def _from_raster(matrix: Matrix, source_wh: tuple[int, int], raster: UInt8) -> Matrix:
    """Return a map from source px as the map from px of a raster of another size."""
    height, width = raster.shape[:2]
    return np.asarray(matrix * np.array([[source_wh[0] / width, source_wh[1] / height, 1.0]]), np.float64)


def _warp(rgb: UInt8, matrix: Matrix, target: UInt8) -> None:
    """Draw a picture into ``target`` (a view); where it does not reach, what is there stays."""
    while min(abs(matrix[0, 0]), matrix[1, 1]) < _SHRINK and min(rgb.shape[:2]) >= 2:
        half = cv2.resize(rgb, (max(1, rgb.shape[1] // 2), max(1, rgb.shape[0] // 2)), interpolation=cv2.INTER_AREA)
        matrix = matrix * np.array([[rgb.shape[1] / half.shape[1], rgb.shape[0] / half.shape[0], 1.0]])
        rgb = np.asarray(half, np.uint8)
    height, width = target.shape[:2]
    corners = np.array([[0, 0, rgb.shape[1], rgb.shape[0]]], np.float32)
    left, top, right, bottom = box_map(corners, matrix)[0].round().astype(int).clip(0, [width, height] * 2).tolist()
    if right <= left or bottom <= top:
        return
    shifted = centred(matrix - np.array([[0, 0, left], [0, 0, top]]))
    target[top:bottom, left:right] = cv2.warpAffine(
        rgb, shifted, (right - left, bottom - top), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _add_objects(sample: Sample, stored: Stored, matrix: Matrix, window: Window, keep: float) -> None:
    objects = stored.objects
    assert objects is not None
    whole = box_map(objects.xyxy, matrix)
    low, high = (np.array(corner * 2, np.float32) for corner in (window[:2], window[2:]))
    seen = whole.clip(low, high)
    share = _areas(seen) / np.maximum(_areas(whole), 1e-9)
    there = (share > _TRACE) & ((seen[:, 2:] - seen[:, :2]).min(1) >= MIN_SIDE_PX)
    rows = np.flatnonzero(there)
    sample.xyxy = np.concatenate([sample.xyxy, seen[rows]])
    sample.labels = np.concatenate([sample.labels, objects.class_id[rows].astype(np.int64)])
    sample.ignore = np.concatenate([sample.ignore, objects.ignore[rows] | (share[rows] < keep)])
    if sample.masks is not None and len(rows):
        sample.masks = np.concatenate([sample.masks, _masks(stored, rows, matrix, window, sample.rgb.shape[:2])])


def _areas(xyxy: Float32) -> NDArray[np.float64]:
    sides = (xyxy[:, 2:] - xyxy[:, :2]).astype(np.float64)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _masks(stored: Stored, rows: NDArray[np.int64], matrix: Matrix, window: Window, shape: tuple[int, int]) -> UInt8:
    """Return the bitmaps (n,h,w) of some objects in the network's input; an object without an outline is its box."""
    objects = stored.objects
    assert objects is not None
    masks = np.zeros((len(rows), *shape), np.uint8)
    x1, y1, x2, y2 = window
    for mask, row in zip(masks, rows.tolist(), strict=True):
        left, top, right, bottom = objects.xyxy[row].tolist()
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
        outline = [corners] if objects.outlines is None else objects.outlines[row]
        whole = moved(outline, matrix, stored.source_wh, (shape[1], shape[0]))
        mask[y1:y2, x1:x2] = whole[y1:y2, x1:x2]
    return masks
