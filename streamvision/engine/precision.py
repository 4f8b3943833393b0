"""A network's file in another precision: float16, or int8 fitted to pictures.

int8 costs accuracy, and how much is measured: the outputs for pictures that the fit has not seen, beside those in
float32. Where it is too much, the layers that do the most harm on their own stay in float32, one after the other; in
networks of depthwise convolutions a few of them do nearly all of it, because one step must serve channels of very
different size. A network for which that is not enough is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import structlog
from numpy.typing import NDArray
from onnx import ModelProto

from streamvision.engine import graphs
from streamvision.engine.backends import TensorInput
from streamvision.engine.half import to_half
from streamvision.engine.manifest import ModelInput
from streamvision.engine.quantize import Layer, layers, quantized, upgraded
from streamvision.engine.ranges import Range, Session, measure
from streamvision.errors import EngineError, UsageError
from streamvision.types import UInt8

MAX_LOSS: Final = 0.08
"""The most that int8 may cost: the outputs' error as a share of their own spread.

Measured with yolox-nano on 208 COCO pictures: at 0.45 two thirds of the AP are left, from 0.15 to 0.1 it is 0.978 to
0.995 of that in float32, at 0.07 as good as all of it.
"""
HELD_OUT: Final = 8
"""So many calibration pictures, the first ones, are kept to measure the loss with; at most a quarter of them."""
FEWEST: Final = 8
"""With fewer calibration pictures the ranges would be those of these pictures only."""
_ALONE: Final = 2
"""Pictures on which each layer's own harm is measured."""
_MOST_LEFT: Final = 0.6
"""Where more than this share of the layers would have to stay in float32, int8 is not worth it."""

_log = structlog.get_logger(__name__)


def convert(
    path: Path,
    out: Path,
    precision: str,
    *,
    input: ModelInput | TensorInput,
    calibration: Sequence[UInt8] | None = None,
    max_loss: float = MAX_LOSS,
) -> Path:
    """Write the ``fp16`` or ``int8`` variant of an ONNX file to ``out`` and return that.

    ``calibration`` are pictures prepared as the manifest's input says. Raises `UsageError` for too few of them or
    another precision, `EngineError` for a network that cannot be converted or would lose more than ``max_loss``.
    """
    model = graphs.read(path, str(path))
    if precision == "fp16":
        onnx.save(to_half(model), out)
        return out
    if precision != "int8":
        raise UsageError(f"there is no {precision} variant of a network's file", remedy="choose fp16 or int8")
    if isinstance(input, TensorInput):
        raise UsageError("int8 is fitted to pictures, but this network does not see any", where=path.name)
    pictures = calibration or ()
    if len(pictures) < FEWEST:
        raise UsageError(
            f"int8 needs at least {FEWEST} calibration pictures, not {len(pictures)}",
            where=path.name,
            remedy="give a folder of pictures from the camera; 100 are good",
        )
    try:
        fitted = fit(model, [prepared(picture, input) for picture in pictures], max_loss)
    except EngineError as error:
        raise EngineError(error.what, where=path.name, remedy=error.remedy) from error
    _log.info("int8_fitted", network=path.name, pictures=len(pictures), **fitted.facts())
    onnx.save(fitted.model, out)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """An int8 network. ``int8`` of its ``layers`` read int8; ``loss`` is the outputs' error over their spread."""

    model: ModelProto
    layers: int
    int8: int
    loss: float

    def facts(self) -> dict[str, Any]:
        """Return the numbers for logs."""
        return {"layers": self.layers, "layers_int8": self.int8, "loss": round(self.loss, 4)}


def prepared(picture: UInt8, spec: ModelInput) -> NDArray[Any]:
    """Return one picture as a network's input (1, ...), normalised by numpy."""
    mean, std = spec.normalisation
    pixels = picture.reshape(*picture.shape[:2], spec.channels)
    if spec.dtype != "uint8":
        pixels = ((pixels - np.asarray(mean)) / np.asarray(std)).astype(spec.dtype)
    return np.ascontiguousarray(pixels if spec.layout == "nhwc" else pixels.transpose(2, 0, 1))[None]


def fit(model: ModelProto, items: Sequence[NDArray[Any]], max_loss: float = MAX_LOSS) -> Fitted:
    """Return the int8 variant fitted to prepared inputs (1, ...), of which the first ones only judge it.

    Raises `EngineError` where the loss stays above ``max_loss``.
    """
    model = upgraded(model)
    found = layers(model)
    inner = [layer for layer in found if not layer.end]
    if not inner:
        raise EngineError("this network has no layers that could compute in int8")
    kept = min(HELD_OUT, len(items) // 4)
    held_out, rest = items[:kept], items[kept:]
    ranges = measure(model, list(dict.fromkeys(layer.activation for layer in inner)), rest)
    judge = _Judge(model, held_out)
    loss = np.inf
    for chosen in _ever_fewer(model, inner, ranges, judge):
        candidate = quantized(model, chosen, ranges)
        loss = judge.loss(candidate)
        _log.debug("int8_tried", layers_int8=len(chosen), loss=loss)
        if loss <= max_loss:
            return Fitted(candidate, len(found), len(chosen), loss)
    raise EngineError(
        f"int8 loses {loss:.3f} of the outputs' spread, more than {max_loss:.3f}, even with {_MOST_LEFT:.0%} of the "
        "layers left in float32",
        remedy="choose fp16 or fp32, or give calibration pictures that are more like the camera's",
    )


def _ever_fewer(
    model: ModelProto, inner: Sequence[Layer], ranges: dict[str, Range], judge: _Judge
) -> Iterator[list[Layer]]:
    """Yield the layers to try: all, then without the worst, the two worst, the three worst, in steps that grow."""
    yield list(inner)
    alone = [judge.loss(quantized(model, [layer], ranges), _ALONE) for layer in inner]
    best_first = [inner[index] for index in np.argsort(alone, kind="stable")]
    left = 1
    while left <= _MOST_LEFT * len(inner):
        yield best_first[:-left]
        left += max(1, left // 3)


class _Judge:
    """Compares a variant's outputs with the float32 network's, on the same inputs."""

    def __init__(self, model: ModelProto, items: Sequence[NDArray[Any]]) -> None:
        self._items = items
        session = Session(model)
        self._wanted = [session.run(item) for item in items]

    def loss(self, candidate: ModelProto, limit: int | None = None) -> float:
        """Return the root mean square error over the spread, of the output where it is largest."""
        session = Session(candidate)
        errors: dict[int, float] = {}
        spreads: dict[int, float] = {}
        for item, wanted in zip(self._items[:limit], self._wanted[:limit], strict=True):
            for index, (ours, other) in enumerate(zip(wanted, session.run(item), strict=True)):
                error, spread = _squares(ours, other)
                errors[index] = errors.get(index, 0.0) + error
                spreads[index] = spreads.get(index, 0.0) + spread
        return max(float(np.sqrt(errors[index] / max(spreads[index], 1e-12))) for index in errors)


def _squares(wanted: NDArray[Any], found: NDArray[Any]) -> tuple[float, float]:
    """Return the squared error of an output and its squared spread; labels are right or wrong, not near or far."""
    if not np.issubdtype(wanted.dtype, np.floating):
        return float(np.mean(wanted != found)) ** 2, 1.0
    error = ((wanted - found) ** 2).sum(dtype=np.float64)
    return float(error), float(((wanted - wanted.mean()) ** 2).sum(dtype=np.float64))
