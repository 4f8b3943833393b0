"""How well label maps agree with label pictures: the intersection over union of every class, and their mean.

Counted over all pixels of all pictures at the label pictures' own size (Everingham et al., "The PASCAL Visual Object
Classes Challenge", 2010); a class that is neither there nor seen anywhere has none and does not count.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import UNLABELLED, Dataset, Example, label_map
from streamvision.draw.label_maps import picture_part
from streamvision.evaluate.matching import Matching
from streamvision.types import Segmentation, UInt8

Int64 = NDArray[np.int64]
KEPT = 8
"""How many of the worst pictures are remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class MapFigures:
    """One label map over a set of pictures.

    ``confusion`` (C+1,C+1): pixels of each true class (row) that were seen as which (column); the last of each is
    whatever the other side does not know. ``ious`` (C,): NaN for a class that is neither there nor seen.
    """

    names: tuple[str, ...]
    confusion: Int64

    @property
    def ious(self) -> NDArray[np.float64]:
        """Each class's intersection over union."""
        return class_ious(self.confusion)[: len(self.names)]

    @property
    def miou(self) -> float:
        """The mean over the classes that are there or seen; NaN where none is."""
        ious = self.ious
        return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Of the pixels of the classes that both sides know, the share that was seen right; NaN without any."""
        known = self.confusion[: len(self.names)]
        total = int(known.sum())
        return float(np.trace(known) / total) if total else float("nan")


@dataclass(slots=True, eq=False)
class MapBook:
    """All pictures so far of one label map: ``model_name`` is what the network calls it, ``data_name`` the data."""

    model_name: str
    data_name: str
    matching: Matching
    pictures: list[tuple[Example, Int64]] = field(default_factory=list)
    worst: list[tuple[float, int, Segmentation]] = field(default_factory=list)
    """(mean IoU, place in ``pictures``, the label map), lowest IoU first; `KEPT` of them at most."""

    def add(self, dataset: Dataset, example: Example, found: Collection[Segmentation]) -> None:
        """Take one picture and the label maps that the network made of it.

        Raises what `dataset.label_map` raises for a label picture that is none.
        """
        own = next((one for one in found if one.name == self.model_name), None)
        if own is None or self.data_name not in example.label_maps:
            return
        truth = label_map(dataset, example, self.data_name)
        count = len(self.matching)
        known, seen = (self.table(side) for side in (self.matching.of_data, self.matching.of_model))
        known[UNLABELLED] = UNLABELLED
        matrix = confused(known[truth], seen[at_size(own, truth.shape)], count + 1, (UNLABELLED,))
        self.pictures.append((example, matrix))
        iou = MapFigures(self.matching.names, matrix).miou
        if iou < 1:  # which NaN is not either
            self.worst = sorted([*self.worst, (iou, len(self.pictures) - 1, own)], key=lambda one: one[0])[:KEPT]

    def figures(self, pictures: Collection[int] | None = None) -> MapFigures:
        """Return the figures over ``pictures`` (places in the list), or over all."""
        chosen = range(len(self.pictures)) if pictures is None else pictures
        empty = np.zeros((len(self.matching) + 1,) * 2, np.int64)
        return MapFigures(self.matching.names, sum((self.pictures[at][1] for at in chosen), empty))

    def table(self, side: NDArray[np.int32]) -> UInt8:
        """Return for each index of a label map its common class, the number after the last for none."""
        table = np.full(256, len(self.matching), np.uint8)
        table[: len(side)] = np.where(side < 0, len(self.matching), side)
        return table


def at_size(found: Segmentation, shape: tuple[int, ...]) -> UInt8:
    """Return a label map's picture part enlarged to (h,w): every pixel takes the label under its centre."""
    part = picture_part(found)
    rows, columns = (
        np.minimum(((np.arange(want) + 0.5) * have / want).astype(np.intp), have - 1)
        for want, have in zip(shape, part.shape, strict=True)
    )
    return np.asarray(part[rows[:, None], columns], np.uint8)


def confused(truth: UInt8, seen: UInt8, count: int, ignored: Collection[int] = ()) -> Int64:
    """Return how many pixels of each true class (row) were seen as which (column), without the ``ignored`` ones."""
    counts = ~np.isin(truth, [*ignored])
    cells = truth[counts].astype(np.int64) * count + seen[counts]
    return np.bincount(cells, minlength=count * count).reshape(count, count)


def class_ious(confusion: Int64) -> NDArray[np.float64]:
    """Return each class's intersection over union; NaN where the union is empty."""
    shared = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - shared
    return np.where(union > 0, shared / np.maximum(union, 1), np.nan)
