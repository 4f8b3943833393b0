"""ONNX operators on elements, shapes and indices, as functions over tensors (https://onnx.ai/onnx/operators)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional as fn

from streamvision.engine.backends.torch.node import Compute, Node, Tensor, ints, together

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""onnx.TensorProto.DataType -> torch's type."""


def _unary(function: Callable[[Tensor], Tensor]) -> Compute:
    return lambda node, x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Compute:
    return lambda node, a, b: function(*together(a, b))


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Compute:
    def compute(node: Node, *tensors: Tensor) -> Tensor:
        first, *rest = together(*tensors)
        for tensor in rest:
            first = function(first, tensor)
        return first

    return compute


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    function = torch.fmod if node.get("fmod", 0) else torch.remainder
    return function(*together(a, b))


def _mean(node: Node, *tensors: Tensor) -> Tensor:
    total: Tensor = _variadic(torch.add)(node, *tensors)
    return total / len(tensors)


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(DTYPES[node.attributes["to"]])


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least = node.get("min", None) if low is None else low.item()
    most = node.get("max", None) if high is None else high.item()
    return x if least is None and most is None else x.clamp(least, most)


def _softmax(function: Callable[..., Tensor]) -> Compute:
    def compute(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, dim=node.get("axis", -1))
        # Before operator set 13 all dimensions from the axis on were one.
        return function(x.flatten(node.get("axis", 1) % x.ndim), dim=-1).reshape(x.shape)

    return compute


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Compute:
    def compute(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = ints(node, "axes", axes)
        if not over and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, over or list(range(x.ndim)), bool(node.get("keepdims", 1)))

    return compute


def _product(x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keepdims)
    return x


def _arg(function: Callable[..., Tensor]) -> Compute:
    return lambda node, x: function(x, dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


def _constant(node: Node) -> Tensor:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in node.attributes:
            return torch.as_tensor(node.attributes[name])
    raise ValueError(f"a constant of {sorted(node.attributes)}")


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = torch.as_tensor(node.get("value", torch.zeros(1)))
    return value.reshape(()).expand(tuple(shape.tolist())).clone()


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end", None)], dtype=torch.int64)


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sides = shape.tolist()
    if not node.get("allowzero", 0):
        sides = [x.shape[place] if side == 0 else side for place, side in enumerate(sides)]
    return x.reshape(sides)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    before = x.shape[:axis] if axis else ()
    return x.reshape(math.prod(before), -1)


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = ints(node, "axes", axes)
    return x.squeeze() if over is None else x.squeeze(tuple(over))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    places = ints(node, "axes", axes) or []
    for place in sorted(place % (x.ndim + len(places)) for place in places):
        x = x.unsqueeze(place)
    return x


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", tuple(reversed(range(x.ndim)))))


def _concat(node: Node, *tensors: Tensor) -> Tensor:
    return torch.cat(together(*tensors), dim=node.attributes["axis"])


def _split(node: Node, x: Tensor, parts: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    sizes = ints(node, "split", parts) or math.ceil(x.shape[axis] / node.get("num_outputs", node.outputs))
    return tuple(x.split(sizes, dim=axis))


def _slice(node: Node, x: Tensor, *inputs: Tensor | None) -> Tensor:
    starts, ends, axes, steps = [*inputs, None, None, None, None][:4]
    first, last = ints(node, "starts", starts) or [], ints(node, "ends", ends) or []
    over = ints(node, "axes", axes) or list(range(len(first)))
    by = ints(node, "steps", steps) or [1] * len(first)
    for axis, begin, end, step in zip(over, first, last, by, strict=True):
        wanted = range(*slice(begin, end, step).indices(x.shape[axis]))
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(wanted.start, max(wanted.start, wanted.stop), step),)]
        else:
            x = x.index_select(axis, torch.tensor(wanted, dtype=torch.int64, device=x.device))
    return x


def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    x, at = together(x, indices)
    at = torch.where(at < 0, at + x.shape[axis], at)
    shape = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, at.reshape(-1)).reshape(shape)


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    x, at = together(x, indices)
    return x.gather(axis, torch.where(at < 0, at + x.shape[axis], at))


def _gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    batch = node.get("batch_dims", 0)
    x, at = together(x, indices)
    if batch == 0:
        return x[tuple(at.unbind(-1))]
    rows, places = x.flatten(0, batch - 1), at.flatten(0, batch - 1)
    found = torch.stack([row[tuple(place.unbind(-1))] for row, place in zip(rows, places, strict=True)])
    return found.reshape(*x.shape[:batch], *found.shape[1:])


def _scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    x, at, new = together(x, indices, updates)
    return x.index_put(tuple(at.unbind(-1)), new)


def _scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    x, at, new = together(x, indices, updates)
    return x.scatter(axis, torch.where(at < 0, at + x.shape[axis], at), new)


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _top_k(node: Node, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    largest, ordered = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    values, indices = x.topk(int(k.item()), dim=node.get("axis", -1), largest=largest, sorted=ordered)
    return values, indices


def _cumulative_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    dim = int(axis.item())
    x = x.flip(dim) if node.get("reverse", 0) else x
    total = x.cumsum(dim).to(x.dtype)
    total = total - x if node.get("exclusive", 0) else total
    return total.flip(dim) if node.get("reverse", 0) else total


def _triangle(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    function = torch.triu if node.get("upper", 1) else torch.tril
    return function(x, 0 if k is None else int(k.item()))


def _where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(*together(condition, a, b))


def _p_relu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * slope)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return fn.gelu(x, approximate=node.get("approximate", "none"))


def _einsum(node: Node, *tensors: Tensor) -> Tensor:
    return torch.einsum(node.attributes["equation"], *together(*tensors))


OPERATORS: dict[str, Compute] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Cast": _cast,
    "CastLike": lambda node, x, like: x.to(like.dtype),
    "Ceil": _unary(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _unary(torch.cos),
    "CumSum": _cumulative_sum,
    "Div": _binary(_divide),
    "Dropout": lambda node, x, *unused: x,
    "Einsum": _einsum,
    "Elu": lambda node, x: fn.elu(x, node.get("alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gelu": _gelu,
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "HardSigmoid": lambda node, x: (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda node, x: x * (x / 6 + 0.5).clamp(0, 1),
    "Identity": lambda node, x: x,
    "LeakyRelu": lambda node, x: fn.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _binary(torch.matmul),
    "Max": _variadic(torch.maximum),
    "Mean": _mean,
    "Min": _variadic(torch.minimum),
    "Mish": _unary(fn.mish),
    "Mod": _mod,
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": _p_relu,
    "Pow": lambda node, a, b: torch.pow(*together(a, b)).to(a.dtype),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduce(_product),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Round": _unary(torch.round),
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Selu": _unary(fn.selu),
    "Shape": _shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Size": lambda node, x: torch.tensor(x.numel(), dtype=torch.int64),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(fn.softplus),
    "Softsign": _unary(fn.softsign),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Sum": _variadic(torch.add),
    "Tanh": _unary(torch.tanh),
    "Tile": lambda node, x, repeats: x.repeat(tuple(repeats.tolist())),
    "TopK": _top_k,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(torch.logical_xor),
}
