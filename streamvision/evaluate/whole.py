"""Pictures judged as a whole: how often the right class is the first, or among the first five."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import Example
from streamvision.evaluate.matching import Matching
from streamvision.types import Float32, Int32


@dataclass(frozen=True, slots=True, eq=False)
class WholeFigures:
    """``confusion`` (C,C): pictures of each class (row) that were taken for which (column).

    ``confidence`` (P,) float32 and ``right`` (P,) bool: of the first answer for each picture, for calibration.
    """

    names: tuple[str, ...]
    top1: float
    top5: float
    confusion: NDArray[np.int64]
    confidence: Float32
    right: NDArray[np.bool_]

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Of the pictures of each class, the share that was recognised; NaN without any."""
        there = self.confusion.sum(1)
        return np.where(there > 0, np.diag(self.confusion) / np.maximum(there, 1), np.nan)


@dataclass(slots=True, eq=False)
class WholeBook:
    """All pictures so far: for each its class and the probability of every class that both sides know."""

    matching: Matching
    pictures: list[tuple[Example, int, Float32]] = field(default_factory=list)

    def add(self, example: Example, probabilities: Float32 | None) -> None:
        """Take one picture and the probability (M,) of each class of the network; classes that are one are added."""
        kind = -1 if example.label is None else int(self.matching.of_data[example.label])
        if probabilities is None or kind < 0:
            return
        known = self.matching.of_model >= 0
        common = np.bincount(self.matching.of_model[known], probabilities[known], len(self.matching))
        self.pictures.append((example, kind, common.astype(np.float32)))

    def figures(self, pictures: Collection[int] | None = None) -> WholeFigures:
        """Return the figures over ``pictures`` (places in the list), or over all."""
        chosen = range(len(self.pictures)) if pictures is None else sorted(pictures)
        count = len(self.matching)
        truth: Int32 = np.array([self.pictures[at][1] for at in chosen], np.int32)
        scores = np.stack([self.pictures[at][2] for at in chosen]) if len(chosen) else np.zeros((0, count), np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        right = order == truth[:, None]
        first = order[:, 0] if count else np.zeros(0, np.intp)
        confusion = np.bincount(truth * count + first, minlength=count * count).reshape(count, count)
        mean = right.mean(0) if len(truth) else np.full(count, np.nan)
        return WholeFigures(
            self.matching.names, float(mean[0]), float(mean[:5].sum()), confusion, scores.max(1, initial=0), right[:, 0]
        )
