"""Small labelled sets on disk, in every format, all of the same three pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CLASSES = ("car", "person")
SIZES = ((64, 48), (80, 60), (48, 64))
BOXES: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    ((8.0, 10.0, 30.0, 40.0), (40.0, 4.0, 60.0, 24.0)), ((0.0, 0.0, 80.0, 60.0),), ()
)  # fmt: skip
CLASS_IDS = ((0, 1), (1,), ())


def picture(path: Path, size_wh: tuple[int, int], seed: int) -> None:
    """Write a picture with structure, another one for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC))


def label_picture(path: Path, size_wh: tuple[int, int], classes: int, seed: int) -> np.ndarray[Any, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.random.default_rng(seed).integers(0, classes, size_wh[::-1], dtype=np.uint8)
    cv2.imwrite(str(path), labels)
    return labels


def coco(folder: Path) -> dict[str, Any]:
    """Write three pictures and return the document that describes them; `save` writes it."""
    images, annotations = [], []
    for number, (size_wh, boxes, classes) in enumerate(zip(SIZES, BOXES, CLASS_IDS, strict=True)):
        name = f"images/{number}.png"
        picture(folder / name, size_wh, number)
        images.append({"id": number + 1, "file_name": name, "width": size_wh[0], "height": size_wh[1]})
        for (x1, y1, x2, y2), class_id in zip(boxes, classes, strict=True):
            annotations.append({
                "id": len(annotations) + 1, "image_id": number + 1, "category_id": 10 * (class_id + 1),
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def save(document: Any, file: Path) -> Path:
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def coco_file(folder: Path) -> Path:
    return save(coco(folder), folder / "train.json")
