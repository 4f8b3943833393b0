"""YOLOX heads: (batch, anchors, 4 + 1 + classes), anchor-free (Ge et al., "YOLOX: Exceeding YOLO Series in 2021")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streamvision.engine.decoders import Candidates, NetworkShape, NmsOptions, suppress
from streamvision.geometry import Letterbox
from streamvision.types import Float32, Perception

_BOX = 4
_CLASSES_FROM = 5
_MAX_LOG_SIZE = np.float32(12.0)
"""exp of more than this is no box, and its area would not fit float32."""


class YoloxDecoder:
    """Reads scores after the sigmoid; boxes are raw (grid cell + stride) or, with ``decoded``, already pixels."""

    class Options(NmsOptions):
        """``decoded`` for networks exported with decode_in_inference; ``strides`` as the head has them."""

        decoded: bool = False
        strides: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (8, 16, 32)

    def __init__(self, options: Options, network: NetworkShape) -> None:
        self._options = options
        _check(options, network)
        self._grid, self._stride = anchor_grid(network.input_wh, options.strides)

    def decode(self, outputs: Sequence[NDArray[Any]], letterboxes: Sequence[Letterbox]) -> list[Perception]:
        """Return one `Perception` per picture; ``outputs[0]`` is (batch, anchors, 5 + classes)."""
        pairs = zip(outputs[0], letterboxes, strict=True)
        return [Perception(suppress(self._candidates(rows), letterbox, self._options)) for rows, letterbox in pairs]

    def _candidates(self, rows: NDArray[Any]) -> Candidates:
        # A score is objectness times class probability, so objectness alone rejects nearly all anchors, and the
        # wide class rows are touched only for the few that are left.
        likely = np.flatnonzero(rows[:, _BOX] >= self._options.min_score)
        chosen = np.asarray(rows[likely], np.float32)
        class_id = chosen[:, _CLASSES_FROM:].argmax(axis=1)
        score = chosen[:, _BOX] * chosen[np.arange(len(chosen)), _CLASSES_FROM + class_id]
        sure = score >= self._options.min_score
        boxes = self._boxes(chosen[sure, :_BOX], likely[sure])
        return Candidates(boxes, score[sure], class_id[sure].astype(np.int32))

    def _boxes(self, raw: Float32, anchors: NDArray[np.intp]) -> Float32:
        if self._options.decoded:
            return raw
        stride = self._stride[anchors]
        centre = (raw[:, :2] + self._grid[anchors]) * stride
        size = np.exp(np.minimum(raw[:, 2:], _MAX_LOG_SIZE)) * stride
        return np.concatenate((centre, size), axis=1)


def anchor_grid(input_wh: tuple[int, int], strides: Sequence[int]) -> tuple[Float32, Float32]:
    """Return the cell (N,2) as (column, row) and the stride (N,1) of every anchor, finest stride first."""
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[0 : input_wh[1] // stride, 0 : input_wh[0] // stride]
        cells.append(np.stack((columns.ravel(), rows.ravel()), axis=1))
        sizes.append(np.full((columns.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def _check(options: YoloxDecoder.Options, network: NetworkShape) -> None:
    _, anchors, width = network.only_output(rank=3)
    if width != _CLASSES_FROM + network.classes:
        raise network.mismatch(
            f"the manifest has {network.classes} labels, which needs {_CLASSES_FROM + network.classes} values per "
            f"anchor, but the network gives {width}"
        )
    expected = sum((network.input_wh[0] // stride) * (network.input_wh[1] // stride) for stride in options.strides)
    if anchors != expected:
        raise network.mismatch(
            f"strides {list(options.strides)} at {network.input_wh[0]}x{network.input_wh[1]} make {expected} anchors, "
            f"but the network gives {anchors}"
        )
