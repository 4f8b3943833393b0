"""Average precision as PASCAL VOC measures it (Everingham et al., IJCV 2010, and the challenge's development kit).

Detections of one class are taken best score first over all pictures. Each looks at the object that it overlaps most,
found or not: on one that is "difficult" it does not count; on one that nobody has found yet it is right; everything
else is wrong, a second detection of the same object too. Until 2009 AP was the mean of the best precision at eleven
recalls, since then it is the area under the curve. Boxes here end at outer borders of pixels: no overlap needs "+ 1".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.evaluate.objects import Seen
from streamvision.geometry import iou_matrix

Float64 = NDArray[np.float64]
OVERLAP = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class VocPrecision:
    """AP of each class (C,), by eleven points (VOC2007) and by all (since VOC2010); NaN where there is no object."""

    eleven: Float64
    every: Float64

    @property
    def figures(self) -> dict[str, float]:
        """Return the means over the classes, as ``VOC07_AP50`` and ``VOC_AP50``."""
        return {"VOC07_AP50": mean(self.eleven), "VOC_AP50": mean(self.every)}


def voc_precision(pictures: Sequence[Seen], classes: int, overlap: float = OVERLAP) -> VocPrecision:
    """Return VOC's average precision of each of ``classes`` over pictures whose ids count from 0."""
    there = np.array([_objects(pictures, kind) for kind in range(classes)], np.int64)
    curves = [voc_curve(pictures, kind, overlap) for kind in range(classes)]
    return VocPrecision(
        np.where(there > 0, [eleven_points(*curve) for curve in curves], np.nan),
        np.where(there > 0, [all_points(*curve) for curve in curves], np.nan),
    )


def voc_curve(pictures: Sequence[Seen], kind: int, overlap: float = OVERLAP) -> tuple[Float64, Float64]:
    """Return recall and precision (N,) of one class after each of its detections, best first."""
    scores, verdicts = [], []
    for one in pictures:
        of_class = one.truth.class_id == kind
        found = one.found[one.found.class_id == kind]
        order = np.argsort(-found.score, kind="stable")
        scores.append(found.score[order])
        verdicts.append(
            _verdicts(iou_matrix(found.xyxy[order], one.truth.xyxy[of_class]), one.truth.ignore[of_class], overlap)
        )
    verdict = _joined(verdicts)[np.argsort(-_joined(scores), kind="stable")]
    right, wrong = np.cumsum(verdict == 1), np.cumsum(verdict == 0)
    return right / max(1, _objects(pictures, kind)), right / np.maximum(right + wrong, 1)


def eleven_points(recall: Float64, precision: Float64) -> float:
    """Return the mean of the best precision at a recall of at least 0, 0.1, ... 1."""
    best = [precision[recall >= point - 1e-12].max(initial=0) for point in np.linspace(0, 1, 11)]
    return float(np.mean(best))


def all_points(recall: Float64, precision: Float64) -> float:
    """Return the area under the curve of the best precision at a recall of at least r."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def _objects(pictures: Sequence[Seen], kind: int) -> int:
    """Return how many objects of a class there are that count."""
    return sum(int(((one.truth.class_id == kind) & ~one.truth.ignore).sum()) for one in pictures)


def mean(values: Float64) -> float:
    """Return the mean without the NaN ones; NaN where all are."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _verdicts(ious: NDArray[np.float32], difficult: NDArray[np.bool_], overlap: float) -> NDArray[np.int8]:
    """Return of each detection (row, best first) whether it is right (1), wrong (0) or does not count (-1)."""
    verdict = np.zeros(len(ious), np.int8)
    taken = np.zeros(ious.shape[1], np.bool_)
    for index, row in enumerate(ious if ious.shape[1] else ()):
        best = int(row.argmax())
        if row[best] < overlap:
            continue
        if difficult[best]:
            verdict[index] = -1
        elif not taken[best]:
            verdict[index], taken[best] = 1, True
    return verdict


def _joined(parts: Sequence[NDArray[np.float32]] | Sequence[NDArray[np.int8]]) -> NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
