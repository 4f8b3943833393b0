"""Non-maximum suppression, vectorised.

The result is exactly that of the greedy scalar algorithm: take the best box, drop what overlaps it, repeat. It is
found as a fixed point over the whole overlap matrix (Zheng et al., "Enhancing Geometric Factors in Model Learning
and Inference for Object Detection and Instance Segmentation", 2020, "Cluster-NMS"): a handful of matrix steps
instead of one Python step per box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import box_areas, iou_matrix
from streamvision.types import Float32, Int32

_BLOCK = 512
"""Boxes that compete at a time: their matrix of pairs fits a processor's cache."""
_FEW = 64
"""Fewer boxes than this are quickest as one matrix of all pairs, whatever their classes."""
_SPARSE = 8
"""A list of pairs beats the matrix where it is so many times shorter, because it has to gather what it compares."""
_MAX_PAIRS = 1 << 15


def best_first(score: Float32, limit: int) -> NDArray[np.intp]:
    """Return the indices of at most ``limit`` best scores, best first; equal scores keep their order."""
    return np.argsort(-score, kind="stable")[:limit]


def nms(xyxy: Float32, class_id: Int32 | None, iou: float, limit: int | None = None) -> NDArray[np.intp]:
    """Return the indices that survive, ascending. Boxes (N,4) come best first; they compete within their class only.

    A box falls if its intersection over union with a surviving, better box is greater than ``iou``. Without
    ``class_id`` all boxes compete. With ``limit`` only the first so many survivors are looked for. Boxes are taken in
    blocks, so that thousands of them need neither the memory nor the time of one matrix of all pairs.
    """
    pairs = None if class_id is None or len(xyxy) < _FEW else _pairs_within(class_id)
    if pairs is not None:
        return _survivors_of(xyxy, *pairs, iou)[:limit]
    if len(xyxy) <= _BLOCK:
        return _survivors(xyxy, class_id, iou)[:limit]
    found = np.empty(0, np.intp)
    for start in range(0, len(xyxy), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(xyxy)))
        falls = _overlapping(xyxy, class_id, found, block, iou).any(axis=0)
        block = block[~falls]
        keep = _survivors(xyxy[block], None if class_id is None else class_id[block], iou)
        found = np.concatenate((found, block[keep]))
        if limit is not None and len(found) >= limit:
            break
    return found[:limit]


def _overlapping(
    xyxy: Float32, class_id: Int32 | None, better: NDArray[np.intp], worse: NDArray[np.intp], iou: float
) -> NDArray[np.bool_]:
    """Tell which boxes overlap too much, and are of one class, as a matrix (better, worse)."""
    beats = iou_matrix(xyxy[better], xyxy[worse]) > iou
    if class_id is not None:
        beats &= class_id[better][:, None] == class_id[worse]
    return beats


def _survivors(xyxy: Float32, class_id: Int32 | None, iou: float) -> NDArray[np.intp]:
    """Do the work of `nms` on boxes that are few enough for one matrix of all pairs."""
    rank = np.arange(len(xyxy))
    if len(rank) < 2:  # most pictures of most cameras
        return rank
    beats = _overlapping(xyxy, class_id, rank, rank, iou)
    beats &= rank[:, None] < rank
    contested = beats.any(axis=0)
    alive = ~contested
    while True:
        # Row i stands for "i beats j". Each round settles at least one more box for good, so this ends.
        settled = ~(beats[alive].any(axis=0))
        if np.array_equal(settled, alive):
            return np.flatnonzero(alive)
        alive = settled


def _pairs_within(class_id: Int32) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return every pair (better, worse) of one class, or None if there are so many that a matrix is quicker."""
    order = np.argsort(class_id, kind="stable")
    grouped = class_id[order]
    starts = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1])))
    start = np.repeat(starts, np.diff(np.append(starts, len(order))))
    rank = np.arange(len(order)) - start
    count = int(rank.sum())
    if count > min(_MAX_PAIRS, len(order) ** 2 // _SPARSE):
        return None
    first = np.repeat(start - np.cumsum(rank) + rank, rank)
    return order[first + np.arange(count)], order[np.repeat(np.arange(len(order)), rank)]


def _survivors_of(xyxy: Float32, better: NDArray[np.intp], worse: NDArray[np.intp], iou: float) -> NDArray[np.intp]:
    """Do the work of `nms` where only these pairs compete."""
    beats = _pair_iou(xyxy.T.take(better, axis=1), xyxy.T.take(worse, axis=1)) > iou
    better, worse = better[beats], worse[beats]
    alive = np.ones(len(xyxy), np.bool_)
    alive[worse] = False
    while True:
        settled = np.ones(len(xyxy), np.bool_)
        settled[worse[alive[better]]] = False
        if np.array_equal(settled, alive):
            return np.flatnonzero(alive)
        alive = settled


def _pair_iou(a: Float32, b: Float32) -> Float32:
    """Return the overlap (P,) of boxes (4,P) with boxes (4,P); see `geometry.iou_matrix`."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides[0] * sides[1]
    union = box_areas(a.T) + box_areas(b.T) - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).smallest_subnormal), np.float32)
