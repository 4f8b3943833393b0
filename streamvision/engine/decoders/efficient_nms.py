"""Networks that suppress overlapping boxes themselves and say how many are left: four outputs, as TensorRT's
EfficientNMS and its imitations in plain ONNX make them: count (batch, 1), boxes (batch, N, 4) as x1, y1, x2, y2 in
model px, scores (batch, N), classes (batch, N).
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

_NAMES = {"count": ("num",), "boxes": ("box",), "scores": ("score",), "classes": ("class", "label")}


class EfficientNmsDecoder:
    """Reads finished detections of which only the first ones count."""

    class Options(ScoreOptions):
        """Nothing but the limits that every detector has."""

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` for outputs of other names or shapes."""
        self._options = options
        self._classes = network.classes
        self._at = {what: _find(parts, network) for what, parts in _NAMES.items()}
        _check(self._at, network)

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture."""
        parts = {what: outputs[index] for what, index in self._at.items()}
        return [
            Perception(self._one({what: values[item] for what, values in parts.items()}, letterbox))
            for item, letterbox in enumerate(letterboxes)
        ]

    def _one(self, parts: dict[str, NDArray[Any]], letterbox: Letterbox) -> Detections:
        count = int(np.clip(parts["count"].ravel()[0], 0, len(parts["scores"])))
        score = np.asarray(parts["scores"][:count], np.float32)
        class_id = parts["classes"][:count]
        sure = (score >= self._options.min_score) & (class_id >= 0) & (class_id < self._classes)
        chosen = np.flatnonzero(sure)
        chosen = chosen[best_first(score[chosen], self._options.max_detections)]
        boxes = np.asarray(parts["boxes"][chosen], np.float32)
        return to_detections(boxes, score[chosen], class_id[chosen].astype(np.int32), letterbox)


def _find(parts: tuple[str, ...], network: NetworkShape) -> int:
    fitting = [index for index, name in enumerate(network.names) if any(part in name.lower() for part in parts)]
    if len(fitting) != 1:
        raise network.mismatch(
            f"this decoder reads one output with {' or '.join(map(repr, parts))} in its name, but the network has "
            f"{', '.join(network.names) or 'none'}"
        )
    return fitting[0]


def _check(places: dict[str, int], network: NetworkShape) -> None:
    shapes = {what: network.outputs[index] for what, index in places.items()}
    rows = shapes["scores"][1:]
    if len(rows) != 1 or shapes["boxes"][1:] != (*rows, 4) or shapes["classes"][1:] != rows:
        raise network.mismatch(f"boxes, scores and classes should be (batch, N, 4), (batch, N) twice, but are {shapes}")
