"""What a model's files cost: bytes, parameters, and multiply-accumulates for one picture, counted in the ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from streamvision.engine import graphs, models
from streamvision.engine.half import WEIGHTED, constants
from streamvision.engine.manifest import Manifest
from streamvision.engine.ranges import Session

_AT_ONCE: Final = 48
"""Layers whose outputs are kept at a time."""
_NORMS: Final = frozenset({"BatchNormalization", "PRelu", "InstanceNormalization"})


@dataclass(frozen=True, slots=True)
class Size:
    """``macs`` are those of the network that sees the picture; how often a second stage looks, pictures decide."""

    bytes: int
    parameters: int
    macs: int


def size_of(manifest: Manifest) -> Size:
    """Return what a model's files cost. Raises `ModelMissing`, `ManifestError` or `EngineError`."""
    paths = [models.require(manifest, file) for file in manifest.files]
    read = [graphs.read(path, str(path)) for path in paths]
    picture = np.zeros((1, *manifest.input.shape), manifest.input.dtype)
    return Size(sum(path.stat().st_size for path in paths), sum(map(_parameters, read)), _macs(read[0], picture))


def _parameters(model: ModelProto) -> int:
    known = _held(model)
    names = {name for node in model.graph.node for name in _weights(node, known)}
    return sum(int(np.prod(list(known[name].dims))) for name in names)


def _weights(node: NodeProto, known: dict[str, TensorProto]) -> Iterator[str]:
    if node.op_type in WEIGHTED or node.op_type in _NORMS:
        yield from (name for name in node.input if name in known)


def _held(model: ModelProto) -> dict[str, TensorProto]:
    """Return every tensor that is known beforehand, those in int8 under the name of what is made of them, too."""
    known = constants(model.graph)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    return known


def _macs(model: ModelProto, picture: np.ndarray[Any, Any]) -> int:
    """Return how often a weight is multiplied: once for every place of the output, or of the input of what enlarges."""
    known = _held(model)
    layers = [node for node in model.graph.node if node.op_type in WEIGHTED and node.input[1] in known]
    total = 0
    for start in range(0, len(layers), _AT_ONCE):
        some = layers[start : start + _AT_ONCE]
        seen = [node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in some]
        names = list(dict.fromkeys(seen))
        values = dict(zip(names, Session(model, names).run(picture, names), strict=True))
        total += sum(
            _places(node, values[name]) * _count(known[node.input[1]]) for node, name in zip(some, seen, strict=True)
        )
    return total


def _places(node: NodeProto, value: np.ndarray[Any, Any]) -> int:
    channel = 1 if node.op_type in ("Conv", "ConvTranspose") else -1
    return value.size // (value.shape[0] * value.shape[channel])


def _count(tensor: TensorProto) -> int:
    return int(np.prod(list(tensor.dims)))
