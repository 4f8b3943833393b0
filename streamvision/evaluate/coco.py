"""COCO's average precision, by pycocotools (Lin et al., "Microsoft COCO: Common Objects in Context", 2014)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamvision.errors import MissingError
from streamvision.types import Float32, Int32

MAX_DETECTIONS = 100
"""As many per picture as the metric looks at."""
MIN_SCORE = 0.001
"""AP asks for the whole curve, so nearly everything is kept."""

Rows = Sequence[Mapping[str, Any]]
"""Detections as COCO's result files have them."""
_HIGHLIGHTS = {"AP": 0, "AP50": 1, "AP75": 2, "AP_small": 3, "AP_medium": 4, "AP_large": 5}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Each detection at an overlap of 0.5, best score first within its class and picture; ignored ones are not here.

    row (N,) int: its place in the rows; picture (N,) int: its picture's place; class_id (N,) int32; score (N,)
    float32; hit (N,) bool. ``missed`` (P,C) int: how many objects of each picture and class nobody found; ``truths``
    (C,) int: how many there are of each class.
    """

    row: Int32
    picture: Int32
    class_id: Int32
    score: Float32
    hit: NDArray[np.bool_]
    missed: Int32
    truths: Int32


@dataclass(frozen=True, slots=True, eq=False)
class Precision:
    """``figures``: AP over all classes, by overlap and size; ``by_class`` (C,3): AP, AP50, AP75. NaN: no such object.

    ``curves`` (C,101): precision at an overlap of 0.5 for recalls from 0 to 1.
    """

    figures: dict[str, float]
    by_class: NDArray[np.float64]
    curves: NDArray[np.float64]
    judged: Judged


def import_pycocotools() -> tuple[Any, Any]:
    """Return the classes COCO and COCOeval. Raises `MissingError` without pycocotools."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingError("pycocotools is not installed", remedy="pip install 'streamvision[eval]'") from error
    return COCO, COCOeval


def average_precision(
    truth: Mapping[str, Any], results: Rows, categories: Mapping[int, int], of: Literal["bbox", "segm"] = "bbox"
) -> dict[str, float]:
    """Return COCO's AP figures over the categories that the model knows. Raises `MissingError` without pycocotools.

    ``categories``: class id -> category id.
    """
    return precision(truth, results, sorted(set(categories.values())), of).figures


def precision(
    truth: Mapping[str, Any], results: Rows, categories: Sequence[int], of: Literal["bbox", "segm"] = "bbox"
) -> Precision:
    """Return what COCO's evaluation says of detections, for the ids in ``categories``, class 0 first.

    Raises `MissingError` without pycocotools.
    """
    evaluation = _evaluated(truth, results, categories, of)
    table = np.where(evaluation.eval["precision"] > -1, evaluation.eval["precision"], np.nan)[:, :, :, 0, -1]
    figures = {name: float(evaluation.stats[index]) for name, index in _HIGHLIGHTS.items()}
    return Precision(
        {name: float("nan") if value < 0 else value for name, value in figures.items()},
        np.stack([table.mean((0, 1)), table[0].mean(0), table[5].mean(0)], axis=1), table[0].T, _judged(evaluation),
    )  # fmt: skip


def _evaluated(truth: Mapping[str, Any], results: Rows, categories: Sequence[int], of: str) -> Any:
    other = "bbox" if of == "segm" else "segmentation"  # it takes an object's size from the box where there is one
    results = [{name: value for name, value in row.items() if name != other} for row in results]
    coco, evaluator = import_pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        known = coco()
        known.dataset = _complete(truth)
        known.createIndex()
        found = coco() if not results else known.loadRes(results)
        evaluation = evaluator(known, found, of)
        evaluation.params.catIds = list(categories)
        evaluation.params.imgIds = [image["id"] for image in truth["images"]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _complete(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations with the fields that pycocotools insists on, and ids from 1: it takes an id 0 for none."""
    annotations = [
        {"iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row, "id": number}
        for number, row in enumerate(truth["annotations"], start=1)
    ]
    return {"info": {}, **truth, "annotations": annotations}


def _judged(evaluation: Any) -> Judged:
    """Read off COCOeval's own matches at the first overlap, 0.5, and all sizes."""
    settings = evaluation.params
    pictures = {image: index for index, image in enumerate(settings.imgIds)}
    classes = {category: index for index, category in enumerate(settings.catIds)}
    missed = np.zeros((len(pictures), len(classes)), np.int32)
    truths = np.zeros(len(classes), np.int32)
    parts = []
    for one in evaluation.evalImgs:
        if one is None or one["aRng"] != settings.areaRng[0]:
            continue
        picture, kind = pictures[one["image_id"]], classes[one["category_id"]]
        counts = ~np.asarray(one["gtIgnore"]).astype(np.bool_)
        truths[kind] += counts.sum()
        missed[picture, kind] = (counts & (one["gtMatches"][0] == 0)).sum()
        parts.append(_judged_rows(one, picture, kind))
    table = np.concatenate(parts, axis=1) if parts else np.zeros((5, 0))
    row, picture_of, class_id = table[:3].astype(np.int32)
    return Judged(row, picture_of, class_id, table[3].astype(np.float32), table[4] > 0, missed, truths)


def _judged_rows(one: Mapping[str, Any], picture: int, kind: int) -> NDArray[np.float64]:
    """Return row, picture, class, score and hit of each detection of one class in one picture, without ignored ones."""
    keep = ~np.asarray(one["dtIgnore"][0]).astype(np.bool_)
    rows = np.asarray(one["dtIds"], np.float64)[keep] - 1
    same = np.ones(len(rows))
    hits = np.asarray(one["dtMatches"][0])[keep] > 0
    return np.stack([rows, picture * same, kind * same, np.asarray(one["dtScores"], np.float64)[keep], hits])
