"""One pass over a data set, whatever the network makes of its pictures and whatever the set says of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamvision.dataset import Dataset, Example
from streamvision.errors import UsageError
from streamvision.evaluate.coco import Precision
from streamvision.evaluate.label_maps import MapBook, MapFigures
from streamvision.evaluate.matching import Pairs, match, matched
from streamvision.evaluate.objects import ObjectBook
from streamvision.evaluate.whole import WholeBook, WholeFigures
from streamvision.types import Perception


@dataclass(frozen=True, slots=True)
class Names:
    """What a network calls what it sees: objects (``labels``), and the classes of each of its label maps.

    ``whole``: the labels are for pictures as a whole.
    """

    labels: tuple[str, ...] = ()
    maps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a pass found; None and empty where the network or the data has no such thing."""

    pictures: int
    boxes: Precision | None = None
    masks: Precision | None = None
    maps: Mapping[str, MapFigures] = field(default_factory=dict)
    whole: WholeFigures | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Return all of it in one flat table, NaN for what nothing could be said of.

        ``AP``, ``AP50``, ``AP75``, ``AP_small``, ``AP_medium``, ``AP_large``; the same of masks with ``mask_`` before
        it; ``mIoU`` (over the maps where there are several: the mean of ``mIoU_NAME``) and ``pixel_accuracy``;
        ``top1`` and ``top5``.
        """
        table = {} if self.boxes is None else dict(self.boxes.figures)
        if self.masks is not None:
            table |= {f"mask_{name}": value for name, value in self.masks.figures.items()}
        for ending, values in (
            ("mIoU", {name: one.miou for name, one in self.maps.items()}),
            ("pixel_accuracy", {name: one.pixel_accuracy for name, one in self.maps.items()}),
        ):
            if values:
                table[ending] = sum(values.values()) / len(values)
            if len(values) > 1:
                table |= {f"{ending}_{name}": value for name, value in values.items()}
        if self.whole is not None:
            table |= {"top1": self.whole.top1, "top5": self.whole.top5}
        return table


class Evaluator:
    """Takes pictures one by one and measures what network and data set have in common.

    ``pairs``: which class of the network is which of the data, where their names differ. ``areas``: of each example's
    objects, in px, where a file tells them. Raises `UsageError` where nothing is in common.
    """

    def __init__(
        self,
        dataset: Dataset,
        names: Names,
        pairs: Pairs = (),
        areas: Mapping[Example, Sequence[float]] | None = None,
    ) -> None:
        self.dataset, self.names, self._areas = dataset, names, areas or {}
        self.examples: list[Example] = []
        self.objects = self._objects(pairs)
        self.maps = _maps(dataset, names, pairs)
        self.whole = self._whole(pairs)
        if self.objects is None and self.whole is None and not self.maps:
            raise UsageError(
                "the data labels nothing that the model sees", where=dataset.origin,
                remedy=f"the model makes {_made(names)}; the data has {_labelled(dataset)}",
            )  # fmt: skip

    def add(self, example: Example, perception: Perception) -> None:
        """Take one picture of the set and what the network saw in it."""
        self.examples.append(example)
        if self.objects is not None:
            self.objects.add(example, perception.detections, self._areas.get(example))
        for one in self.maps:
            one.add(self.dataset, example, perception.segmentation)
        if self.whole is not None:
            self.whole.add(example, perception.classification)

    def result(self, only: Collection[Example] | None = None) -> Evaluation:
        """Return the figures over all pictures so far, or over ``only`` some of them.

        Raises `MissingError` for objects without pycocotools.
        """
        objects = self.objects
        chosen = None if objects is None else _places([one.example for one in objects.pictures], only)
        return Evaluation(
            len(self.examples if only is None else only),
            None if objects is None else objects.precision(pictures=chosen),
            objects.precision("segm", chosen) if objects is not None and objects.has_masks else None,
            {one.model_name: one.figures(_places([example for example, _ in one.pictures], only)) for one in self.maps},
            None
            if self.whole is None
            else self.whole.figures(_places([example for example, _, _ in self.whole.pictures], only)),
        )

    def _objects(self, pairs: Pairs) -> ObjectBook | None:
        if (
            not self.names.labels
            or self.names.whole
            or all(example.objects is None for example in self.dataset.examples)
        ):
            return None
        labels, classes = self.names.labels, self.dataset.classes
        maps = self.names.maps and self.dataset.maps
        matching = match(labels, classes, pairs) if maps else matched(labels, classes, pairs, self.dataset.origin)
        return ObjectBook(matching) if len(matching) else None

    def _whole(self, pairs: Pairs) -> WholeBook | None:
        if not self.names.whole or all(example.label is None for example in self.dataset.examples):
            return None
        return WholeBook(matched(self.names.labels, self.dataset.classes, pairs, self.dataset.origin))


def measure(dataset: Dataset, perceptions: Iterable[Perception], names: Names, pairs: Pairs = ()) -> Evaluation:
    """Return how good ``perceptions`` are, one for each example of the set, in its order."""
    evaluator = Evaluator(dataset, names, pairs)
    for example, perception in zip(dataset.examples, perceptions, strict=True):
        evaluator.add(example, perception)
    return evaluator.result()


def _maps(dataset: Dataset, names: Names, pairs: Pairs) -> list[MapBook]:
    """Pair the label maps by their names; where the data has a single one of another name, it serves for all."""
    books = []
    for name, classes in names.maps.items():
        only = next(iter(dataset.maps)) if len(dataset.maps) == 1 else None
        theirs = name if name in dataset.maps else only
        matching = None if theirs is None else match(classes, dataset.maps[theirs], pairs)
        if theirs is not None and matching is not None and len(matching):
            books.append(MapBook(name, theirs, matching))
    return books


def _places(examples: Sequence[Example], only: Collection[Example] | None) -> list[int] | None:
    return None if only is None else [place for place, example in enumerate(examples) if example in only]


def _made(names: Names) -> str:
    made = [f"objects: {_few(names.labels)}"] if names.labels else []
    return ", ".join([*made, *(f"the map {name}: {_few(classes)}" for name, classes in names.maps.items())])


def _labelled(dataset: Dataset) -> str:
    things = [f"classes: {_few(dataset.classes)}"] if dataset.classes else []
    return ", ".join([*things, *(f"the map {name}: {_few(one)}" for name, one in dataset.maps.items())]) or "no labels"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
