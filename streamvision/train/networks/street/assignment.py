"""Which places of a picture learn which object: task-aligned assignment (Feng et al., TOOD, arXiv:2108.07755).

A place is a good one for an object if its score for the object's class and its box's overlap with the object are both
high: score^a * overlap^b. The best places inside an object learn it; a place that several objects want learns the one
that its box overlaps most. What a place shall score is how good it is among those of its object, so that the best one
scores as much as its box is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamvision.train.networks.street.boxes import overlaps

_LEAST_OVERLAP = 0.01
"""Boxes that do not meet their object yet are told apart by their scores; otherwise nobody would ever learn it."""
_LEAST_SIDE = 12.0
"""Px. Objects that are smaller than the grid of places are looked for as if they were of this size: over 8."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How many places learn an object, and what counts for how much."""

    places: int = 10
    score_power: float = 0.5
    overlap_power: float = 4.0
    least_target: float = 0.1
    """What the best place of an object shall score at least, so that an object that is not met yet is learned too."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of a batch, padded: boxes (B,G,4) xyxy px, labels (B,G) int64, real (B,G) bool: False for padding."""

    boxes: Tensor
    labels: Tensor
    real: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """What each place learns. index (B,N): which object, -1 for none; target (B,N) float32: what it shall score."""

    index: Tensor
    target: Tensor


def assign(scores: Tensor, boxes: Tensor, centres: Tensor, objects: Objects, rules: Rules | None = None) -> Assigned:
    """Return what each place learns; nothing is differentiated.

    scores (B,N,C) in 0-1, boxes (B,N,4) xyxy px: what the network says now; centres (N,2) px: where the places are.
    """
    with torch.no_grad():
        if objects.boxes.shape[1]:
            return _assign(scores, boxes, centres, objects, rules or Rules())
    nobody = torch.full(scores.shape[:2], -1, dtype=torch.int64, device=scores.device)
    return Assigned(nobody, scores.new_zeros(scores.shape[:2]))


def _assign(scores: Tensor, boxes: Tensor, centres: Tensor, objects: Objects, rules: Rules) -> Assigned:
    overlap = overlaps(objects.boxes[:, :, None], boxes[:, None])
    wanted = objects.labels[:, None].expand(-1, scores.shape[1], -1)
    quality = scores.gather(2, wanted).transpose(1, 2).pow(rules.score_power)
    quality = quality * overlap.clamp(min=_LEAST_OVERLAP).pow(rules.overlap_power)
    chosen = _best(quality, _inside(centres, objects.boxes) & objects.real[..., None], rules.places)
    owner = torch.where(chosen, overlap, -1.0).argmax(1)
    index = torch.where(chosen.any(1), owner, -1)
    kept = chosen & (torch.arange(objects.boxes.shape[1], device=index.device)[None, :, None] == index[:, None])
    return Assigned(index, _targets(quality, overlap, kept, rules.least_target))


def _inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """Tell (B,G,N) which places lie inside which boxes, after small ones have grown to `_LEAST_SIDE`."""
    grow = ((_LEAST_SIDE - (boxes[..., 2:] - boxes[..., :2])) / 2).clamp(min=0)
    low, high = (boxes[..., :2] - grow)[:, :, None], (boxes[..., 2:] + grow)[:, :, None]
    return ((centres > low) & (centres < high)).all(-1)


def _best(quality: Tensor, allowed: Tensor, count: int) -> Tensor:
    """Tell (B,G,N) which are the ``count`` best allowed places of each object."""
    ranked = torch.where(allowed, quality, -1.0)
    found = torch.topk(ranked, min(count, quality.shape[-1]), dim=-1).indices
    return torch.zeros_like(allowed).scatter_(-1, found, True) & allowed


def _targets(quality: Tensor, overlap: Tensor, kept: Tensor, least: float) -> Tensor:
    """Return what each place shall score (B,N): its share of its object's best quality, times its best overlap."""
    quality, overlap = quality * kept, overlap * kept
    best = quality.amax(-1, keepdim=True).clamp(min=torch.finfo(quality.dtype).tiny)
    return (quality / best * overlap.amax(-1, keepdim=True).clamp(min=least)).amax(1)
