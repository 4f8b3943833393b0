"""What is left of a network's figures when fog, dark, rain, blur, noise or compression spoil the pictures.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR
2019, and Michaelis et al., "Benchmarking Robustness in Object Detection", 2019: five strengths of each, and the share
of the undisturbed figure that is left on average. The distortions are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from streamvision.dataset import Dataset, Example
from streamvision.distort import STRENGTHS, distort
from streamvision.evaluate.evaluator import Evaluator
from streamvision.evaluate.running import perceptions
from streamvision.interfaces import Engine
from streamvision.types import UInt8

KINDS = ("fog", "dark", "rain", "blur", "noise", "compression")
SHOWN = ("AP", "AP50", "mask_AP", "mIoU", "top1")
"""The figures that are followed."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """Over the same ``pictures``: ``clean`` figures, and those of each kind and strength (from 1 on)."""

    pictures: int
    clean: Mapping[str, float]
    spoilt: Mapping[str, Sequence[Mapping[str, float]]]

    def left(self, figure: str) -> dict[str, float]:
        """Return the mean over the strengths as a share of the clean figure, by kind; NaN where that is 0 or NaN."""
        whole = self.clean.get(figure, math.nan)
        return {
            kind: sum(row[figure] for row in rows) / len(rows) / whole if whole > 0 else math.nan
            for kind, rows in self.spoilt.items()
        }


def subset(dataset: Dataset, count: int) -> tuple[Example, ...]:
    """Return ``count`` examples, evenly drawn over the set; all of them where there are not more."""
    if count >= len(dataset):
        return dataset.examples
    places = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    return tuple(dataset.examples[place] for place in places)


def robustness(
    engine: Engine,
    examples: Sequence[Example],
    start: Callable[[], Evaluator],
    *,
    kinds: Sequence[str] = KINDS,
    advance: Callable[[], None] = lambda: None,
) -> Robustness:
    """Return the figures of an engine on spoilt pictures; ``start`` gives a fresh `Evaluator` for each pass.

    ``advance`` is called once for every picture that was seen: ``len(examples) * (1 + 5 * len(kinds))`` times.
    """

    def figures(kind: str | None = None, strength: int = 0) -> dict[str, float]:
        evaluator = start()
        change = None if kind is None else partial(_spoil, kind, strength)
        for example, perception in perceptions(engine, examples, change):
            evaluator.add(example, perception)
            advance()
        found = evaluator.result().figures
        return {name: found[name] for name in SHOWN if name in found}

    clean = figures()
    return Robustness(
        len(examples), clean, {kind: [figures(kind, strength) for strength in STRENGTHS] for kind in kinds}
    )


def _spoil(kind: str, strength: int, rgb: UInt8, example: Example) -> UInt8:
    """Return a spoilt picture; the same picture is always spoilt in the same way."""
    seed = [*example.path.name.encode()]
    return distort(rgb, kind, strength, np.random.default_rng(seed))
