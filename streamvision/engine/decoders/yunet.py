"""YuNet: faces with five landmarks, from one set of maps per stride (Wu et al., "YuNet: A Tiny Millisecond-level Face
Detector", 2023).

Outputs ``cls_S`` and ``obj_S`` (batch, cells, 1), ``bbox_S`` (batch, cells, 4) and ``kps_S`` (batch, cells, 10) for
each stride S: centre and landmarks in cells from the cell's own corner, size as a logarithm of cells. A score is the
geometric mean of class and objectness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamvision.engine.decoders import NetworkShape, NmsOptions, corners, to_detections
from streamvision.engine.decoders.yolox import anchor_grid
from streamvision.engine.nms import best_first, nms
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Perception

_PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_MAX_LOG_SIZE = np.float32(12.0)


class YunetDecoder:
    """Reads faces; keypoints are right eye, left eye, nose tip, right and left corner of the mouth."""

    class Options(NmsOptions):
        """``iou`` is that of the network's authors; ``strides`` as the head has them."""

        iou: Annotated[float, Field(gt=0, le=1)] = 0.3
        strides: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (8, 16, 32)

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` where outputs are missing or of another size than the strides make."""
        self._options = options
        self._at = {part: [network.index_of(f"{part}_{stride}") for stride in options.strides] for part in _PARTS}
        self._grid, self._stride = anchor_grid(network.input_wh, options.strides)
        _check(self._at, options, network)

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture."""
        found = []
        for item, letterbox in enumerate(letterboxes):
            parts = {name: [outputs[index][item] for index in places] for name, places in self._at.items()}
            found.append(Perception(self._one(parts, letterbox)))
        return found

    def _one(self, parts: dict[str, list[NDArray[Any]]], letterbox: Letterbox) -> Detections:
        score = _scores(parts)
        sure = np.flatnonzero(score >= self._options.min_score)
        if not len(sure):
            return Detections.empty()
        sure = sure[best_first(score[sure], self._options.candidates)]
        grid, stride = self._grid[sure], self._stride[sure]
        box = np.asarray(np.concatenate(parts["bbox"])[sure], np.float32)
        size = np.exp(np.minimum(box[:, 2:], _MAX_LOG_SIZE)) * stride
        xyxy = corners(np.concatenate(((box[:, :2] + grid) * stride, size), axis=1))
        keep = nms(xyxy, None, self._options.iou)[: self._options.max_detections]
        marks = np.asarray(np.concatenate(parts["kps"])[sure[keep]], np.float32).reshape(len(keep), -1, 2)
        marks = letterbox.points_to_source((marks + grid[keep, None]) * stride[keep, None])
        return to_detections(xyxy[keep], score[sure[keep]], np.zeros(len(keep), np.int32), letterbox, None, marks)


def _scores(parts: dict[str, list[NDArray[Any]]]) -> Float32:
    """Return the score of every cell."""
    kind, objectness = (
        np.minimum(np.maximum(np.concatenate(parts[name])[:, 0], 0, dtype=np.float32), 1) for name in ("cls", "obj")
    )
    return np.asarray(np.sqrt(kind * objectness), np.float32)


def _check(places: dict[str, list[int]], options: YunetDecoder.Options, network: NetworkShape) -> None:
    if network.classes != 1:
        raise network.mismatch(f"this decoder knows faces only, but the manifest has {network.classes} labels")
    for part, indices in places.items():
        for stride, index in zip(options.strides, indices, strict=True):
            cells = (network.input_wh[0] // stride) * (network.input_wh[1] // stride)
            shape = network.outputs[index]
            if shape[1:] != (cells, _PARTS[part]):
                raise network.mismatch(
                    f"output {part}_{stride} should be (batch, {cells}, {_PARTS[part]}) at "
                    f"{network.input_wh[0]}x{network.input_wh[1]}, but is {shape}"
                )
