"""Semantic segmentation: for every map of the manifest one output, which says what every part of the picture is.

An output is either finished, (batch, h, w) or (batch, 1, h, w) of whole numbers, which indexes the map's classes, or a
score per class, (batch, classes, h, w) or (batch, h, w, classes), of which the largest wins. A single channel of scores
stands for a map of two classes. The raster may be smaller than the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.engine.decoders import NetworkShape
from streamvision.errors import EngineError
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Perception, Segmentation, UInt8


class SemanticDecoder:
    """Reads label maps."""

    class Options(BaseModel):
        """``threshold``: a single channel means the second class above it; 0 for logits, 0.5 for probabilities."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` where the outputs are not what the manifest's maps need."""
        self._threshold = options.threshold
        self._model = network.model
        self._maps = dict(network.segmentation)
        self._axes = _class_axes(network)

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture, with the maps in the manifest's order."""
        used = outputs[: len(self._maps)]
        return [
            Perception(Detections.empty(), self._segmentation([output[item] for output in used], letterbox))
            for item, letterbox in enumerate(letterboxes)
        ]

    def _segmentation(self, rasters: Sequence[NDArray[Any]], letterbox: Letterbox) -> tuple[Segmentation, ...]:
        found = []
        for (name, classes), axis, raster in zip(self._maps.items(), self._axes, rasters, strict=True):
            labels = self._labels(name, raster, axis, len(classes))
            size_wh = (labels.shape[1], labels.shape[0])
            found.append(Segmentation(name, labels, letterbox.resized(size_wh), classes))
        return tuple(found)

    def _labels(self, name: str, raster: NDArray[Any], axis: int | None, classes: int) -> UInt8:
        """Return the label map (h,w) of one picture's output. Raises `EngineError` for a class that nobody named."""
        channels = raster[None] if axis is None else np.moveaxis(raster, axis, 0)
        if len(channels) > 1:
            return winners(channels)
        if raster.dtype.kind == "f" and axis is not None:
            return np.asarray(channels[0] > self._threshold, np.uint8)
        return self._checked(name, channels[0], classes)

    def _checked(self, name: str, labels: NDArray[Any], classes: int) -> UInt8:
        low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
        if low < 0 or high >= classes:
            raise EngineError(
                f"label map {name!r} has class {low if low < 0 else high}, but the manifest names {classes}",
                where=self._model,
                remedy="list every class of the network in the manifest's `segmentation`",
            )
        return labels.astype(np.uint8, copy=False)


def winners(scores: NDArray[Any]) -> UInt8:
    """Return which channel of (classes,h,w) is largest in every place; the first of equals, as everywhere.

    One comparison of whole planes per class: several times faster than numpy's argmax over the first axis.
    """
    best = np.array(scores[0])
    winner = np.zeros(best.shape, np.uint8)
    for index, plane in enumerate(scores[1:], start=1):
        # The index grows, so the larger of two is the later winner.
        np.maximum(winner, (plane > best).view(np.uint8) * np.uint8(index), out=winner)
        np.maximum(best, plane, out=best)
    return winner


def _class_axes(network: NetworkShape) -> list[int | None]:
    """Return for each map which axis of one picture's output counts classes; None where there is no such axis."""
    wanted = len(network.segmentation)
    if len(network.outputs) < wanted:
        names = ", ".join(network.segmentation)
        raise network.mismatch(
            f"the manifest has {wanted} label maps ({names}), but the network has {len(network.outputs)} outputs"
        )
    shapes = zip(network.segmentation.items(), network.outputs, strict=False)
    return [_class_axis(network, name, len(classes), shape[1:]) for (name, classes), shape in shapes]


def _class_axis(network: NetworkShape, name: str, classes: int, shape: tuple[int, ...]) -> int | None:
    if len(shape) == 2:
        return None
    if len(shape) == 3:
        for axis in (0, 2):
            if shape[axis] == classes:
                return axis
        if shape[0] == 1:
            return 0
    raise network.mismatch(
        f"label map {name!r} has {classes} classes, so its output is (batch, h, w), (batch, {classes}, h, w) or "
        f"(batch, h, w, {classes}), but the network gives (batch, {', '.join(map(str, shape))})"
    )
