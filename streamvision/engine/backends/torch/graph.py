"""An ONNX graph computed by PyTorch, operator by operator: slow to think about, hard to get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from streamvision.engine.backends.torch.layers import LAYERS
from streamvision.engine.backends.torch.node import Compute, Node, Tensor
from streamvision.engine.backends.torch.ops import OPERATORS
from streamvision.errors import EngineError

_STANDARD = ("", "ai.onnx")
_SET_BY_INPUTS = ("Clip", "Pad", "Resize", "Upsample")
_TABLE: dict[str, Compute] = {**OPERATORS, **LAYERS}


@dataclass(frozen=True, slots=True)
class _Step:
    compute: Compute
    node: Node
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    finished: tuple[str, ...]
    """What nothing after this step needs."""


class Graph:
    """The operators in their order and the weights on a device. Stateless: several threads may call it."""

    def __init__(self, model: onnx.ModelProto, device: Any, where: str) -> None:
        """Raises `EngineError` that names every operator that is not known."""
        graph = model.graph
        self.outputs = tuple(output.name for output in graph.output)
        settings = _settings(graph.node)
        self._weights = {
            weight.name: _placed(_tensor(weight), "cpu" if weight.name in settings else device)
            for weight in graph.initializer
        }
        self.inputs = tuple(value for value in graph.input if value.name not in self._weights)
        opset = next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 1)
        _check_known(graph.node, where)
        self._steps = list(_steps(graph.node, opset, {*self.outputs, *self._weights}, settings, device))

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the outputs in the graph's order."""
        values: dict[str, Any] = {**self._weights, self.inputs[0].name: x, "": None}
        for step in self._steps:
            results = step.compute(step.node, *(values[name] for name in step.inputs))
            named = zip(step.outputs, results if isinstance(results, tuple) else (results,), strict=False)
            values.update((name, value) for name, value in named if name)
            for name in step.finished:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


def _check_known(nodes: Any, where: str) -> None:
    wanted = {node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}" for node in nodes}
    missing = sorted(wanted - set(_TABLE))
    if missing:
        raise EngineError(
            f"the torch backend does not know the operators {', '.join(missing)}",
            where=where,
            remedy="use onnxruntime or openvino for this network",
        )


def _settings(nodes: Any) -> set[str]:
    """Return the values that only say how to compute: reading them from a GPU would wait for it."""
    return {name for node in nodes if node.op_type in _SET_BY_INPUTS for name in node.input[1:]}


def _steps(nodes: Any, opset: int, kept: set[str], settings: set[str], device: Any) -> Iterator[_Step]:
    last_use = {name: place for place, node in enumerate(nodes) for name in (*node.input, *node.output)}
    finished: dict[int, list[str]] = {}
    for name, place in last_use.items():
        if name and name not in kept:
            finished.setdefault(place, []).append(name)
    for place, proto in enumerate(nodes):
        here = "cpu" if settings.intersection(proto.output) else device
        attributes = {entry.name: _attribute(entry, here) for entry in proto.attribute}
        node = Node(proto.op_type, proto.name, attributes, opset, len(proto.output))
        yield _Step(
            _TABLE[proto.op_type], node, tuple(proto.input), tuple(proto.output), tuple(finished.get(place, ()))
        )


def _attribute(entry: onnx.AttributeProto, device: Any) -> Any:
    value = onnx.helper.get_attribute_value(entry)
    if isinstance(value, onnx.TensorProto):
        return _placed(_tensor(value), device)
    return value.decode() if isinstance(value, bytes) else value


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(proto)))


def _placed(tensor: Tensor, device: Any) -> Tensor:
    """Put weights on the device; shapes and indices stay on the CPU, where they are read to compute shapes."""
    weight = tensor.is_floating_point() or (tensor.element_size() == 1 and tensor.dtype != torch.bool)
    return tensor.to(device) if weight else tensor
