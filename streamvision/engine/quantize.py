"""float32 networks -> the same with int8 layers, written out as QuantizeLinear and DequantizeLinear.

Symmetric on both sides, so that every runtime can use it: zero points are 0, an activation has one step, a weight one
per output channel. Biases stay float32 and take up what rounding does to a layer's mean (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019, there from the batch norm, here from pictures).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, version_converter

from streamvision.engine.half import constants, followed_by_weights
from streamvision.engine.ranges import LEVELS, Range, as_int8
from streamvision.errors import EngineError

Array = NDArray[Any]

_OPSET: Final = 13
"""The first with a step per channel."""
_SMALLEST: Final = 1e-8
_AT_ONCE: Final = 1 << 22
"""Weights that are looked at together: more would only take more memory."""
_CLIPS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that could compute in int8: its place among the nodes, what it reads, its output channels' axis.

    ``end`` marks the layers that stay as they are: the first ones, which see the picture itself, the last ones, whose
    values are the answer, and those that OpenVINO would compute wrong (`_misread`).
    """

    position: int
    activation: str
    weight: str
    axis: int
    end: bool


def upgraded(model: ModelProto) -> ModelProto:
    """Return the model in an operator set that can state int8. Raises `EngineError`."""
    own = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), _OPSET)
    if own >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except Exception as error:  # its exceptions have no common base of their own
        raise EngineError(
            f"this network's operator set {own} cannot be brought to {_OPSET}: {error}",
            remedy=f"export it with opset {_OPSET} or later",
        ) from error


def layers(model: ModelProto) -> list[Layer]:
    """Return the layers that have weights of their own, in the order of the graph."""
    graph = model.graph
    known = constants(graph)
    ahead = followed_by_weights(graph)
    pictures = {each.name for each in graph.input}
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for position, node in enumerate(graph.node):
        axis = _channel_axis(node)
        if axis is None or node.input[1] not in known or node.input[0] in known:
            continue
        last = not ahead.intersection(node.output)
        stays = last or node.input[0] in pictures or _misread(node.input[0], makers)
        found.append(Layer(position, node.input[0], node.input[1], axis, stays))
    return found


def _misread(name: str, makers: Mapping[str, NodeProto]) -> bool:
    """Tell whether a tensor is put together of several.

    OpenVINO 2026.4 rounds such parts to int8 before they are put together, and on some processors gets other numbers.
    On an AMD Zen 4, int8 errors of yolox-nano were 0.38 in ONNX Runtime and 0.52 in OpenVINO with such layers in int8,
    and 0.36 in both without; those of sv-street, whose parts are hard swishes, 0.96 of the outputs' spread and 0.01.
    """
    joined = makers.get(name)
    return joined is not None and joined.op_type == "Concat"


def _channel_axis(node: NodeProto) -> int | None:
    """Return the axis of a weight that counts output channels; None for what is no such layer."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if _attribute(node, "transB", 0) else 1
    return None


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def quantized(
    model: ModelProto,
    chosen: Collection[Layer],
    ranges: Mapping[str, Range],
    steps: Mapping[str, Array] | None = None,
) -> ModelProto:
    """Return a copy of the model in which the chosen layers read int8. Layers that see only zeros are left out.

    ``steps``: of weights by their names, (O,), where they were learnt; biases that were learnt with them stay.
    """
    writer = _Writer(model, ranges, steps or {})
    by_position = {layer.position: layer for layer in chosen if ranges[layer.activation].step > 0}
    for position, node in enumerate(model.graph.node):
        writer.add(node, by_position.get(position))
    return writer.model()


class _Writer:
    """Collects nodes and constants of the new graph; what several layers read is quantised once."""

    def __init__(self, model: ModelProto, ranges: Mapping[str, Range], steps: Mapping[str, Array]) -> None:
        self._source = model
        self._ranges = ranges
        self._steps = steps
        self._known = constants(model.graph)
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._done: set[str] = set()

    def add(self, node: NodeProto, layer: Layer | None) -> None:
        """Append a node, reading int8 if it is a chosen layer."""
        if layer is None:
            self._nodes.append(node)
            return
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = self._activation(layer.activation)
        copy.input[1], held = self._weight(layer)
        if node.op_type == "Conv" and layer.weight not in self._steps:
            self._correct_bias(copy, self._shift(layer, held, node))
        self._nodes.append(copy)

    def model(self) -> ModelProto:
        """Return the new model; what nothing reads any more is gone."""
        result = ModelProto()
        result.CopyFrom(self._source)
        graph = result.graph
        graph.ClearField("node")
        graph.ClearField("initializer")
        graph.ClearField("value_info")
        graph.node.extend(self._nodes)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self._constants.items())
        used = {name for node in self._nodes for name in node.input} | {each.name for each in graph.output}
        nested = any(each.HasField("g") or each.graphs for node in self._nodes for each in node.attribute)
        graph.initializer.extend(each for each in self._source.graph.initializer if nested or each.name in used)
        return result

    def _activation(self, name: str) -> str:
        if name not in self._done:
            self._done.add(name)
            step = self._constant(f"{name}/step", np.array(self._ranges[name].step, np.float32))
            zero = self._constant(f"{name}/zero", np.array(0, np.int8))
            self._append("QuantizeLinear", [name, step, zero], f"{name}/int8")
            self._append("DequantizeLinear", [f"{name}/int8", step, zero], f"{name}/back")
        return f"{name}/back"

    def _weight(self, layer: Layer) -> tuple[str, Array]:
        """Return the int8 weight's name, and its values."""
        name = layer.weight
        weight = numpy_helper.to_array(self._known[name])
        learnt = self._steps.get(name)
        steps = steps_of(weight, layer.axis) if learnt is None else learnt
        along = steps.reshape([-1 if axis == layer.axis else 1 for axis in range(weight.ndim)])
        whole = np.clip(np.round(weight / along), -LEVELS, LEVELS)
        if name not in self._done:
            self._done.add(name)
            values = self._constant(f"{name}/int8", whole.astype(np.int8))
            step = self._constant(f"{name}/step", steps.astype(np.float32))
            zero = self._constant(f"{name}/zero", np.zeros(len(steps), np.int8))
            self._append("DequantizeLinear", [values, step, zero], f"{name}/back", axis=layer.axis)
        return f"{name}/back", whole * along

    def _shift(self, layer: Layer, held: Array, node: NodeProto) -> Array:
        """Return by how much int8 moves the mean (O,) of each output channel."""
        seen = self._ranges[layer.activation]
        weight = numpy_helper.to_array(self._known[layer.weight])
        return _response(held, seen.rounded, node) - _response(weight, seen.mean, node)

    def _correct_bias(self, node: NodeProto, shift: Array) -> None:
        own = node.input[2] if len(node.input) > 2 else ""
        if own and own not in self._known:
            return  # computed while it runs: nothing to correct beforehand
        bias = numpy_helper.to_array(self._known[own]) if own else np.zeros(len(shift))
        corrected = self._constant(f"{node.output[0]}/bias", (bias - shift).astype(np.float32))
        del node.input[2:]
        node.input.append(corrected)

    def _constant(self, name: str, value: Array) -> str:
        self._constants[name] = value
        return name

    def _append(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes))


def steps_of(weight: Array, axis: int = 0) -> Array:
    """Return the step (O,) of each output channel, counted by ``axis``, that rounds it with the least squared error."""
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    parts = np.array_split(rows, max(1, min(len(rows), rows.size // _AT_ONCE)))
    return np.concatenate([_steps_of(part) for part in parts])


def _steps_of(rows: Array) -> Array:
    full = np.maximum(np.abs(rows).max(axis=1), _SMALLEST) / LEVELS
    errors = [((rows - as_int8(rows, (full * clip)[:, None])) ** 2).sum(axis=1) for clip in _CLIPS]
    return np.asarray(full * np.asarray(_CLIPS)[np.argmin(errors, axis=0)])


def _response(weight: Array, means: Array, node: NodeProto) -> Array:
    """Return the mean (O,) of a convolution's output, without bias, for inputs of these means (C,).

    Padding is taken for more of the same.
    """
    if node.op_type != "Conv":
        return np.zeros(weight.shape[0])
    groups = _attribute(node, "group", 1)
    taps = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).sum(axis=3)
    return np.asarray(np.einsum("goc,gc->go", taps, means.reshape(groups, -1)).ravel())
