"""Regions that a two-stage network looks at twice, and the arithmetic of their boxes.

Ren et al., "Faster R-CNN" (arXiv:1506.01497), with every step and limit as torchvision has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.nms import best_first, nms
from streamvision.types import Float32

_MAX_GROWTH = np.float32(math.log(1000 / 16))
"""Upper bound of a box's logarithmic change of size, so that a wild network cannot overflow."""
Window = tuple[float, float, float, float]
"""The part (xyxy, input px) of a network's input that shows the picture; the rest is padding."""


class ProposalOptions(BaseModel):
    """How the region proposal network's boxes are sifted; the defaults are torchvision's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: Annotated[int, Field(ge=1)] = 1000
    """Best boxes of each level that may compete."""
    keep: Annotated[int, Field(ge=1)] = 1000
    """Best boxes of a picture that the second stage looks at."""
    iou: Annotated[float, Field(gt=0, le=1)] = 0.7
    min_score: Annotated[float, Field(ge=0, lt=1)] = 0.0
    min_side: Annotated[float, Field(ge=0)] = 1e-3
    """Input px; smaller boxes are dropped."""


def clip(xyxy: Float32, window: Window) -> Float32:
    """Return boxes (N,4) cut off at the window."""
    low, high = np.asarray(window[:2] * 2, np.float32), np.asarray(window[2:] * 2, np.float32)
    return np.minimum(np.maximum(xyxy, low), high)


def large_enough(xyxy: Float32, side: float) -> NDArray[np.bool_]:
    """Tell which boxes (N,4) are at least so wide and so high."""
    return np.asarray(((xyxy[:, 2:] - xyxy[:, :2]) >= np.float32(side)).all(axis=1), np.bool_)


def refine(xyxy: Float32, deltas: Float32) -> Float32:
    """Move and scale boxes (N,4) by deltas (N,4): shift in box sizes, logarithm of the change of size."""
    size = xyxy[:, 2:] - xyxy[:, :2]
    centre = xyxy[:, :2] + np.float32(0.5) * size
    centre = centre + deltas[:, :2] * size
    half = np.float32(0.5) * size * np.exp(np.minimum(deltas[:, 2:], _MAX_GROWTH))
    return np.concatenate([centre - half, centre + half], axis=1)


def nms_within(groups: NDArray[np.integer], xyxy: Float32, score: Float32, iou: float) -> NDArray[np.intp]:
    """Return the indices that survive, best score first; boxes (N,4) compete within their group only.

    Group by group, because the whole overlap matrix of some thousand boxes would be large.
    """
    order = best_first(score, len(score))
    kept = []
    for group in np.unique(groups):
        own = order[groups[order] == group]
        kept.append(own[nms(xyxy[own], None, iou)])
    if not kept:
        return order
    survivors = np.sort(np.concatenate(kept))
    return survivors[best_first(score[survivors], len(survivors))]


def propose(
    objectness: Sequence[Float32], boxes: Sequence[Float32], window: Window, options: ProposalOptions
) -> Float32:
    """Return the boxes (N,4) of one picture, in input px, that deserve a second look, best first.

    Per level: ``objectness`` (A,) logits and ``boxes`` (A,4).
    """
    best = [_top(logits, options.candidates) for logits in objectness]
    level = np.repeat(np.arange(len(best)), [len(rows) for rows in best])
    score = _sigmoid(np.concatenate([logits[rows] for logits, rows in zip(objectness, best, strict=True)]))
    xyxy = clip(np.concatenate([level_boxes[rows] for level_boxes, rows in zip(boxes, best, strict=True)]), window)
    good = large_enough(xyxy, options.min_side) & (score >= np.float32(options.min_score))
    xyxy, score, level = xyxy[good], score[good], level[good]
    return xyxy[nms_within(level, xyxy, score, options.iou)[: options.keep]]


def widened(xyxy: Float32, margin: float, window: Window) -> Float32:
    """Return regions (N,4) that were found elsewhere, with so much of their size around them, inside the window."""
    around = (xyxy[:, 2:] - xyxy[:, :2]) * np.float32(margin)
    wide = clip(np.concatenate([xyxy[:, :2] - around, xyxy[:, 2:] + around], axis=1), window)
    return wide[large_enough(wide, 1.0)]


def _top(logits: Float32, limit: int) -> NDArray[np.intp]:
    """Return the indices of the largest values, largest first; a level has up to a hundred thousand."""
    if len(logits) <= limit:
        return best_first(logits, limit)
    chosen = np.sort(np.argpartition(-logits, limit - 1)[:limit])
    return chosen[best_first(logits[chosen], limit)]


def _sigmoid(logits: Float32) -> Float32:
    with np.errstate(over="ignore"):  # exp of a large negative logit: the quotient is 0, as it should be
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
