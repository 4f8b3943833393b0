"""Small labelled pictures, and an engine that sees them by their colours."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import Dataset, Example, Objects
from streamvision.types import Batch, Detections, Fit, InputSpec, Perception, Segmentation

SIZE = (96, 64)
CLASSES = ("car", "person")
COLOURS = {"car": (220, 40, 40), "person": (40, 200, 60)}
ROAD = ("background", "road")


def objects(*rows: Sequence[float], ignore: Sequence[bool] | None = None) -> Objects:
    """Rows of x1, y1, x2, y2, class."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    ignored = np.zeros(len(table), np.bool_) if ignore is None else np.array(ignore, np.bool_)
    return Objects(table[:, :4], table[:, 4].astype(np.int32), ignored)


def detections(*rows: Sequence[float]) -> Detections:
    """Rows of x1, y1, x2, y2, class, score."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 5].copy(), table[:, 4].astype(np.int32))


def seen(*rows: Sequence[float]) -> Perception:
    return Perception(detections(*rows))


def boxes(*pictures: Objects | None, size_wh: tuple[int, int] = (640, 480), **more: Any) -> Dataset:
    """A set of boxes without files."""
    examples = tuple(Example(Path(f"{number}.png"), size_wh, one) for number, one in enumerate(pictures))
    return Dataset("here", CLASSES, examples, **more)


def drawn(folder: Path, count: int = 4) -> Dataset:
    """Pictures of grey rooms with a coloured box or two on a dark road, and their label pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    return Dataset("rooms", CLASSES, tuple(_drawn(folder, number) for number in range(count)), {"scene": ROAD})


def _drawn(folder: Path, number: int) -> Example:
    width, height = SIZE
    rgb = np.full((height, width, 3), 170, np.uint8)
    labels = np.zeros((height, width), np.uint8)
    rgb[height // 2 :], labels[height // 2 :] = (60, 60, 70), 1
    labels[:4] = 255  # nobody said what the ceiling is
    rows = []
    for kind, name in enumerate(CLASSES):
        x, y, side = 8 + 40 * kind + 3 * number, 10 + 2 * number, 20
        rgb[y : y + side, x : x + side] = COLOURS[name]
        rows.append((x, y, x + side, y + side, kind))
    path, mask = folder / f"{number}.png", folder / f"{number}_label.png"
    cv2.imwrite(str(path), rgb[:, :, ::-1])
    cv2.imwrite(str(mask), labels)
    time = "day" if number % 2 else "night"
    return Example(path, SIZE, objects(*rows), {"scene": mask}, number % 2, f"ride{number // 2}", {"time": time})


class ColourEngine:
    """Sees a box around what is nearly of a class's colour, and road where it is dark. Its ``tolerance`` is its eye."""

    def __init__(self, tolerance: int = 40, labels: tuple[str, ...] = CLASSES, *, blind: str | None = None) -> None:
        self.input = InputSpec(SIZE, Fit.STRETCH)
        self.labels, self.in_flight, self.max_batch = labels, 2, 1
        self.description = "colours on nothing"
        self._tolerance, self._blind = tolerance, blind

    def submit(self, batch: Batch) -> Future[list[NDArray[Any]]]:
        future: Future[list[NDArray[Any]]] = Future()
        future.set_result([np.stack([frame.pixels for frame in batch.frames])])
        return future

    def decode(self, batch: Batch, outputs: list[NDArray[Any]]) -> list[Perception]:
        return [
            self._perception(pixels.astype(np.int32), frame)
            for frame, pixels in zip(batch.frames, outputs[0], strict=True)
        ]

    def forget(self, stream: str) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is held."""

    def _perception(self, rgb: NDArray[np.int32], frame: Any) -> Perception:
        rows = []
        for kind, (name, colour) in enumerate(COLOURS.items()):
            apart = np.abs(rgb - np.array(colour)).max(axis=2)
            down, across = np.nonzero(apart < self._tolerance)
            if len(down) > 20 and name != self._blind:
                score = 1 - float(apart[down, across].mean()) / 256
                rows.append((across.min(), down.min(), across.max() + 1, down.max() + 1, kind, score))
        road = (np.abs(rgb - np.array((60, 60, 70))).max(axis=2) < self._tolerance).astype(np.uint8)
        scene = Segmentation("scene", road, frame.letterbox, ROAD)
        return Perception(detections(*rows), (scene,), np.array([0.7, 0.3], np.float32))
