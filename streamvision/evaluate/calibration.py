"""Whether a network that says 80 % is right in 80 of 100 cases.

Expected calibration error: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. For detections (D-ECE, by score alone): Kueppers et
al., "Multivariate Confidence Calibration for Object Detection", CVPR workshops 2020: right is what overlaps an object
of its class by half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
MIN_SCORE = 0.3
"""Detections below are not asked: there are thousands of them, all hardly sure and wrong, which looks like honesty."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Answers by how sure they were, in (B,) bins of equal width: how many, how sure, how many of them right (shares).

    Shares are NaN in an empty bin; ``error`` is the mean distance of the two, weighted by how many; NaN without any.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    error: float


def calibration(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = BINS, least: float = 0.0
) -> Calibration:
    """Return how well ``confidence`` (N,) in [0,1] foretells ``right`` (N,), for what is at least as sure as ``least``.

    A bin holds what lies above its lower border up to its upper one.
    """
    keep = confidence >= least
    confidence, right = confidence[keep].astype(np.float64), right[keep]
    index = np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    safe = np.maximum(count, 1)
    sure, hits = (np.bincount(index, values, bins) / safe for values in (confidence, right.astype(np.float64)))
    total = int(count.sum())
    error = float((count * np.abs(sure - hits)).sum() / total) if total else float("nan")
    empty = count == 0
    return Calibration(count, np.where(empty, np.nan, sure), np.where(empty, np.nan, hits), error)
