"""Labels from a network: sure, doubtful, in tiles; the network is a fake that finds white squares."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import cv2
import numpy as np
import pytest

from streamvision.dataset.labelling import Labelling, label, windows
from streamvision.types import Batch, Detections, InputSpec, Perception


class SquareFinder:
    """Finds connected bright parts of at least 8 model px; the brightness (of 255) is the score."""

    input = InputSpec((96, 96))
    labels = ("square", "lorry", "car")
    in_flight = 1
    max_batch = 1
    description = "squares"

    def submit(self, batch: Batch) -> Future[list[Any]]:
        done: Future[list[Any]] = Future()
        done.set_result([frame.pixels.max(axis=2) for frame in batch.frames])
        return done

    def decode(self, batch: Batch, outputs: list[Any]) -> list[Perception]:
        return [self._one(*pair) for pair in zip(batch.frames, outputs, strict=True)]

    def _one(self, frame: Any, gray: Any) -> Perception:
        inner = np.where(gray == frame_pad(self.input), 0, gray)
        _, _, stats, _ = cv2.connectedComponentsWithStats((inner > 20).astype(np.uint8))
        rows = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist() if min(w, h) >= 8]
        scores = [inner[(y1 + y2) // 2, (x1 + x2) // 2] / 255 for x1, y1, x2, y2 in rows]
        xyxy = frame.letterbox.to_source(np.array(rows, np.float32).reshape(-1, 4))
        return Perception(
            Detections(xyxy.astype(np.float32), np.array(scores, np.float32), np.zeros(len(rows), np.int32))
        )

    def forget(self, stream: str) -> None: ...

    def close(self) -> None: ...


def frame_pad(spec: InputSpec) -> int:
    return spec.pad


def seen(*squares: tuple[int, int, int, int], size: int = 384) -> np.ndarray:
    """Return a black picture with squares (x, y, side, brightness)."""
    rgb = np.zeros((size, size, 3), np.uint8)
    for x, y, side, value in squares:
        rgb[y : y + side, x : x + side] = value
    return rgb


def labelled(rgb: np.ndarray, how: Labelling) -> Any:
    engine = SquareFinder()
    from streamvision.dataset.labelling import _detect

    return label(engine, rgb, _detect(engine, rgb), how)


def test_the_sure_count_the_doubtful_do_not_the_rest_is_left_out():
    rgb = seen((20, 20, 60, 230), (150, 150, 60, 100), (260, 260, 60, 30))
    found = labelled(rgb, Labelling(("square",), sure=0.6, doubtful=0.3))
    assert found.ignore.tolist() == [False, True]
    assert found.xyxy[0] == pytest.approx([20, 20, 80, 80], abs=6)
    assert found.xyxy[1] == pytest.approx([150, 150, 210, 210], abs=6)


def test_what_is_small_in_the_picture_is_found_in_tiles():
    rgb = seen((40, 40, 24, 230), (300, 310, 24, 230))
    assert len(labelled(rgb, Labelling(("square",), tiles=1))) == 0
    found = labelled(rgb, Labelling(("square",), tiles=3))
    assert sorted(found.xyxy[:, 0].round(-1).tolist()) == [40, 300]


def test_what_a_tile_cuts_is_taken_from_the_whole():
    rgb = seen((100, 100, 180, 230))
    found = labelled(rgb, Labelling(("square",), tiles=2))
    assert len(found) == 1
    assert found.xyxy[0] == pytest.approx([100, 100, 280, 280], abs=6)


def test_classes_are_renamed_and_others_left_out():
    rgb = seen((20, 20, 60, 230))
    assert len(labelled(rgb, Labelling(("person",)))) == 0
    found = labelled(rgb, Labelling(("person", "car"), {"square": "car"}))
    assert found.class_id.tolist() == [1]


def test_one_object_with_two_names_is_one_object():
    rgb = seen((20, 20, 60, 230))
    both = Detections(
        np.array([[20, 20, 80, 80], [21, 20, 81, 80]], np.float32), np.array([0.7, 0.9], np.float32),
        np.array([1, 2], np.int32),
    )  # fmt: skip
    found = label(SquareFinder(), rgb, both, Labelling(("lorry", "car")))
    assert found.class_id.tolist() == [1]


def test_tiles_cover_the_picture_and_overlap():
    covered = np.zeros((90, 160), int)
    for left, top, right, bottom in windows((160, 90), 3):
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    assert covered.max() > 1
    assert list(windows((160, 90), 1)) == []
