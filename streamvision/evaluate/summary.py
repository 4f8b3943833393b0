"""A study as plain values for JSON: what could not be measured is null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from streamvision.evaluate.calibration import Calibration
from streamvision.evaluate.label_maps import MapFigures
from streamvision.evaluate.robustness import Robustness
from streamvision.evaluate.study import Study

_DIGITS = 6


def as_json(study: Study) -> dict[str, Any]:
    """Return all figures: the main ones at the top level, then by class, map, group, distortion."""
    table: dict[str, Any] = {"model": study.model, "images": study.evaluation.pictures, **study.figures}
    maps = study.evaluation.maps
    if len(maps) == 1:
        table["classes"] = _by_name(*_ious(next(iter(maps.values()))))
    if maps:
        table["maps"] = {
            name: {"mIoU": one.miou, "pixel_accuracy": one.pixel_accuracy, "classes": _by_name(*_ious(one))}
            for name, one in maps.items()
        }
    table |= _objects(study) | _whole(study)
    if study.groups:
        table["groups"] = {
            one.name: {"images": one.pictures, "objects": one.objects, **one.figures} for one in study.groups
        }
        table["largest_gaps"] = [asdict(one) for one in study.gaps]
    if study.robustness is not None:
        table["robustness"] = _robustness(study.robustness)
    if study.speed is not None:
        table["speed"] = {"engine": study.engine, **asdict(study.speed)}
    return dict(_plain(table))


def difference(study: Study, other: Study) -> dict[str, float]:
    """Return by how much the first is above the other, for every figure that both have."""
    theirs = other.figures
    rows = {name: value - theirs[name] for name, value in study.figures.items() if name in theirs}
    if study.speed is not None and other.speed is not None:
        rows["pictures_per_s"] = study.speed.pictures_per_s - other.speed.pictures_per_s
    return rows


def class_rows(study: Study) -> list[dict[str, Any]]:
    """Return one row for each class of objects that both sides know."""
    boxes, details, book = study.evaluation.boxes, study.objects, study.evaluator.objects
    if boxes is None or details is None or book is None:
        return []
    rows = []
    for kind, (name, precision, point) in enumerate(
        zip(book.matching.names, boxes.by_class.tolist(), details.by_class, strict=True)
    ):
        row = {"class": name, "objects": int(boxes.judged.truths[kind])}
        row |= dict(zip(("AP", "AP50", "AP75"), precision, strict=True))
        if study.evaluation.masks is not None:
            row["mask_AP"] = float(study.evaluation.masks.by_class[kind, 0])
        if study.voc is not None:
            row |= {"VOC07_AP50": float(study.voc.eleven[kind]), "VOC_AP50": float(study.voc.every[kind])}
        row |= {"F1": point.f1, "threshold": point.threshold, "precision": point.precision, "recall": point.recall}
        rows.append(row)
    return rows


def _objects(study: Study) -> dict[str, Any]:
    details, book = study.objects, study.evaluator.objects
    if details is None or book is None:
        return {}
    return {
        "by_class": {row.pop("class"): row for row in class_rows(study)},
        "best_threshold": asdict(details.best),
        "confusion": {
            "threshold": details.best.threshold, "classes": [*book.matching.names, "(nothing)"],
            "rows": details.confusion.tolist(),
        },
        "calibration": _calibration(details.calibration),
    }  # fmt: skip


def _whole(study: Study) -> dict[str, Any]:
    whole = study.evaluation.whole
    if whole is None or study.whole is None:
        return {}
    return {
        "classes": _by_name(whole.names, whole.recalls.tolist()),
        "confusion": {"classes": list(whole.names), "rows": whole.confusion.tolist()},
        "calibration": _calibration(study.whole),
    }


def _robustness(found: Robustness) -> dict[str, Any]:
    return {
        "images": found.pictures,
        "clean": dict(found.clean),
        "left": {figure: found.left(figure) for figure in found.clean},
        **{kind: [dict(row) for row in rows] for kind, rows in found.spoilt.items()},
    }


def _calibration(one: Calibration) -> dict[str, Any]:
    return {
        "error": one.error, "count": one.count.tolist(), "confidence": one.confidence.tolist(),
        "right": one.right.tolist(),
    }  # fmt: skip


def _ious(one: MapFigures) -> tuple[Sequence[str], list[float]]:
    return one.names, one.ious.tolist()


def _by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in zip(names, values, strict=True)}


def _plain(value: Any) -> Any:
    """Return a value without NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
