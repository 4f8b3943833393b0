"""Precision and recall of detections at every score, and the score from which on their balance is best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.evaluate.coco import Judged

Float64 = NDArray[np.float64]
_NOTHING = float("nan")


@dataclass(frozen=True, slots=True)
class Operating:
    """What is reached when only scores from ``threshold`` on count; NaN where nothing was found or is there."""

    threshold: float = _NOTHING
    f1: float = _NOTHING
    precision: float = _NOTHING
    recall: float = _NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision and recall (N,) for each score (N,) from the best down, equal ones as one."""

    score: Float64
    precision: Float64
    recall: Float64


def curve(score: NDArray[np.float32], hit: NDArray[np.bool_], truths: int) -> Curve:
    """Return the curve of detections (N,) of which ``hit`` are right, where there are ``truths`` objects."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order].astype(np.float64)
    right = np.cumsum(hit[order])
    last = np.flatnonzero(np.diff(ranked, append=-np.inf))
    seen = last + 1
    return Curve(ranked[last], right[last] / seen, right[last] / truths if truths else np.full(len(last), np.nan))


def best(points: Curve) -> Operating:
    """Return where the harmonic mean of precision and recall (F1) is best; the highest such score."""
    if not len(points.score) or np.isnan(points.recall).any():
        return Operating()
    total = points.precision + points.recall
    f1 = np.where(total > 0, 2 * points.precision * points.recall / np.where(total > 0, total, 1), 0)
    at = int(f1.argmax())
    return Operating(*(float(column[at]) for column in (points.score, f1, points.precision, points.recall)))


def by_class(judged: Judged) -> list[Operating]:
    """Return each class's best point."""
    found = []
    for kind, truths in enumerate(judged.truths.tolist()):
        own = judged.class_id == kind
        found.append(best(curve(judged.score[own], judged.hit[own], truths)))
    return found


def overall(judged: Judged) -> Operating:
    """Return the best point over all classes with a single threshold."""
    return best(curve(judged.score, judged.hit, int(judged.truths.sum())))
