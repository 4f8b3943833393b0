"""Everything that is asked about one engine on one data set, in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from streamvision.dataset import Dataset, Example
from streamvision.distort import STRENGTHS
from streamvision.evaluate.calibration import Calibration, calibration
from streamvision.evaluate.coco import import_pycocotools
from streamvision.evaluate.details import ObjectDetails, object_details
from streamvision.evaluate.evaluator import Evaluation, Evaluator, Names
from streamvision.evaluate.groups import Gap, Group, by_group, check_column, gaps
from streamvision.evaluate.matching import Pairs
from streamvision.evaluate.robustness import KINDS, Robustness, robustness, subset
from streamvision.evaluate.running import perceptions
from streamvision.evaluate.speed import Speed, speed
from streamvision.evaluate.voc import VocPrecision, voc_precision
from streamvision.interfaces import Engine

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows how far something is: given a title and how many, it gives a function to be called for each."""


def no_bar(title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
    """Show nothing."""
    del title, total
    return nullcontext(lambda: None)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: of which data, and what besides the figures themselves.

    ``robustness``: on how many pictures; 0 for not at all. ``group``: a metadata column. ``areas``: of objects, where
    the data's file tells them.
    """

    dataset: Dataset
    pairs: Pairs = ()
    voc: bool = False
    robustness: int = 0
    group: str | None = None
    speed: bool = False
    areas: Mapping[Example, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What was found out about one model; None and empty for what was not asked or cannot be said."""

    model: str
    summary: str
    engine: str
    evaluator: Evaluator
    evaluation: Evaluation
    objects: ObjectDetails | None = None
    whole: Calibration | None = None
    voc: VocPrecision | None = None
    groups: Sequence[Group] = ()
    gaps: Sequence[Gap] = ()
    robustness: Robustness | None = None
    speed: Speed | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Return all figures of the whole set in one flat table; see `Evaluation.figures`."""
        table = dict(self.evaluation.figures)
        if self.voc is not None:
            table |= self.voc.figures
        if self.objects is not None:
            table |= {"best_F1": self.objects.best.f1, "D_ECE": self.objects.calibration.error}
        if self.whole is not None:
            table["ECE"] = self.whole.error
        return table


def study(
    engine: Engine, names: Names, question: Question, *, model: str = "", summary: str = "", bar: Bar = no_bar
) -> Study:
    """Return what an engine reaches on a data set.

    Raises `UsageError` where the two have nothing in common or no picture has the group's column, `MissingError` for
    objects without pycocotools, `DataError` and `CaptureError` for pictures that cannot be used.
    """
    dataset = question.dataset
    start = partial(Evaluator, dataset, names, question.pairs, question.areas)
    evaluator = start()
    if evaluator.objects is not None:
        import_pycocotools()  # its absence is told before the work, not after it
    if question.group is not None:
        check_column(dataset, question.group)
    with bar("evaluating", len(dataset)) as advance:
        for example, perception in perceptions(engine, dataset.examples):
            evaluator.add(example, perception)
            advance()
    evaluation = evaluator.result()
    groups = by_group(evaluator, question.group) if question.group is not None else []
    objects, boxes, whole = evaluator.objects, evaluation.boxes, evaluation.whole
    return Study(
        model, summary, engine.description, evaluator, evaluation,
        None if objects is None or boxes is None else object_details(objects, boxes),
        None if whole is None else calibration(whole.confidence, whole.right),
        voc_precision(objects.pictures, len(objects.matching)) if objects is not None and question.voc else None,
        groups, gaps(groups), _robustness(engine, start, question, bar),
        speed(engine, dataset.examples) if question.speed else None,
    )  # fmt: skip


def _robustness(engine: Engine, start: Callable[[], Evaluator], question: Question, bar: Bar) -> Robustness | None:
    if not question.robustness:
        return None
    examples = subset(question.dataset, question.robustness)
    with bar("spoiling pictures", len(examples) * (1 + len(KINDS) * len(STRENGTHS))) as advance:
        return robustness(engine, examples, start, advance=advance)
