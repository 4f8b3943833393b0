"""The same figures for parts of the pictures: is the network as good at night, on the other camera, for everybody?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamvision.dataset import Dataset, Example
from streamvision.errors import UsageError
from streamvision.evaluate.evaluator import Evaluator

UNNAMED = "(none)"


@dataclass(frozen=True, slots=True)
class Group:
    """One group: how many pictures, how many objects that count (None where none are looked for), and the figures."""

    name: str
    pictures: int
    objects: int | None
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Gap:
    """Between which groups a figure differs most, and by how much."""

    figure: str
    worst: str
    best: str
    size: float


def group_of(example: Example, column: str) -> str:
    """Return the value of a column of an example's metadata; ``group`` is also what the data set calls its groups."""
    value = example.metadata.get(column)
    if value is None and column == "group":
        value = example.group
    return UNNAMED if value is None else value


def check_column(dataset: Dataset, column: str) -> None:
    """Raise `UsageError` where no picture has a value in a column."""
    if any(group_of(example, column) != UNNAMED for example in dataset.examples):
        return
    columns = sorted({name for example in dataset.examples for name in example.metadata})
    columns += ["group"] if any(example.group is not None for example in dataset.examples) else []
    raise UsageError(
        f"no picture has a column {column!r} in its metadata", where=dataset.origin,
        remedy=f"there are: {', '.join(columns)}" if columns else "the data has no metadata to group by",
    )  # fmt: skip


def by_group(evaluator: Evaluator, column: str) -> list[Group]:
    """Return the figures of each group of the pictures that were measured, in the order of their names."""
    places: dict[str, set[int]] = defaultdict(set)
    for place, example in enumerate(evaluator.examples):
        places[group_of(example, column)].add(place)
    return [_group(evaluator, name, places[name]) for name in sorted(places)]


def gaps(groups: Sequence[Group], figures: Sequence[str] = ("AP", "AP50", "mask_AP", "mIoU", "top1")) -> list[Gap]:
    """Return for each of ``figures`` the largest difference between two groups, where there is any to compare."""
    found = []
    for figure in figures:
        known = sorted(
            (one.figures[figure], one.name) for one in groups if math.isfinite(one.figures.get(figure, math.nan))
        )
        if len(known) > 1:
            (low, worst), (high, best) = known[0], known[-1]
            found.append(Gap(figure, worst, best, high - low))
    return found


def _group(evaluator: Evaluator, name: str, places: set[int]) -> Group:
    chosen = {evaluator.examples[place] for place in places}
    result = evaluator.result(chosen)
    objects = None if result.boxes is None else int(result.boxes.judged.truths.sum())
    return Group(name, len(places), objects, result.figures)
