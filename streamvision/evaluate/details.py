"""What lies behind one AP: by class, by score, what is taken for what, and where it went wrong most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.evaluate.calibration import MIN_SCORE, Calibration, calibration
from streamvision.evaluate.coco import Precision
from streamvision.evaluate.curves import Operating, by_class, overall
from streamvision.evaluate.objects import ObjectBook, Seen
from streamvision.evaluate.pairing import NOBODY, Pairing, pair
from streamvision.types import Detections


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """One picture's mistakes among the detections that count: ``found`` are those, ``pairing`` says which are right."""

    picture: Seen
    found: Detections
    pairing: Pairing

    @property
    def false(self) -> int:
        """How many detections lie on nothing, or have another class than their object."""
        of = self.pairing.of_found
        mixed = of >= 0
        wrong = self.picture.truth.class_id[of[mixed]] != self.found.class_id[mixed]
        return int((of == NOBODY).sum() + wrong.sum())

    @property
    def missed(self) -> int:
        """How many objects that count nobody found."""
        return int(((self.pairing.of_truth == NOBODY) & ~self.picture.truth.ignore).sum())


@dataclass(frozen=True, slots=True, eq=False)
class ObjectDetails:
    """``confusion`` (C+1,C+1): objects of each class (row) that were seen as which (column), at ``best.threshold``.

    The last row is what lies on nothing, the last column what was not found. ``mistakes``: the pictures with most.
    """

    best: Operating
    by_class: Sequence[Operating]
    calibration: Calibration
    confusion: NDArray[np.int64]
    mistakes: Sequence[Mistakes]


def object_details(book: ObjectBook, precision: Precision, *, worst: int = 8) -> ObjectDetails:
    """Return the details of what ``precision`` sums up; the ``worst`` pictures by false and missed objects."""
    judged = precision.judged
    best = overall(judged)
    threshold = best.threshold if np.isfinite(best.threshold) else 0.5
    size = len(book.matching) + 1
    confusion = np.zeros((size, size), np.int64)
    mistakes: list[Mistakes] = []
    for one in book.pictures:
        found = one.found[one.found.score >= threshold]
        own = Mistakes(one, found, pair(one.truth, found))
        confusion += _confused(own, size)
        if own.false + own.missed:
            mistakes = sorted([*mistakes, own], key=lambda it: -it.false - it.missed)[:worst]
    return ObjectDetails(
        best, by_class(judged), calibration(judged.score, judged.hit, least=MIN_SCORE), confusion, mistakes
    )


def _confused(one: Mistakes, size: int) -> NDArray[np.int64]:
    truth, of = one.picture.truth, one.pairing.of_found
    paired = of >= 0
    missed = truth.class_id[(one.pairing.of_truth == NOBODY) & ~truth.ignore]
    ghosts = one.found.class_id[of == NOBODY]
    nothing = size - 1
    rows = np.concatenate([truth.class_id[of[paired]], missed, np.full(len(ghosts), nothing)])
    columns = np.concatenate([one.found.class_id[paired], np.full(len(missed), nothing), ghosts])
    return np.bincount(rows.astype(np.int64) * size + columns, minlength=size * size).reshape(size, size)
