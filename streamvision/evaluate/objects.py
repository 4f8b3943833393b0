"""Detections against objects: what was seen and what is there, kept picture by picture until it is judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from streamvision.dataset import Example, Objects, Outline
from streamvision.dataset.outlines import area
from streamvision.evaluate.coco import Precision, precision
from streamvision.evaluate.matching import Matching
from streamvision.masks import patch, rle
from streamvision.types import Detections, Float32, Int32


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture: its objects and the detections of the classes that both sides know, by their common class ids."""

    example: Example
    truth: Objects
    found: Detections


@dataclass(slots=True, eq=False)
class ObjectBook:
    """All pictures so far whose objects are known; the others say nothing about detections."""

    matching: Matching
    pictures: list[Seen] = field(default_factory=list)
    outlined: bool = True
    masked: bool = True
    _truths: list[list[dict[str, Any]]] = field(default_factory=list)
    _rows: list[list[dict[str, Any]]] = field(default_factory=list)

    def add(self, example: Example, found: Detections, areas: Sequence[float] | None = None) -> None:
        """Take one picture and what the network found in it (class ids of the network, source px).

        ``areas`` (N,): of the example's objects in px; by default those of their outlines or else of their boxes.
        """
        if example.objects is None:
            return
        if areas is not None:
            areas = [one for one, kind in zip(areas, example.objects.class_id, strict=True) if self._knows(kind)]
        truth, found = self._common(example.objects, found)
        masks, self.masked = found.masks, self.masked and (found.masks is not None or not len(found))
        self.outlined &= truth.outlines is not None or not len(truth)
        number = len(self.pictures) + 1
        rows = [_truth(number, truth, index, example.size_wh) for index in range(len(truth))]
        for row, size in zip(rows, areas or (), strict=areas is not None):
            row["area"] = size
        self._truths.append(rows)
        self._rows.append(list(_rows(number, found, example.size_wh)))
        plain = found if masks is None else Detections(found.xyxy, found.score, found.class_id)
        self.pictures.append(Seen(example, truth, plain))  # masks at the network's size are kept as run lengths only

    def precision(self, of: Literal["bbox", "segm"] = "bbox", pictures: Collection[int] | None = None) -> Precision:
        """Return COCO's figures over all ``pictures`` (places in the list), of boxes or of masks."""
        chosen = range(len(self.pictures)) if pictures is None else sorted(pictures)
        truth = {
            "images": [
                dict(zip(("id", "width", "height"), (at + 1, *self.pictures[at].example.size_wh), strict=True))
                for at in chosen
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.matching.names, start=1)],
            "annotations": [row for at in chosen for row in self._truths[at]],
        }
        rows = [row for at in chosen for row in self._rows[at]]
        return precision(truth, rows, range(1, len(self.matching) + 1), of)

    @property
    def has_masks(self) -> bool:
        """Whether mask AP can be measured: every object is outlined, and every detection has a mask."""
        some = any(len(one.truth) for one in self.pictures) and any(len(one.found) for one in self.pictures)
        return some and self.outlined and self.masked

    def _knows(self, kind: int) -> bool:
        return bool(self.matching.of_data[kind] >= 0)

    def _common(self, truth: Objects, found: Detections) -> tuple[Objects, Detections]:
        kinds = self.matching.of_data[truth.class_id]
        keep = kinds >= 0
        outlines = truth.outlines and tuple(one for one, kept in zip(truth.outlines, keep, strict=True) if kept)
        truth = Objects(truth.xyxy[keep], kinds[keep], truth.ignore[keep], outlines)
        seen = self.matching.of_model[found.class_id]
        found = found[np.flatnonzero(seen >= 0)]
        return truth, _recoded(found, seen[seen >= 0])


def _recoded(found: Detections, class_id: Int32) -> Detections:
    return Detections(found.xyxy, found.score, class_id.astype(np.int32), found.masks)


def _truth(image_id: int, truth: Objects, index: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    row = {
        "image_id": image_id, "category_id": int(truth.class_id[index]) + 1, "bbox": _xywh(truth.xyxy[index]),
        "iscrowd": int(truth.ignore[index]),
    }  # fmt: skip
    if truth.outlines is not None:
        outline = truth.outlines[index]
        row |= {"segmentation": _segmentation(outline), "area": area(outline, size_wh)}
    return row


def _segmentation(outline: Outline) -> Any:
    if isinstance(outline, dict):
        return outline
    return [np.asarray(polygon, np.float64).ravel().tolist() for polygon in outline]


def _rows(image_id: int, found: Detections, size_wh: tuple[int, int]) -> Iterator[dict[str, Any]]:
    for index, (xyxy, score, kind) in enumerate(zip(found.xyxy, found.score, found.class_id, strict=True)):
        row = {"image_id": image_id, "category_id": int(kind) + 1, "bbox": _xywh(xyxy), "score": float(score)}
        if found.masks is not None:
            row["segmentation"] = rle(patch(found.masks, index, size_wh))
        yield row


def _xywh(xyxy: Float32) -> list[float]:
    x1, y1, x2, y2 = xyxy.tolist()
    return [x1, y1, x2 - x1, y2 - y1]
