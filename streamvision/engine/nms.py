"""Non-maximum suppression, vectorised.

The result is exactly that of the greedy scalar algorithm: take the best box, drop what overlaps it, repeat. It is
found as a fixed point over the whole overlap matrix (Zheng et al., "Enhancing Geometric Factors in Model Learning
and Inference for Object Detection and Instance Segmentation", 2020, "Cluster-NMS"): a handful of matrix steps
instead of one Python step per box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.geometry import iou_matrix
from streamvision.types import Float32, Int32


def best_first(score: Float32, limit: int) -> NDArray[np.intp]:
    """Return the indices of at most ``limit`` best scores, best first; equal scores keep their order."""
    return np.argsort(-score, kind="stable")[:limit]


def nms(xyxy: Float32, class_id: Int32 | None, iou: float) -> NDArray[np.intp]:
    """Return the indices that survive, ascending. Boxes (N,4) come best first; they compete within their class only.

    A box falls if its intersection over union with a surviving, better box is greater than ``iou``. Without
    ``class_id`` all boxes compete.
    """
    rank = np.arange(len(xyxy))
    if len(rank) < 2:  # most pictures of most cameras
        return rank
    beats = iou_matrix(xyxy, xyxy) > iou
    beats &= rank[:, None] < rank
    if class_id is not None:
        beats &= class_id[:, None] == class_id
    contested = beats.any(axis=0)
    alive = ~contested
    while True:
        # Row i stands for "i beats j". Each round settles at least one more box for good, so this ends.
        settled = ~(beats[alive].any(axis=0))
        if np.array_equal(settled, alive):
            return np.flatnonzero(alive)
        alive = settled
