"""Detectors that score every anchor: finished boxes (batch, N, 4) as xyxy in model px, scores (batch, N, classes).

What follows is torchvision's postprocessing of SSD, RetinaNet and FCOS: the threshold, the best candidates of each
class or of each level of the pyramid, and suppression within each class. One box may be found as several classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamvision.engine.decoders import NetworkShape, NmsOptions, to_detections
from streamvision.engine.nms import best_first, nms
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Perception

_BOXES, _SCORES = "boxes", "scores"


class DenseDecoder:
    """Reads outputs called ``boxes`` and ``scores``."""

    class Options(NmsOptions):
        """``groups``: how many anchors each level of the pyramid has; each level then has ``candidates`` of its own.

        Without groups, each class has. ``iou_across``: boxes of two classes that overlap more than this are one object,
        of the class with the better score; 1 lets each class have its own, as torchvision does.
        """

        groups: tuple[Annotated[int, Field(ge=1)], ...] = ()
        iou_across: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` for a network without these outputs, or with others than the manifest says."""
        self._options = options
        self._classes = network.classes
        self._boxes, self._scores = network.index_of(_BOXES), network.index_of(_SCORES)
        boxes, scores = network.outputs[self._boxes][1:], network.outputs[self._scores][1:]
        if len(boxes) != 2 or boxes[1] != 4 or scores != (boxes[0], network.classes):
            raise network.mismatch(
                f"boxes (N, 4) and scores (N, {network.classes}) are needed, but the network gives {boxes} and {scores}"
            )
        if options.groups and sum(options.groups) != boxes[0]:
            raise network.mismatch(f"groups {list(options.groups)} do not add up to the network's {boxes[0]} anchors")
        self._ends = np.cumsum(options.groups or [boxes[0]])[:-1] * network.classes

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture."""
        pictures = zip(outputs[self._boxes], outputs[self._scores], letterboxes, strict=True)
        return [Perception(self._one(*picture)) for picture in pictures]

    def _one(self, boxes: NDArray[Any], scores: NDArray[Any], letterbox: Letterbox) -> Detections:
        flat = scores.reshape(-1)
        likely = np.flatnonzero(flat > self._options.min_score)
        if not len(likely):
            return Detections.empty()
        chosen = self._limited(likely, np.asarray(flat[likely], np.float32))
        score = np.asarray(flat[chosen], np.float32)
        order = best_first(score, len(score))
        anchor, class_id = np.divmod(chosen[order].astype(np.int32), np.int32(self._classes))
        xyxy = np.asarray(boxes[anchor], np.float32)
        keep = nms(xyxy, class_id, self._options.iou, self._options.max_detections)
        if self._options.iou_across < 1:
            keep = keep[nms(xyxy[keep], None, self._options.iou_across)]
        return to_detections(xyxy[keep], score[order][keep], class_id[keep], letterbox)

    def _limited(self, likely: NDArray[np.intp], score: Float32) -> NDArray[np.intp]:
        """Return those of the likely (anchor, class) pairs, ascending, that are among the best of their group."""
        limit = self._options.candidates
        if len(likely) <= limit:
            return likely
        if not self._options.groups:
            return likely[best_of_each(likely % self._classes, score, limit)]
        borders = np.searchsorted(likely, self._ends)
        parts = zip(np.split(likely, borders), np.split(score, borders), strict=True)
        return np.concatenate([part[best_first(its, limit)] if len(part) > limit else part for part, its in parts])


def best_of_each(group: NDArray[np.intp], score: Float32, limit: int) -> NDArray[np.intp]:
    """Return the indices, ascending, of the ``limit`` best scores of each group."""
    order = np.lexsort((-score, group))
    sorted_group = group[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_group[1:] != sorted_group[:-1])))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.sort(order[rank < limit])
