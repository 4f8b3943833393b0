"""Put the preparation of pictures in front of an ONNX graph, so that the GPU does it: bytes in, nothing on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamvision.engine.backends import Network, TensorInput, channels_last
from streamvision.engine.manifest import ModelInput

PICTURES = "streamvision_pictures"
_PREFIX = "streamvision_"
_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def real_input(model: onnx.ModelProto, network: Network) -> onnx.ValueInfoProto:
    """Return the one input that is no weight. Raises `ManifestError`."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    network.check_one_input(len(inputs))
    found: onnx.ValueInfoProto = inputs[0]
    return found


def check(value: onnx.ValueInfoProto, network: Network) -> int | None:
    """Compare the input with the manifest; return its batch dimension, None for an open one."""
    tensor = value.type.tensor_type
    shape = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    if not tensor.HasField("shape"):
        shape = [None] * (1 + len(network.input.shape))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    network.check_input(value.name, shape, dtype)
    return shape[0]


def prepared(model: onnx.ModelProto, network: Network, max_batch: int) -> onnx.ModelProto:
    """Return the graph for items as they are submitted: uint8 (n, h, w, channels), or a `TensorInput`'s arrays.

    The batch dimension is open where ``max_batch`` is more than 1. Changes ``model``.
    """
    old = real_input(model, network)
    batch: int | str = "batch" if max_batch > 1 else 1
    if isinstance(network.input, TensorInput):
        new = helper.make_tensor_value_info(old.name, _TYPES[network.input.dtype], [batch, *network.input.shape])
        nodes: list[Any] = []
    else:
        new = helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, [batch, *channels_last(network)])
        nodes = _preparation(model, network.input, old.name)
    inputs = [new if value.name == old.name else value for value in model.graph.input]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    return model


def _preparation(model: onnx.ModelProto, spec: ModelInput, target: str) -> list[Any]:
    """Return cast, normalisation and transposition that end in ``target``; their numbers become weights."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    mean, std = spec.normalisation
    if any(mean):
        steps.append(("Sub", [_weight(model, "mean", mean)], {}))
    if set(std) != {1.0}:
        steps.append(("Div", [_weight(model, "std", std)], {}))
    if spec.layout == "nchw":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if spec.dtype == "float16":  # uint8 would be refused between layers, and such a network casts by itself
        steps.append(("Cast", [], {"to": TensorProto.FLOAT16}))
    names = [PICTURES, *(f"{_PREFIX}{number}" for number in range(1, len(steps))), target]
    return [
        helper.make_node(
            operator, [names[place], *more], [names[place + 1]], name=f"{_PREFIX}{operator}_{place}", **extra
        )
        for place, (operator, more, extra) in enumerate(steps)
    ]


def _weight(model: onnx.ModelProto, name: str, values: tuple[float, ...]) -> str:
    tensor = numpy_helper.from_array(np.asarray(values, np.float32), f"{_PREFIX}{name}")
    model.graph.initializer.append(tensor)
    return tensor.name
