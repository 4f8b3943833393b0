"""End-to-end heads, (batch, N, 6): x1, y1, x2, y2 in model px, score, class, as exported by YOLOv10 and YOLO26.

They need no suppression; neither do networks that were exported with their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.decoders import NetworkShape, ScoreOptions, to_detections
from streamvision.engine.nms import best_first
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Perception

_VALUES = 6
_SCORE = 4
_CLASS = 5


class EndToEndDecoder:
    """Reads finished detections."""

    class Options(ScoreOptions):
        """Nothing but the limits that every detector has."""

    def __init__(self, options: Options, network: NetworkShape) -> None:
        self._options = options
        self._classes = network.classes
        shape = network.only_output(rank=3)
        if shape[2] != _VALUES:
            raise network.mismatch(f"an end-to-end output is (batch, N, {_VALUES}), but the network gives {shape}")

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture; ``outputs[0]`` is (batch, N, 6)."""
        return [Perception(self._one(rows, letterbox)) for rows, letterbox in zip(outputs[0], letterboxes, strict=True)]

    def _one(self, rows: NDArray[Any], letterbox: Letterbox) -> Detections:
        sure = rows[:, _SCORE] >= self._options.min_score
        # Unused rows are filled with anything, also with classes that do not exist.
        known = (rows[:, _CLASS] >= 0) & (rows[:, _CLASS] < self._classes)
        chosen = np.asarray(rows[sure & known], np.float32)
        chosen = chosen[best_first(chosen[:, _SCORE], self._options.max_detections)]
        return to_detections(chosen[:, :4], chosen[:, _SCORE], chosen[:, _CLASS].astype(np.int32), letterbox)
