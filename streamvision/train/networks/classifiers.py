"""Networks in training that judge a picture as a whole: cross-entropy over its classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamvision.geometry import Letterbox
from streamvision.train.networks import Target
from streamvision.train.networks.pixels import Normalise
from streamvision.train.networks.task import Task
from streamvision.types import Detections, Perception

_HELPER = 0.4
"""What Inception's helper head counts, as torchvision trained it (Szegedy et al., arXiv:1512.00567)."""


class Classifier:
    """A `Network` around a module that gives one score for each class, or a pair of them with a helper's."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        self.module = module
        self._normalise = Normalise(task.input)
        self._weights = None if task.class_weights is None else torch.tensor(task.class_weights)
        self._smoothing = task.label_smoothing

    def losses(self, pictures: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the loss, and that of a helper head; pictures without a class are left out."""
        known = [number for number, target in enumerate(targets) if target.label is not None]
        if not known:
            return {}
        truth = torch.tensor([targets[number].label for number in known], device=pictures.device)
        output = self.module(self._normalise(pictures[known]))
        scores, *helpers = output if isinstance(output, tuple) else (output,)
        named = {"class": self._entropy(scores, truth)}
        if helpers and helpers[0] is not None:
            named["helper"] = _HELPER * self._entropy(helpers[0], truth)
        return named

    def predict(self, pictures: Tensor, letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return the probability of every class."""
        shares = self.module(self._normalise(pictures)).float().softmax(1).cpu().numpy()
        return [Perception(Detections.empty(), (), share) for share in shares]

    def _entropy(self, scores: Tensor, truth: Tensor) -> Tensor:
        weights = None if self._weights is None else self._weights.to(scores.device)
        return functional.cross_entropy(scores.float(), truth, weights, label_smoothing=self._smoothing)
