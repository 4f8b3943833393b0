"""Pictures as networks see them: the manifest's normalisation, and boxes that do not count hidden from view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from streamvision.engine.manifest import ModelInput
from streamvision.train.networks import Target


class Normalise:
    """uint8 (B,3,h,w) RGB -> float32 as the exported network will get it: ``(pixel * scale - mean) / std``."""

    def __init__(self, spec: ModelInput) -> None:
        mean, std = spec.normalisation
        self._mean = torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the network's input, on the pictures' device and in their layout."""
        mean, std = self._mean.to(pictures.device), self._std.to(pictures.device)
        return (pictures.float() - mean) / std


def hidden(pictures: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return normalised pictures (B,3,h,w) with the boxes that do not count painted over, but not what overlaps them.

    For networks whose losses know right and wrong only: what cannot be seen is neither. The mean of all pictures, 0, is
    what the least can be learned of.
    """
    if not any(bool(target.ignore.any()) for target in targets):
        return pictures
    shown = pictures.clone()
    for picture, own, target in zip(shown, pictures, targets, strict=True):
        for x1, y1, x2, y2 in _whole(target.boxes[target.ignore]):
            picture[:, y1:y2, x1:x2] = 0
        for x1, y1, x2, y2 in _whole(target.boxes[~target.ignore]):
            picture[:, y1:y2, x1:x2] = own[:, y1:y2, x1:x2]
    return shown


def _whole(boxes: Tensor) -> list[list[int]]:
    """Return boxes (N,4) grown to whole pixels."""
    return [[max(0, int(x1)), max(0, int(y1)), int(-(-x2 // 1)), int(-(-y2 // 1))] for x1, y1, x2, y2 in boxes.tolist()]
