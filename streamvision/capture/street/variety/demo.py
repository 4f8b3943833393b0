"""`demo:street` itself as training pictures: other seeds and times, whole or in part, in other cameras' quality."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn import Drawn
from streamvision.capture.street.figures import stencil
from streamvision.capture.street.render import Painter, Seen, seen
from streamvision.types import UInt8

_FIRST_SEED = 100
"""Lower seeds are for tests and for measuring."""
_SEEDS = 60
_ROW = 64
"""So many pictures on end show the same street: painting it anew takes a second."""
_SIZE = (1024, 576)
_ROADS = ((1.78, 5.25), (7.65, 11.02))
_LINES = (1.78, 11.02)
_DASHES = ((5.08, 5.18), (7.82, 7.92))


def demo_sample(seed: int, index: int, size_wh: tuple[int, int]) -> Drawn:
    """Return the street of a seed from 100 on at some time: all of it, or a part that is seen larger."""
    rng = np.random.default_rng([seed, index, 43])
    street, time_s = street_seed(seed, index), float(rng.uniform(0, 4000))
    painter = _painter(street)
    window = _window(rng, size_wh)
    crowd = seen(street, painter.view, time_s)
    owners, whole = _owners(painter, crowd, window)
    x1, y1, x2, y2 = window
    picture = cv2.cvtColor(painter.i420(time_s), cv2.COLOR_YUV2BGR_I420)[y1:y2, x1:x2]
    bgr = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if x2 - x1 > size_wh[0] else cv2.INTER_LINEAR)
    return _drawn(bgr, crowd, owners, whole, _maps(painter, owners, window, size_wh), window)


def street_seed(seed: int, index: int) -> int:
    """Return which street a picture shows."""
    return _FIRST_SEED + (seed * 7919 + index // _ROW) % _SEEDS


@lru_cache(maxsize=2)
def _painter(street: int) -> Painter:
    return Painter(street, _SIZE)


def _window(rng: np.random.Generator, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of the street that is shown: in the picture's shape, from a third to all of it."""
    share = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.34, 1.0))
    wide = min(_SIZE[0], _SIZE[1] * size_wh[0] / size_wh[1]) * share
    width, height = round(wide), round(wide * size_wh[1] / size_wh[0])
    height = min(height, _SIZE[1])
    x, y = int(rng.integers(0, _SIZE[0] - width + 1)), int(rng.integers(0, _SIZE[1] - height + 1))
    return x, y, x + width, y + height


def _owners(
    painter: Painter, crowd: list[Seen], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.int32], list[int]]:
    """Return who (h,w: 1 + a row, 0 nobody) is seen in the window, and how many pixels each has there if alone."""
    x1, y1, x2, y2 = window
    canvas = np.zeros((y2 - y1, x2 - x1), np.int32)
    whole = []
    for number, one in enumerate(crowd, start=1):
        alone = np.zeros(canvas.shape, np.uint8)
        stencil(alone, one.placed, (x1, y1))
        whole.append(int(np.count_nonzero(alone)))
        canvas[alone > 0] = number
        for occluder in painter.occluders:
            if occluder.depth_m < one.placed.depth_m:
                _hide(canvas, number, occluder.cover, occluder.left - x1, occluder.top - y1)
    return canvas, whole


def _hide(canvas: NDArray[np.int32], number: int, cover: UInt8, left: int, top: int) -> None:
    """Take from a number what a piece of furniture covers, in place."""
    bottom, right = min(top + cover.shape[0], canvas.shape[0]), min(left + cover.shape[1], canvas.shape[1])
    if bottom <= max(top, 0) or right <= max(left, 0):
        return
    part = canvas[max(top, 0) : bottom, max(left, 0) : right]
    hidden = cover[max(top, 0) - top : bottom - top, max(left, 0) - left : right - left] > 127
    part[hidden & (part == number)] = 0


def _maps(painter: Painter, owners: NDArray[np.int32], window: tuple[int, int, int, int],
          size_wh: tuple[int, int]) -> tuple[UInt8, UInt8]:  # fmt: skip
    """Return the carriageway and its lane lines where nobody stands and no furniture hides them."""
    x1, y1, x2, y2 = window
    road, line = _ground_maps(painter.seed)
    covered = (owners > 0) | (_furniture(painter.seed)[y1:y2, x1:x2])
    return tuple(  # type: ignore[return-value]
        np.asarray(cv2.resize(np.where(covered, 0, layer[y1:y2, x1:x2]).astype(np.float32), size_wh,
                              interpolation=cv2.INTER_AREA) > 0.5, np.uint8) for layer in (road, line)
    )  # fmt: skip


@lru_cache(maxsize=2)
def _furniture(street: int) -> NDArray[np.bool_]:
    hidden = np.zeros(_SIZE[::-1], np.bool_)
    for one in _painter(street).occluders:
        height, width = one.cover.shape
        hidden[one.top : one.top + height, one.left : one.left + width] |= one.cover > 127
    return hidden


@lru_cache(maxsize=2)
def _ground_maps(street: int) -> tuple[UInt8, UInt8]:
    """Return the carriageway and the lane lines (h,w) 0/1 of the empty street."""
    view, shape = _painter(street).view, _SIZE[::-1]
    road, line = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)

    def fill(layer: UInt8, x0: float, x1: float, y0: float, y1: float) -> None:
        corners = np.array([(x0, y0, 0), (x1, y0, 0), (x1, y1, 0), (x0, y1, 0)], np.float64)
        pixels = np.round(np.clip(view.project(corners)[0], -2e4, 2e4) * 16).astype(np.int32)
        cv2.fillConvexPoly(layer, pixels, (1,), cv2.LINE_8, 4)

    for low, high in _ROADS:
        fill(road, -34.0, 42.0, low, high)
    for y in _LINES:
        fill(line, -34.0, 42.0, y - 0.06, y + 0.06)
    for low, high in _DASHES:
        for x in np.arange(-34.0, 42.0, 3.0):
            fill(line, x, x + 1.4, low, high)
    return road, line


def _drawn(bgr: UInt8, crowd: list[Seen], owners: NDArray[np.int32], whole: list[int], maps: tuple[UInt8, UInt8],
           window: tuple[int, int, int, int]) -> Drawn:  # fmt: skip
    x1, y1, x2, y2 = window
    left = np.bincount(owners.ravel(), minlength=len(crowd) + 1)[1:]
    scale = np.array([bgr.shape[1] / (x2 - x1), bgr.shape[0] / (y2 - y1)] * 2)
    rows, boxes = [], []
    for row, one in enumerate(crowd):
        box = np.clip(np.asarray(one.xyxy) - [x1, y1, x1, y1], 0, [x2 - x1, y2 - y1] * 2) * scale
        if whole[row] and left[row] and box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            rows.append(row)
            boxes.append(box)
    return Drawn(
        bgr=np.ascontiguousarray(bgr, np.uint8),
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        visible=np.array([left[row] / whole[row] for row in rows], np.float32),
        names=tuple(crowd[row].actor.look.kind.value for row in rows),
        ids=np.array([crowd[row].actor.id for row in rows], np.int64),
        drivable=maps[0],
        lane=maps[1],
    )
