"""YOLO heads with instance masks: coefficients for each box, and prototypes (batch, c, h, w) that all boxes share.

A mask is the sum of the prototypes, each times its coefficient, cut to the box (Bolya et al., "YOLACT: Real-time
Instance Segmentation", 2019). The other output is v5-style, (batch, anchors, 4 + 1 + classes + c), v8- and v11-style,
(batch, 4 + classes + c, anchors), or finished rows (batch, N, 6 + c) of x1, y1, x2, y2, score, class, as end-to-end
networks give (YOLO26); which of them a network is, is read from its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.engine.decoders import Candidates, NetworkShape, corners, survivors, to_detections
from streamvision.engine.decoders.end2end import sure_rows
from streamvision.engine.decoders.prototypes import assemble
from streamvision.engine.decoders.yolo import Layout, YoloDecoder, fitting_layouts
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Int32, Perception

_ROW = 6


class YoloSegDecoder:
    """Reads boxes and coefficients, suppresses what overlaps, and makes the masks of what is left."""

    class Options(YoloDecoder.Options):
        """State ``end_to_end``, too, only for a network whose shape fits more than one layout."""

        end_to_end: bool | None = None

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` where the outputs are not what the options and the labels need."""
        self._options = options
        self._classes = network.classes
        self._boxes, self._prototypes = _outputs(network)
        self.layout = _resolve(options, network, network.outputs[self._boxes], network.outputs[self._prototypes][1])

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture."""
        items = zip(outputs[self._boxes], outputs[self._prototypes], letterboxes, strict=True)
        return [Perception(self._one(*item)) for item in items]

    def _one(self, values: NDArray[Any], prototypes: NDArray[Any], letterbox: Letterbox) -> Detections:
        xyxy, score, class_id, coefficients = self._finished(values) if self.layout is None else self._kept(values)
        masks = assemble(coefficients, np.asarray(prototypes, np.float32), xyxy, letterbox)
        return to_detections(xyxy, score, class_id, letterbox, masks)

    def _finished(self, values: NDArray[Any]) -> tuple[Float32, Float32, Int32, Float32]:
        """Return boxes in model px, scores, classes and coefficients of rows that are results already."""
        rows = sure_rows(values, self._classes, self._options)
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), rows[:, _ROW:]

    def _kept(self, values: NDArray[Any]) -> tuple[Float32, Float32, Int32, Float32]:
        """Return the same of what suppression leaves."""
        assert self.layout is not None
        found, coefficients = self.layout.read(values, self._options.min_score)
        keep = survivors(found, self._options)
        kept = Candidates(found.cxcywh[keep], found.score[keep], found.class_id[keep])
        return corners(kept.cxcywh), kept.score, kept.class_id, coefficients[keep]


def _outputs(network: NetworkShape) -> tuple[int, int]:
    """Return which output has the boxes and which one the prototypes."""
    ranks = [len(shape) for shape in network.outputs]
    if ranks.count(3) != 1 or ranks.count(4) != 1:
        found = ", ".join(map(str, network.outputs)) or "none"
        raise network.mismatch(
            "this decoder reads one output of 3 dimensions (boxes) and one of 4 (prototypes), but the network has "
            f"{found}"
        )
    return ranks.index(3), ranks.index(4)


def _resolve(
    options: YoloSegDecoder.Options, network: NetworkShape, shape: tuple[int, ...], coefficients: int
) -> Layout | None:
    """Return the one layout that fits the network's shape, None for finished rows.

    Raises `ManifestError` if there is none, or several.
    """
    rows, columns = shape[1:]
    fitting: list[Layout | None] = []
    if not options.end_to_end:
        fitting += fitting_layouts(options, (rows, columns), network.classes, coefficients)
    if options.end_to_end is not False and columns == _ROW + coefficients:
        fitting.append(None)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        widths = [4 + network.classes + coefficients, 5 + network.classes + coefficients]
        raise network.mismatch(
            f"with the manifest's {network.classes} labels and {coefficients} prototypes one side must be "
            f"{widths[0]} or {widths[1]}, or there must be {_ROW + coefficients} columns, but the network gives "
            f"{rows}x{columns}"
        )
    names = " or ".join(str(layout or "finished rows") for layout in fitting)
    raise network.mismatch(
        f"an output of {rows}x{columns} may be {names}: state `end_to_end`, `objectness` and `anchors_last` in the "
        "manifest's decoder"
    )
