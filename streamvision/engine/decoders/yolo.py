"""YOLO heads with one output of finished boxes, as Ultralytics exports them.

v5 and v7: (batch, anchors, 4 + 1 + classes), a score is objectness times class probability. v8, v9 and v11:
(batch, 4 + classes, anchors), a score is the class probability. Boxes are centre and size in model px. Which of
them a network is, is read from its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.decoders import Candidates, NetworkShape, NmsOptions, suppress
from streamvision.geometry import Letterbox
from streamvision.types import Float32, Perception

_BOX = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """``objectness``: a column of its own before the classes; ``anchors_last``: anchors are the last dimension."""

    objectness: bool
    anchors_last: bool

    @property
    def classes_from(self) -> int:
        """Index of the first class."""
        return _BOX + self.objectness

    def __str__(self) -> str:
        values = "4 + 1 + classes" if self.objectness else "4 + classes"
        return f"({values}, anchors)" if self.anchors_last else f"(anchors, {values})"


class YoloDecoder:
    """Reads v5-style and v8-style outputs."""

    class Options(NmsOptions):
        """State ``objectness`` and ``anchors_last`` only for a network whose shape fits more than one layout."""

        objectness: bool | None = None
        anchors_last: bool | None = None

    def __init__(self, options: Options, network: NetworkShape) -> None:
        self._options = options
        self.layout = resolve(options, network)

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture; ``outputs[0]`` is (batch, ...) in the resolved layout."""
        pairs = zip(outputs[0], letterboxes, strict=True)
        return [Perception(suppress(self._candidates(values), letterbox, self._options)) for values, letterbox in pairs]

    def _candidates(self, values: NDArray[Any]) -> Candidates:
        anchors = values.T if self.layout.anchors_last else values
        chosen = np.asarray(anchors[self._likely(anchors)], np.float32)
        class_id = chosen[:, self.layout.classes_from :].argmax(axis=1)
        score = self._scores(chosen, class_id)
        sure = score >= self._options.min_score
        return Candidates(chosen[sure, :_BOX], score[sure], class_id[sure].astype(np.int32))

    def _likely(self, anchors: NDArray[Any]) -> NDArray[np.intp]:
        """Return the anchors that may reach the threshold, from the least memory that can tell."""
        if self.layout.objectness:
            return np.flatnonzero(anchors[:, _BOX] >= self._options.min_score)
        return np.flatnonzero(anchors[:, _BOX:].max(axis=1) >= self._options.min_score)

    def _scores(self, chosen: Float32, class_id: NDArray[np.intp]) -> Float32:
        best = chosen[np.arange(len(chosen)), self.layout.classes_from + class_id]
        return best * chosen[:, _BOX] if self.layout.objectness else best


def resolve(options: YoloDecoder.Options, network: NetworkShape) -> Layout:
    """Return the one layout that fits the network's shape. Raises `ManifestError` if there is none, or several."""
    _, rows, columns = network.only_output(rank=3)
    fitting = [
        layout
        for layout in (Layout(objectness, last) for objectness in (False, True) for last in (False, True))
        if (rows if layout.anchors_last else columns) == layout.classes_from + network.classes
        and options.objectness in (None, layout.objectness)
        and options.anchors_last in (None, layout.anchors_last)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise network.mismatch(
            f"with the manifest's {network.classes} labels one side must be {_BOX + network.classes} or "
            f"{_BOX + 1 + network.classes}, but the network gives {rows}x{columns}"
        )
    raise network.mismatch(
        f"an output of {rows}x{columns} may be {' or '.join(map(str, fitting))}: "
        "state `objectness` and `anchors_last` in the manifest's decoder"
    )
