"""End-to-end heads: detections that need no suppression, or that the network has suppressed itself.

(batch, N, 6): x1, y1, x2, y2 in model px, score, class, as exported by YOLOv10 and YOLO26, and by Ultralytics with NMS;
its RT-DETR gives centre and size in parts of the picture instead. (M, 7): picture, x1, y1, x2, y2, class, score for all
pictures of the batch together, as exported by YOLOv7 with NMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.decoders import NetworkShape, ScoreOptions, corners, to_detections
from streamvision.engine.nms import best_first
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Perception

_VALUES = 6
_SCORE = 4
_CLASS = 5
_POOLED_ORDER = [1, 2, 3, 4, 6, 5]
"""Where the six values stand in a row that says first which picture it is of."""


class EndToEndDecoder:
    """Reads finished detections."""

    class Options(ScoreOptions):
        """``box``: two corners, or centre and size; ``normalised``: in parts of the network's picture, not in px."""

        box: Literal["corners", "centre"] = "corners"
        normalised: bool = False

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` for an output of another shape."""
        self._options = options
        self._classes = network.classes
        self._size = np.array(network.input_wh * 2, np.float32)
        shape = network.outputs[0] if network.outputs else ()
        self._pooled = len(shape) == 2 and shape[1] == _VALUES + 1
        if not self._pooled and (len(shape) != 3 or shape[2] != _VALUES):
            raise network.mismatch(
                f"an end-to-end output is (batch, N, {_VALUES}) or (N, {_VALUES + 1}), but the network gives {shape}"
            )

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture; ``outputs[0]`` is (batch, N, 6) or (M, 7)."""
        rows = outputs[0]
        if self._pooled:
            of = [rows[rows[:, 0] == item][:, _POOLED_ORDER] for item in range(len(letterboxes))]
        else:
            of = list(rows)
        return [Perception(self._one(each, letterbox)) for each, letterbox in zip(of, letterboxes, strict=True)]

    def _one(self, rows: NDArray[Any], letterbox: Letterbox) -> Detections:
        chosen = sure_rows(rows, self._classes, self._options)
        boxes = chosen[:, :4] if self._options.box == "corners" else corners(chosen[:, :4])
        boxes = boxes * self._size if self._options.normalised else boxes
        return to_detections(boxes, chosen[:, _SCORE], chosen[:, _CLASS].astype(np.int32), letterbox)


def sure_rows(rows: NDArray[Any], classes: int, options: ScoreOptions) -> Float32:
    """Return the rows that are detections, best first; unused ones hold anything, also classes that do not exist."""
    sure = rows[:, _SCORE] >= options.min_score
    known = (rows[:, _CLASS] >= 0) & (rows[:, _CLASS] < classes)
    chosen = np.asarray(rows[sure & known], np.float32)
    return chosen[best_first(chosen[:, _SCORE], options.max_detections)]
