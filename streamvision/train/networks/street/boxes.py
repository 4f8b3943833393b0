"""Overlaps of boxes as functions that can be differentiated. Boxes (...,4) xyxy."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-7


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return intersection over union of boxes whose leading sides broadcast."""
    shared, union = _shared_and_union(first, second)
    return shared / union


def giou_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 - generalised IoU (Rezatofighi et al., arXiv:1902.09630), in 0-2, of boxes of the same shape."""
    shared, union = _shared_and_union(first, second)
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).prod(-1) + _TINY
    return 1 - shared / union + (hull - union) / hull


def _shared_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    return shared, areas[0] + areas[1] - shared + _TINY
