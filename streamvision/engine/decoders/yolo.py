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
    """``objectness``: a column of its own before the classes; ``anchors_last``: anchors are the last dimension.

    After its ``classes`` an anchor may have ``coefficients`` for masks.
    """

    objectness: bool
    anchors_last: bool
    classes: int
    coefficients: int = 0

    @property
    def classes_from(self) -> int:
        """Index of the first class."""
        return _BOX + self.objectness

    @property
    def classes_to(self) -> int:
        """Index after the last class."""
        return self.classes_from + self.classes

    @property
    def width(self) -> int:
        """How many values an anchor has."""
        return self.classes_to + self.coefficients

    def __str__(self) -> str:
        values = "4 + 1 + classes" if self.objectness else "4 + classes"
        values += " + coefficients" if self.coefficients else ""
        return f"({values}, anchors)" if self.anchors_last else f"(anchors, {values})"

    def read(self, values: NDArray[Any], min_score: float) -> tuple[Candidates, Float32]:
        """Return what one picture's output says with at least ``min_score``, and the coefficients (N,...) of each."""
        anchors = values.T if self.anchors_last else values
        chosen = np.asarray(anchors[self._likely(anchors, min_score)], np.float32)
        class_id = chosen[:, self.classes_from : self.classes_to].argmax(axis=1)
        score = self._scores(chosen, class_id)
        sure = score >= min_score
        found = Candidates(chosen[sure, :_BOX], score[sure], class_id[sure].astype(np.int32))
        return found, chosen[sure, self.classes_to :]

    def _likely(self, anchors: NDArray[Any], min_score: float) -> NDArray[np.intp]:
        """Return the anchors that may reach the threshold, from the least memory that can tell."""
        if self.objectness:
            return np.flatnonzero(anchors[:, _BOX] >= min_score)
        return np.flatnonzero(anchors[:, _BOX : self.classes_to].max(axis=1) >= min_score)

    def _scores(self, chosen: Float32, class_id: NDArray[np.intp]) -> Float32:
        best = chosen[np.arange(len(chosen)), self.classes_from + class_id]
        return best * chosen[:, _BOX] if self.objectness else best


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
        return self.layout.read(values, self._options.min_score)[0]


def resolve(options: YoloDecoder.Options, network: NetworkShape) -> Layout:
    """Return the one layout that fits the network's shape. Raises `ManifestError` if there is none, or several."""
    _, rows, columns = network.only_output(rank=3)
    fitting = fitting_layouts(options, (rows, columns), network.classes)
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


def fitting_layouts(
    options: YoloDecoder.Options, shape: tuple[int, int], classes: int, coefficients: int = 0
) -> list[Layout]:
    """Return every layout that an output of ``shape`` may have, as far as the options do not state it."""
    rows, columns = shape
    layouts = [
        Layout(objectness, last, classes, coefficients) for objectness in (False, True) for last in (False, True)
    ]
    return [
        layout
        for layout in layouts
        if (rows if layout.anchors_last else columns) == layout.width
        and options.objectness in (None, layout.objectness)
        and options.anchors_last in (None, layout.anchors_last)
    ]
