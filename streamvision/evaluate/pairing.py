"""Which detection is which object: one to one, the surest detection first, at an overlap of half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.dataset import Objects
from streamvision.geometry import iou_matrix
from streamvision.types import Detections, Float32, Int32

OVERLAP = 0.5
NOBODY = -1
EXCUSED = -2
"""It lies on an object that does not count: neither right nor wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """``of_found`` (N,): each detection's object, `NOBODY` or `EXCUSED`; ``of_truth`` (M,): each object's detection.

    A detection may have another class than its object. An object that does not count is nobody's.
    """

    of_found: Int32
    of_truth: Int32


def pair(truth: Objects, found: Detections, overlap: float = OVERLAP) -> Pairing:
    """Return which detection is which object: first of the same class, then whatever is left of any class."""
    of_found = np.full(len(found), NOBODY, np.int32)
    of_truth = np.full(len(truth), NOBODY, np.int32)
    ious = iou_matrix(found.xyxy, truth.xyxy)
    same = found.class_id[:, None] == truth.class_id[None, :]
    order = np.argsort(-found.score, kind="stable")
    for allowed in (same, ~same):
        _take(np.where(allowed & ~truth.ignore[None, :], ious, 0), order, overlap, of_found, of_truth)
    free = (of_found == NOBODY) & ((ious >= overlap) & truth.ignore[None, :]).any(axis=1)
    of_found[free] = EXCUSED
    return Pairing(of_found, of_truth)


def _take(ious: Float32, order: np.ndarray[tuple[int, ...], np.dtype[np.intp]], overlap: float, of_found: Int32,
          of_truth: Int32) -> None:  # fmt: skip
    for index in order if ious.shape[1] else ():
        if of_found[index] != NOBODY:
            continue
        best = int(np.where(of_truth == NOBODY, ious[index], 0).argmax())
        if of_truth[best] == NOBODY and ious[index, best] >= overlap:
            of_found[index], of_truth[best] = best, index
