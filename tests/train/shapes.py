"""Small pictures of coloured discs and squares on a rough ground, as COCO files and as folders of classes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("disc", "square")
_COLOURS = {"disc": (220, 60, 40), "square": (40, 90, 230)}


def draw(folder: Path, count: int = 16, side: int = 128, seed: int = 0) -> Path:
    """Write ``count`` pictures with boxes, outlines and a label map ``scene``; return the COCO file."""
    rng = np.random.default_rng(seed)
    (folder / "scene").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        rgb = rng.integers(90, 130, (side, side, 3), dtype=np.uint8)
        scene = np.zeros((side, side), np.uint8)
        for place in rng.permutation(4)[: rng.integers(1, 4)]:
            half = int(rng.integers(side // 8, side // 5))
            x, y = (int(side * (0.25 + 0.5 * each)) + int(rng.integers(-4, 5)) for each in divmod(int(place), 2))
            kind = int(rng.integers(2))
            outline = _paint(rgb, scene, kind, (x, y), half)
            box = [int(outline[:, 0].min()), int(outline[:, 1].min()), 2 * half, 2 * half]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": kind + 1, "bbox": box, "iscrowd": 0,
                "area": box[2] * box[3], "segmentation": [outline.ravel().tolist()],
            })  # fmt: skip
        cv2.imwrite(str(folder / f"{number:03}.png"), rgb[:, :, ::-1])
        cv2.imwrite(str(folder / "scene" / f"{number:03}.png"), scene)
        images.append({
            "id": number, "file_name": f"{number:03}.png", "width": side, "height": side, "group": f"g{number % 8}",
            "label_maps": {"scene": f"scene/{number:03}.png"},
        })  # fmt: skip
    document = {
        "images": images, "annotations": annotations, "label_maps": {"scene": ["background", *CLASSES]},
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(document))
    return folder / "labels.json"


def _paint(rgb, scene, kind: int, centre_xy: tuple[int, int], half: int):
    x, y = centre_xy
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    disc, square = np.stack([np.cos(angles), np.sin(angles)], 1), np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    points = disc if kind == 0 else square
    outline = np.round(points * half + [x, y]).astype(np.int32)
    cv2.fillPoly(rgb, [outline], _COLOURS[CLASSES[kind]])
    cv2.fillPoly(scene, [outline], kind + 1)
    return outline


def draw_classes(folder: Path, count: int = 16, side: int = 64, seed: int = 0) -> Path:
    """Write one folder for each class with pictures that show one shape each; return the folder."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = number % 2
        rgb = rng.integers(90, 130, (side, side, 3), dtype=np.uint8)
        centre = tuple(int(each) for each in rng.integers(side // 3, side - side // 3, 2))
        _paint(rgb, np.zeros((side, side), np.uint8), kind, centre, int(rng.integers(side // 6, side // 3)))
        (folder / CLASSES[kind]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / CLASSES[kind] / f"{number:03}.png"), rgb[:, :, ::-1])
    return folder
