"""Losses of `sv-street`, in float32 whatever the network computes in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

UNLABELLED = 255
_MOST_WEIGHT = 2.0
"""By how much a rare class of a map counts more than its share at most."""


def class_loss(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Return the binary cross entropy of logits and targets (B,N,C) in 0-1, by the sum of the targets.

    counts (B,N,C) bool or a shape that broadcasts: False where a score is neither right nor wrong.
    """
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (each * counts).sum() / targets.sum().clamp(min=1)


def box_loss(each: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the boxes' losses (P,), each with its weight (P,); 0 without boxes."""
    return (each * weights).sum() / weights.sum().clamp(min=1)


def shares(label_map: Tensor, classes: int, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return what a coarser raster should say of label maps (B,h,w) uint8, 255 where unlabelled.

    Shares (B,K,*size_hw) of the labelled px of each class, of the second one alone where there are two; and known
    (B,1,*size_hw): which share of the px is labelled. The sides of the label maps are multiples of the raster's.
    """
    step = (label_map.shape[1] // size_hw[0], label_map.shape[2] // size_hw[1])
    wanted = [1] if classes == 2 else list(range(classes))
    planes = torch.stack([label_map == index for index in wanted], 1).float()
    known = functional.avg_pool2d((label_map != UNLABELLED)[:, None].float(), step)
    return functional.avg_pool2d(planes, step) / known.clamp(min=1e-6), known


def map_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return cross entropy and dice loss of one label map's logits (B,K,h,w); 0 where nothing is labelled.

    target and known: see `shares`. The dice loss (Milletari et al., arXiv:1606.04797) makes thin lanes count as much as
    the wide road; in the cross entropy the square root of their rarity does, within limits.
    """
    if logits.shape[1] == 1:
        return _entropy_of_two(logits, target, known) + dice_loss(torch.sigmoid(logits), target, known)
    each = -(target * torch.log_softmax(logits, 1)).sum(1, keepdim=True)
    entropy = (each * known).sum() / known.sum().clamp(min=1)
    return entropy + dice_loss(torch.softmax(logits, 1), target, known)


def _entropy_of_two(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    total, there = known.sum().clamp(min=1), (target * known).sum()
    rarity = ((total - there) / there.clamp(min=1)).sqrt().clamp(1, _MOST_WEIGHT).detach()
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weights = known * (1 + (rarity - 1) * target)
    return (each * weights).sum() / weights.sum().clamp(min=1)


def dice_loss(found: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return 1 - dice of probabilities and shares (B,K,h,w), the mean of the classes that the batch shows or finds."""
    axes = (0, 2, 3)
    shared, sizes = (found * target * known).sum(axes), ((found + target) * known).sum(axes)
    # One px more in both: a batch without a class, in which next to none is found, is no mistake.
    return (1 - (2 * shared + 1) / (sizes + 1)).mean()
