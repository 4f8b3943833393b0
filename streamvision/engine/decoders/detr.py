"""DETR-style heads: class logits (batch, queries, classes) and boxes (batch, queries, 4), centre and size in parts of
the network's picture; optionally mask logits (batch, queries, h, w). Every object has a query of its own: no NMS.

Two schools train them. Softmax over the classes and "no object", the last (Carion et al., "End-to-End Object Detection
with Transformers", 2020): a query is one class. A sigmoid for each class (Zhu et al., "Deformable DETR", 2021; RT-DETR,
D-FINE, RF-DETR): the best pairs of query and class are the detections. A network's shape does not tell which it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamvision.engine.decoders import NetworkShape, ScoreOptions, corners, to_detections
from streamvision.engine.nms import best_first
from streamvision.geometry import Letterbox
from streamvision.types import Detections, Float32, Masks, Perception

_BOX = 4
_NAMES = {"boxes": ("box", "dets"), "logits": ("logit", "label", "score", "class"), "masks": ("mask",)}
"""Parts of the names that the exporters of such networks give their outputs."""
_HUGE = np.float32(1e30)


class DetrDecoder:
    """Reads logits and normalised boxes, whichever comes first."""

    class Options(ScoreOptions):
        """``first_class``: which column of the logits is the first label; networks that keep COCO's own numbers begin
        with 1. ``boxes``, ``logits``, ``masks``: names of outputs, where shapes and names do not tell."""

        activation: Literal["sigmoid", "softmax"] = "sigmoid"
        first_class: Annotated[int, Field(ge=0)] = 0
        boxes: str | None = None
        logits: str | None = None
        masks: str | None = None

    def __init__(self, options: Options, network: NetworkShape) -> None:
        """Raise `ManifestError` where the outputs are not what the options and the labels need."""
        self._options = options
        self._boxes, self._logits, self._masks = _outputs(options, network)
        self._classes = slice(options.first_class, options.first_class + network.classes)
        self._size = np.array(network.input_wh * 2, np.float32)
        self._find = self._pairs if options.activation == "sigmoid" else self._queries
        _check_classes(options, network, network.outputs[self._logits][2])

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture."""
        return [
            Perception(
                self._one(
                    outputs[self._logits][item],
                    outputs[self._boxes][item],
                    None if self._masks is None else outputs[self._masks][item],
                    letterbox,
                )
            )
            for item, letterbox in enumerate(letterboxes)
        ]

    def _one(
        self, logits: NDArray[Any], boxes: NDArray[Any], masks: NDArray[Any] | None, letterbox: Letterbox
    ) -> Detections:
        query, class_id, score = self._find(logits)
        order = best_first(score, self._options.max_detections)
        query, score = query[order], score[order]
        xyxy = corners(np.asarray(boxes[query], np.float32)) * self._size
        shapes = None if masks is None else _whole_picture(np.asarray(masks[query], np.float32), letterbox)
        return to_detections(xyxy, score, class_id[order].astype(np.int32), letterbox, shapes)

    def _pairs(self, logits: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
        """Return query, class and score of every pair whose sigmoid reaches the threshold."""
        # The threshold is moved through the sigmoid's inverse, so that few exponentials are computed.
        least = np.float32(math.log(self._options.min_score) - math.log1p(-self._options.min_score))
        known = logits[:, self._classes]
        query, class_id = np.nonzero(known >= least)
        chosen = np.asarray(known[query, class_id], np.float32)
        return query, class_id, _sigmoid(chosen)

    def _queries(self, logits: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
        """Return query, best class and probability of every query that is sure enough to be something."""
        values = np.clip(
            logits, -_HUGE, _HUGE, dtype=np.float32
        )  # infinities of half precision less themselves are nan
        values = np.exp(values - values.max(axis=1, keepdims=True))
        known = values[:, self._classes]
        class_id = known.argmax(axis=1)
        score = known[np.arange(len(known)), class_id] / values.sum(axis=1)
        query = np.flatnonzero(score >= self._options.min_score)
        return query, class_id[query], score[query]


def _sigmoid(values: Float32) -> Float32:
    return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def _whole_picture(values: Float32, letterbox: Letterbox) -> Masks:
    """Return masks that cover the network's whole picture, padding included."""
    sides = np.array([[0, 0], letterbox.model_wh], np.float32)
    region = letterbox.points_to_source(sides).reshape(1, 4)
    return Masks(values, np.repeat(region, len(values), axis=0))


def _outputs(options: DetrDecoder.Options, network: NetworkShape) -> tuple[int, int, int | None]:
    """Return which outputs are boxes, logits and masks (None without)."""
    flat = [index for index, shape in enumerate(network.outputs) if len(shape) == 3]
    raster = [index for index, shape in enumerate(network.outputs) if len(shape) == 4]
    boxes = _named(options.boxes, "boxes", [each for each in flat if network.outputs[each][2] == _BOX], network)
    logits = _named(options.logits, "logits", [each for each in flat if each != boxes], network)
    queries = network.outputs[boxes][1] if boxes is not None else 0
    fitting = [index for index in raster if network.outputs[index][1] == queries]
    masks = _named(options.masks, "masks", fitting, network) if options.masks or fitting else None
    if boxes is None or logits is None or network.outputs[logits][:2] != network.outputs[boxes][:2]:
        names = network.names or tuple(map(str, range(len(network.outputs))))
        found = ", ".join(f"{name} {shape}" for name, shape in zip(names, network.outputs, strict=True))
        raise network.mismatch(
            f"this decoder reads boxes (batch, N, {_BOX}) and logits (batch, N, classes), but the network has "
            f"{found or 'none'}: name them with `boxes` and `logits` if they are there"
        )
    return boxes, logits, masks


def _named(stated: str | None, what: str, fitting: list[int], network: NetworkShape) -> int | None:
    """Return the output that is stated, or the only one that fits, or the one of those whose name says so."""
    if stated is not None:
        return network.index_of(stated)
    if len(fitting) > 1 and network.names:
        fitting = [each for each in fitting if any(part in network.names[each].lower() for part in _NAMES[what])]
    return fitting[0] if len(fitting) == 1 else None


def _check_classes(options: DetrDecoder.Options, network: NetworkShape, columns: int) -> None:
    spare = columns - options.first_class - network.classes
    allowed = (1,) if options.activation == "softmax" else (0, 1)
    if spare not in allowed:
        wanted = " or ".join(str(options.first_class + network.classes + each) for each in allowed)
        raise network.mismatch(
            f"{network.classes} labels from column {options.first_class} on with {options.activation} need {wanted} "
            f"logits per query, but the network gives {columns}"
        )
