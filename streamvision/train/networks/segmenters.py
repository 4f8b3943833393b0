"""Networks in training that say what every part of a picture is: cross-entropy for each pixel, with a Dice loss or not.

torchvision's DeepLabV3, LR-ASPP and FCN, segmentation-models-pytorch's U-Net, PSPNet, DeepLabV3+ and others,
TwinLiteNet: a module gives one tensor of scores, one for each label map, or a dict with ``out`` and a helper head,
``aux``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamvision.dataset import UNLABELLED
from streamvision.export.segmentation import class_scores
from streamvision.geometry import Letterbox
from streamvision.train.networks import Target
from streamvision.train.networks.pixels import Normalise
from streamvision.train.networks.task import Task
from streamvision.types import Detections, Perception, Segmentation

_HELPER = 0.5
"""What a helper head's loss counts, as in Zhao et al., arXiv:1612.01105, and torchvision's reference training."""


class Segmenter:
    """A `Network` around a module that gives scores for each pixel."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        self.module = module
        self._normalise = Normalise(task.input)
        self._maps = dict(task.maps)
        self._weights = None if task.class_weights is None else torch.tensor(task.class_weights)
        self._smoothing, self._dice = task.label_smoothing, task.dice

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return one loss for each label map that something in the batch is labelled in."""
        output = self.module(self._normalise(pictures))
        named: dict[str, Tensor] = {}
        for name, scores in zip(self._maps, class_scores(output), strict=True):
            truth = _truth(targets, name, pictures)
            if truth is None:
                continue
            named[name] = self._entropy(scores, truth)
            if self._dice:
                named[f"{name}_dice"] = self._dice * dice_loss(_sized(scores, truth), truth)
            if isinstance(output, Mapping) and "aux" in output:
                named[f"{name}_helper"] = _HELPER * self._entropy(output["aux"], truth)
        return named

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return the label maps, at the network's own size."""
        labels = [_winner(scores).cpu().numpy() for scores in class_scores(self.module(self._normalise(pictures)))]
        named = dict(zip(self._maps, labels, strict=True))
        return [
            Perception(Detections.empty(), tuple(self._map(name, rows[index], box) for name, rows in named.items()))
            for index, box in enumerate(letterboxes)
        ]

    def _map(self, name: str, label_map: Any, letterbox: Letterbox) -> Segmentation:
        height, width = label_map.shape
        return Segmentation(name, label_map, letterbox.resized((width, height)), self._maps[name])

    def _entropy(self, scores: Tensor, truth: Tensor) -> Tensor:
        scores = _sized(scores, truth)
        if scores.shape[1] == 1:
            return _binary(scores[:, 0], truth)
        weights = None if self._weights is None else self._weights.to(scores.device)
        known = (truth != UNLABELLED).any()
        return functional.cross_entropy(
            scores, truth.long(), weights, ignore_index=UNLABELLED, label_smoothing=self._smoothing,
            reduction="mean" if bool(known) else "sum",
        )  # fmt: skip


def _sized(scores: Tensor, truth: Tensor) -> Tensor:
    """Return scores (B,C,h,w) as float32 at the truth's size."""
    scores = scores.float()
    if scores.shape[2:] == truth.shape[1:]:
        return scores
    return functional.interpolate(scores, truth.shape[1:], mode="bilinear", align_corners=False)


def _truth(targets: Sequence[Target], name: str, pictures: Tensor) -> Tensor | None:
    """Return a label map of every picture (B,h,w) uint8, unlabelled where a picture has none; None if none has."""
    if not any(name in target.label_maps for target in targets):
        return None
    blank = torch.full(pictures.shape[2:], UNLABELLED, dtype=torch.uint8, device=pictures.device)
    return torch.stack([target.label_maps.get(name, blank) for target in targets])


def _binary(logits: Tensor, truth: Tensor) -> Tensor:
    known = truth != UNLABELLED
    loss = functional.binary_cross_entropy_with_logits(logits, (truth == 1).float(), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def dice_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the mean Dice coefficient of the classes that are there (Milletari et al., arXiv:1606.04797).

    scores (B,C,h,w), truth (B,h,w) with 255 where nobody knows.
    """
    if scores.shape[1] == 1:
        scores = torch.cat((torch.zeros_like(scores), scores), 1)
    known = (truth != UNLABELLED)[:, None]
    share = scores.softmax(1) * known
    own = functional.one_hot(truth.long().where(known[:, 0], 0), scores.shape[1]).permute(0, 3, 1, 2) * known
    both, either = (share * own).sum((0, 2, 3)), (share + own).sum((0, 2, 3))
    there = own.sum((0, 2, 3)) > 0
    return 1 - (2 * both[there] / either[there]).mean() if bool(there.any()) else scores.sum() * 0.0


def _winner(scores: Tensor) -> Tensor:
    """Return the label map (B,h,w) uint8, as the exported graph chooses."""
    winner = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(1)
    return winner.to(torch.uint8)
