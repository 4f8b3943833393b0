"""Labels that a network gives: what it is sure of is an object, what it doubts is neither right nor wrong.

The picture is looked at as a whole and, for objects that are small in it, in overlapping tiles. A box that a tile's
inner border cuts is not believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.picture import ArrayPicture
from streamvision.dataset.values import Objects
from streamvision.engine.nms import best_first, nms
from streamvision.geometry import box_areas
from streamvision.types import Batch, ClockSource, Detections, Float32, Frame, FrameInfo, Int32, UInt8

if TYPE_CHECKING:
    from streamvision.interfaces import Engine

Window = tuple[int, int, int, int]

_OVERLAP = 0.25
"""How much of a tile its neighbour shows too."""
_EDGE_PX = 3.0
"""A box so near to a tile's inner border is cut by it."""
_ONE_THING = 0.75
"""Boxes of two classes that share so much are one object, of the class with the better score."""
_PART = 0.8
"""A box of which so much lies inside a larger one of its class, seen in the whole picture, is a part of that object."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """How labels are given.

    ``sure``: from this score on a detection is an object; ``doubtful``: from this score on it is one that does not
    count. ``tiles``: the picture is looked at again in tiles x tiles parts (1: only as a whole). ``classes``: the
    names of the set; ``rename``: the network's name -> the set's, for names that differ. Other classes are left out.
    """

    classes: tuple[str, ...]
    rename: Mapping[str, str] = field(default_factory=dict)
    sure: float = 0.5
    doubtful: float = 0.2
    tiles: int = 1
    iou: float = 0.5


def label(engine: Engine, rgb: UInt8, whole: Detections, how: Labelling) -> Objects:
    """Return the objects of a picture (h,w,3), of which ``whole`` is what the network saw in it as a whole."""
    found = _seen(engine, rgb, whole[whole.score >= how.doubtful], how)
    names = [how.rename.get(engine.labels[number], engine.labels[number]) for number in found.class_id.tolist()]
    known = np.array([name in how.classes for name in names], np.bool_)
    class_id = np.array([how.classes.index(name) for name in names if name in how.classes], np.int32)
    found = found[known]
    order = best_first(found.score, len(found))  # two of the network's classes may have become one
    order = order[nms(found.xyxy[order], class_id[order], how.iou)]
    keep = order[nms(found.xyxy[order], None, _ONE_THING)]
    return Objects(found.xyxy[keep], class_id[keep], found.score[keep] < how.sure)


def _seen(engine: Engine, rgb: UInt8, whole: Detections, how: Labelling) -> Detections:
    """Return the detections of all looks, with duplicates, in px of the whole picture."""
    height, width = rgb.shape[:2]
    parts = [_look(engine, rgb, window, how.doubtful) for window in windows((width, height), how.tiles)]
    parts = [part[~_inside(part, whole)] for part in parts]
    return _joined([whole, *parts])


def windows(size_wh: tuple[int, int], tiles: int) -> Iterator[Window]:
    """Give the overlapping tiles of a picture as xyxy px; none for a single one, which would be the picture itself."""
    if tiles < 2:
        return
    for row in range(tiles):
        for column in range(tiles):
            across, down = (_span(side, tiles, at) for side, at in zip(size_wh, (column, row), strict=True))
            yield across[0], down[0], across[1], down[1]


def _span(side: int, tiles: int, at: int) -> tuple[int, int]:
    length = side / (tiles - (tiles - 1) * _OVERLAP)
    start = at * length * (1 - _OVERLAP)
    return round(start), min(side, round(start + length))


def _look(engine: Engine, rgb: UInt8, window: Window, min_score: float) -> Detections:
    """Return what the network sees in a part of the picture, without what the part's inner borders cut."""
    left, top, right, bottom = window
    found = _detect(engine, np.ascontiguousarray(rgb[top:bottom, left:right]))
    xyxy = found.xyxy + np.array([left, top, left, top], np.float32)
    inner = np.array([left > 0, top > 0, right < rgb.shape[1], bottom < rgb.shape[0]])
    cut = (np.abs(xyxy - np.array(window, np.float32)) < _EDGE_PX) & inner
    keep = (found.score >= min_score) & ~cut.any(axis=1)
    return Detections(xyxy[keep], found.score[keep], found.class_id[keep])


def _detect(engine: Engine, rgb: UInt8) -> Detections:
    picture = ArrayPicture(rgb)
    pixels, letterbox = picture.prepare(engine.input)
    info = FrameInfo("label", 0, 0, 0.0, 0.0, datetime.now(UTC), ClockSource.FILE, 0.0, picture.size_wh)
    batch = Batch((Frame(info, picture, pixels, letterbox, 0.0),))
    return engine.decode(batch, engine.submit(batch).result())[0].detections


def _inside(part: Detections, whole: Detections) -> NDArray[np.bool_]:
    """Tell which boxes of a tile (N,) are parts of an object of their class that the whole picture shows."""
    low = np.maximum(part.xyxy[:, None, :2], whole.xyxy[None, :, :2])
    high = np.minimum(part.xyxy[:, None, 2:], whole.xyxy[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    of_part = shared / np.maximum(box_areas(part.xyxy), 1e-6)[:, None]
    larger = box_areas(whole.xyxy)[None] > box_areas(part.xyxy)[:, None]
    same = part.class_id[:, None] == whole.class_id[None]
    return np.asarray((same & larger & (of_part > _PART)).any(axis=1), np.bool_)


def _joined(parts: Sequence[Detections]) -> Detections:
    xyxy: Float32 = np.concatenate([part.xyxy for part in parts])
    class_id: Int32 = np.concatenate([part.class_id for part in parts])
    return Detections(xyxy, np.concatenate([part.score for part in parts]), class_id)
