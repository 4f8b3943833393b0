"""float32 networks -> the same in float16, for devices that compute in the type that the file states.

Strongly typed compilers (TensorRT) have no switch for the precision: it is written into the ONNX. Inputs and outputs
stay float32. In float32 stay, too:

- what follows the last weighted layer: it costs next to nothing, and there float16 hurts most: a coordinate of 600
  pixels is rounded to half a pixel;
- what does not depend on the picture: sizes and grids, whose integers float16 holds only up to 2048;
- operators that leave the range or the precision of float16 (exponentials, sums of squares), and those that know
  float32 alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from streamvision.errors import EngineError

WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that carry a network's weights, and nearly all of its work."""
_HALF: Final = frozenset(
    WEIGHTED
    | {
        "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "DepthToSpace", "Div", "Elu", "Expand", "Flatten",
        "Gather", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
        "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Upsample",
    }
)  # fmt: skip
_FLOAT_INPUTS: Final = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that are float32 by definition, whatever the type of the picture: scales."""
_ASK_FOR_SIZE: Final = frozenset({"Shape", "Size"})
"""Operators that take a tensor in any type: no need to cast it for them."""
_SUFFIX: Final = "/half"
_LARGEST: Final = float(np.finfo(np.float16).max)


def to_half(model: ModelProto) -> ModelProto:
    """Return a copy that computes in float16 where that is safe. Raises `EngineError` where nothing can be."""
    typed = _inferred(model)
    chosen = _chosen(typed.graph)
    if not chosen:
        raise EngineError("there is nothing in this network that could be computed in float16")
    return _Rewriter(typed, chosen).model()


def _inferred(model: ModelProto) -> ModelProto:
    try:
        return shape_inference.infer_shapes(model, strict_mode=False)
    except Exception as error:  # its exceptions have no common base of their own
        raise EngineError(f"the types of this network's tensors cannot be told: {error}") from error


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return every tensor of a graph that is known beforehand, by name."""
    known = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in known:  # how exporters write what two layers share
            known[node.output[0]] = known[node.input[0]]
    return known


def followed_by_weights(graph: GraphProto) -> set[str]:
    """Return the tensors on which a weighted layer further on depends."""
    needed: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in WEIGHTED or needed.intersection(node.output):
            needed.update(node.input)
    return needed


def _chosen(graph: GraphProto) -> set[int]:
    """Return the positions of the nodes that may compute in float16."""
    floats = _floats(graph)
    known = constants(graph)
    ahead = followed_by_weights(graph)
    seen = {each.name for each in graph.input if each.name in floats}
    chosen = set()
    for position, node in enumerate(graph.node):
        data = [name for name in _data_inputs(node) if name in floats and name not in known]
        if not seen.intersection(data):
            continue  # does not depend on the picture, or only on its size
        seen.update(name for name in node.output if name in floats)
        before_the_last = node.op_type in WEIGHTED or ahead.intersection(node.output)
        if node.op_type in _HALF and before_the_last and _fits(node, known):
            chosen.add(position)
    return chosen


def _floats(graph: GraphProto) -> set[str]:
    """Return the names of all float32 tensors."""
    values = [*graph.input, *graph.output, *graph.value_info]
    named = {each.name for each in values if each.type.tensor_type.elem_type == TensorProto.FLOAT}
    return named | {name for name, each in constants(graph).items() if each.data_type == TensorProto.FLOAT}


def _data_inputs(node: NodeProto) -> Iterator[str]:
    """Yield the inputs that have the type of what the node computes."""
    skipped = _FLOAT_INPUTS.get(node.op_type, ())
    return (name for index, name in enumerate(node.input) if name and index not in skipped)


def _fits(node: NodeProto, known: dict[str, TensorProto]) -> bool:
    """Whether a node's own constants lie within float16."""
    own = (known[name] for name in _data_inputs(node) if name in known)
    return all(
        np.abs(numpy_helper.to_array(each)).max(initial=0) <= _LARGEST
        for each in own
        if each.data_type == TensorProto.FLOAT
    )


class _Rewriter:
    """Builds the new graph. A tensor keeps its name in float32 and has another in float16; casts are made on demand."""

    def __init__(self, model: ModelProto, chosen: set[int]) -> None:
        self._model = model
        self._graph = model.graph
        self._chosen = chosen
        self._floats = _floats(model.graph)
        self._constants = constants(model.graph)
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._ready = {each.name for each in model.graph.input} | set(self._constants)

    def model(self) -> ModelProto:
        """Return the rewritten model, without what is no longer used."""
        for position, node in enumerate(self._graph.node):
            self._half(node) if position in self._chosen else self._full(node)
        for output in self._graph.output:
            self._need(output.name)
        result = ModelProto()
        result.CopyFrom(self._model)
        graph = result.graph
        initializers = [*self._graph.initializer, *self._initializers.values()]
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.node.extend(_used(self._nodes, {each.name for each in self._graph.output}))
        wanted = {name for node in graph.node for name in names_read(node)} | {each.name for each in graph.output}
        graph.initializer.extend(each for each in initializers if each.name in wanted)
        return result

    def _half(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        data = set(_data_inputs(node))
        for index, name in enumerate(node.input):
            if name in data and name in self._floats:
                copy.input[index] = self._need_half(name)
            elif name:
                self._need(name)
        for index, name in enumerate(node.output):
            if name in self._floats:
                copy.output[index] = name + _SUFFIX
        self._nodes.append(copy)
        self._ready.update(copy.output)

    def _full(self, node: NodeProto) -> None:
        if node.op_type in _ASK_FOR_SIZE and node.input[0] not in self._ready:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.input[0] += _SUFFIX
            node = copy
        for name in names_read(node):
            self._need(name)
        self._nodes.append(node)
        self._ready.update(node.output)

    def _need(self, name: str) -> None:
        """See that a tensor is there under its own name, in its own type."""
        if name and name not in self._ready and name + _SUFFIX in self._ready:
            self._cast(name + _SUFFIX, name, TensorProto.FLOAT)

    def _need_half(self, name: str) -> str:
        half = name + _SUFFIX
        if half in self._ready:
            return half
        if name in self._constants:
            values = numpy_helper.to_array(self._constants[name]).astype(np.float16)
            self._initializers[half] = numpy_helper.from_array(values, half)
            self._ready.add(half)
        else:
            self._cast(name, half, TensorProto.FLOAT16)
        return half

    def _cast(self, source: str, target: str, kind: int) -> None:
        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=kind))
        self._ready.add(target)


def names_read(node: NodeProto) -> Iterator[str]:
    """Yield what a node reads, also from within graphs of its own."""
    yield from node.input
    for attribute in node.attribute:
        for graph in _graphs(attribute):
            for inner in graph.node:
                yield from names_read(inner)


def _graphs(attribute: AttributeProto) -> Iterable[Any]:
    return [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs


def _used(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Return the nodes that something reads, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(names_read(node))
            kept.append(node)
    return kept[::-1]
