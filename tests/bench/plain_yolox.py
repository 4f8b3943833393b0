"""YOLOX as its authors run it: the reference that accuracy is measured beside. Nothing of this project is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE = 416


class PlainRunner:
    """One picture at a time, nothing clever."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        anchors = [(x, y, s) for s in (8, 16, 32) for y in range(SIZE // s) for x in range(SIZE // s)]
        self._cells = np.array(anchors)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    def detect(self, path: Path) -> list[tuple[list[float], float, int]]:
        picture = cv2.imread(str(path))
        ratio = min(SIZE / picture.shape[0], SIZE / picture.shape[1])
        width, height = int(picture.shape[1] * ratio), int(picture.shape[0] * ratio)
        padded = np.full((SIZE, SIZE, 3), 114, np.uint8)
        padded[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        (output,) = self._session.run(None, {"images": padded.transpose(2, 0, 1)[None].astype(np.float32)})
        rows = output[0].astype(np.float64)
        centre = (rows[:, :2] + self._cells[:, :2]) * self._cells[:, 2:]
        size = np.exp(rows[:, 2:4]) * self._cells[:, 2:]
        boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1) / ratio
        boxes = boxes.clip(0, [picture.shape[1], picture.shape[0]] * 2)
        scores = rows[:, 4:5] * rows[:, 5:]
        return plain_nms(boxes, scores.max(axis=1), scores.argmax(axis=1))


def coco_rows(runner: PlainRunner, truth: Any, folder: Path, labels: Sequence[str]) -> tuple[Any, dict[int, int]]:
    """Return what the runner sees in every labelled picture, as COCO's results, and the category of each class."""
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    categories = {index: ids[label] for index, label in enumerate(labels)}
    rows = [
        {
            "image_id": image["id"],
            "category_id": categories[class_id],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
        }
        for image in truth["images"]
        for box, score, class_id in runner.detect(folder / image["file_name"])
    ]
    return rows, categories


def plain_nms(boxes: Any, scores: Any, classes: Any) -> list[tuple[list[float], float, int]]:
    found = []
    ranked = [index for index in np.argsort(-scores, kind="stable") if scores[index] > 0.001]
    for class_id in set(classes[ranked]):
        order = [index for index in ranked if classes[index] == class_id]
        while order:
            best, rest = order[0], np.array(order[1:], int)
            found.append((boxes[best].tolist(), float(scores[best]), int(class_id)))
            low = np.maximum(boxes[best, :2], boxes[rest, :2])
            sides = np.clip(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - low, 0, None)
            shared = sides.prod(axis=1)
            areas = (boxes[rest, 2:] - boxes[rest, :2]).prod(axis=1) + (boxes[best, 2:] - boxes[best, :2]).prod()
            order = rest[shared / (areas - shared) <= 0.45].tolist()
    return sorted(found, key=lambda row: -row[1])[:100]
