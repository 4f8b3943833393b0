"""Measuring a network in training, by the same figures as `streamvision eval`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from streamvision.dataset import Dataset
from streamvision.errors import UsageError
from streamvision.evaluate import Evaluator, Names
from streamvision.train.batches import Batch, Batches
from streamvision.train.loop import to_device
from streamvision.train.networks import Network
from streamvision.train.networks.task import Task
from streamvision.train.precision import Precision, autocast
from streamvision.types import Perception

Seen = tuple[Batch, list[Perception]]
_BOTH = ("AP", "mIoU")
_FIRST = ("top1", "AP", "mIoU")


class Validation:
    """Looks at every picture of a set and says how good what it saw is. ``evaluator``: the latest."""

    def __init__(
        self, network: Network, batches: Batches, dataset: Dataset, names: Names, metric: str, device: torch.device,
        precision: Precision,
    ) -> None:  # fmt: skip
        self.evaluator: Evaluator | None = None
        self._network, self._batches, self._dataset, self._names = network, batches, dataset, names
        self._metric, self._device, self._precision = metric, device, precision
        Evaluator(dataset, names)  # what cannot be measured is told before the training, not after its first epoch

    def __call__(self) -> dict[str, float]:
        """Return the figures, first the one that decides what is best. The network is in evaluation mode."""
        evaluator = Evaluator(self._dataset, self._names)
        for batch, seen in self.look():
            for example, perception in zip(batch.examples, seen, strict=True):
                evaluator.add(example, perception)
        self.evaluator = evaluator
        return decided(evaluator.result().figures, self._metric)

    @torch.no_grad()
    def look(self) -> Iterator[Seen]:
        """Yield every batch with what the network sees in it."""
        for batch in self._batches.epoch(0):
            pictures, _ = to_device(batch, self._device)
            with autocast(self._precision, self._device):
                seen = self._network.predict(pictures, batch.letterboxes)
            yield batch, seen


def decided(figures: dict[str, float], metric: str) -> dict[str, float]:
    """Return the figures that are numbers, first the one that decides.

    Raises `UsageError` where there is no such figure.
    """
    if metric == "auto" and all(name in figures for name in _BOTH):
        first = {"score": sum(figures[name] for name in _BOTH) / len(_BOTH)}
    else:
        name = next((each for each in _FIRST if each in figures), "") if metric == "auto" else metric
        if name not in figures:
            raise UsageError(
                f"there is no figure {name!r} of this network on this data", where="metric",
                remedy=f"choose one of: {', '.join(figures)}",
            )  # fmt: skip
        first = {name: figures[name]}
    known = {name: value for name, value in figures.items() if math.isfinite(value)}
    first = {name: value if math.isfinite(value) else 0.0 for name, value in first.items()}
    return {**first, **{name: value for name, value in known.items() if name not in first}}


def names_of(task: Task, *, whole: bool) -> Names:
    """Return what a network that learns a task calls what it sees."""
    return Names(task.classes, task.maps, whole)
