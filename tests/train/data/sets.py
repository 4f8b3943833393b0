"""Pictures whose objects are rectangles of one colour each, so that they can be found again after anything."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from streamvision.dataset import Dataset, Example, Objects
from streamvision.types import UInt8

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
"""RGB of the classes."""
SIZES = ((200, 150), (96, 160), (300, 100), (128, 72), (512, 288))


def coloured(folder: Path, count: int = 7, *, maps: bool = True, outlines: bool = True) -> Dataset:
    """Return pictures on disk with one rectangle of each class; the label map "ground" is 1 where class 0 is."""
    folder.mkdir(parents=True, exist_ok=True)
    return Dataset(
        str(folder), ("red", "green", "blue"),
        tuple(_example(folder, number, maps=maps, outlines=outlines) for number in range(count)),
        {"ground": ("rest", "red")} if maps else {},
    )  # fmt: skip


def _example(folder: Path, number: int, *, maps: bool, outlines: bool) -> Example:
    rng = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    rgb = np.full((height, width, 3), 128, np.uint8)
    boxes = []
    for class_id, colour in enumerate(COLOURS):
        third = width // 3  # beside each other, so that none hides another
        x1 = class_id * third + int(rng.integers(1, third // 3))
        y1 = int(rng.integers(1, height // 3))
        x2, y2 = x1 + int(rng.integers(third // 3, third // 2)), y1 + int(rng.integers(height // 4, height // 2))
        rgb[y1:y2, x1:x2] = colour
        boxes.append([x1, y1, x2, y2])
    path = folder / f"{number}.png"
    if not path.exists():
        cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    xyxy = np.array(boxes, np.float32)
    corners = tuple([box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)] for box in xyxy) if outlines else None
    objects = Objects(xyxy, np.arange(3, dtype=np.int32), np.zeros(3, np.bool_), corners)
    label_maps = {}
    if maps:
        label_maps["ground"] = folder / f"{number}_ground.png"
        if not label_maps["ground"].exists():
            cv2.imwrite(str(label_maps["ground"]), is_class(rgb, 0).astype(np.uint8))
    return Example(path, (width, height), objects, label_maps)


def is_class(rgb: UInt8, class_id: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Tell where a picture (h,w,3) has mostly the colour of a class."""
    other = np.delete(rgb, class_id, axis=2).max(2)
    return np.asarray(rgb[..., class_id].astype(int) - other > 96)
