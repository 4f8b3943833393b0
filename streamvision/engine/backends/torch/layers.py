"""ONNX operators that are layers: convolution, pooling, normalisation, resampling, quantisation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as fn

from streamvision.engine.backends.torch.node import Compute, Node, Tensor, ints, together

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: fn.conv1d, 2: fn.conv2d, 3: fn.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: fn.conv_transpose1d, 2: fn.conv_transpose2d, 3: fn.conv_transpose3d,
}  # fmt: skip
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: fn.max_pool1d, 2: fn.max_pool2d, 3: fn.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: fn.avg_pool1d, 2: fn.avg_pool2d, 3: fn.avg_pool3d}
_CUBIC = -0.75
_PADDINGS = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


class _Window:
    """Kernel, strides, dilations and (begin, end) pads of a sliding window over the dimensions after the first two."""

    def __init__(self, node: Node, kernel: Sequence[int], sides: Sequence[int]) -> None:
        rank = len(kernel)
        self.kernel = list(kernel)
        self.strides: list[int] = list(node.get("strides", [1] * rank))
        self.dilations: list[int] = list(node.get("dilations", [1] * rank))
        pads = node.get("pads", [0] * 2 * rank)
        self.pads = list(zip(pads[:rank], pads[rank:], strict=True))
        mode = node.get("auto_pad", "NOTSET")
        if mode.startswith("SAME"):
            self.pads = [self._same(place, side, mode) for place, side in enumerate(sides)]

    def _same(self, place: int, side: int, mode: str) -> tuple[int, int]:
        stride, reach = self.strides[place], self.dilations[place] * (self.kernel[place] - 1) + 1
        total = max(0, (math.ceil(side / stride) - 1) * stride + reach - side)
        less, more = total // 2, total - total // 2
        return (less, more) if mode == "SAME_UPPER" else (more, less)

    @property
    def symmetric(self) -> bool:
        return all(begin == end for begin, end in self.pads)

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Return ``x`` with the pads written out."""
        if not any(itertools.chain(*self.pads)):
            return x
        return fn.pad(x, list(itertools.chain(*reversed(self.pads))), value=value)

    def before(self) -> list[int]:
        """Return the pads at the beginnings, which are those at the ends of a symmetric window."""
        return [begin for begin, _ in self.pads]


def _convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    window = _Window(node, weight.shape[2:], x.shape[2:])
    function = _CONVOLUTIONS[x.ndim - 2]
    padding = window.before() if window.symmetric else 0
    x = x if window.symmetric else window.padded(x)
    return function(x, weight, bias, window.strides, padding, window.dilations, node.get("group", 1))


def _transposed_convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if "output_shape" in node.attributes or node.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError("a ConvTranspose whose padding follows from its output shape is not known here")
    window = _Window(node, weight.shape[2:], x.shape[2:])
    more = node.get("output_padding", [0] * len(window.kernel))
    whole = _TRANSPOSED[x.ndim - 2](
        x, weight, bias, window.strides, 0, list(more), node.get("group", 1), window.dilations
    )
    for axis, (begin, end) in enumerate(window.pads, start=2):
        whole = whole.narrow(axis, begin, whole.shape[axis] - begin - end)
    return whole


def _max_pool(node: Node, x: Tensor) -> Tensor:
    window = _Window(node, node.attributes["kernel_shape"], x.shape[2:])
    padding = window.before() if window.symmetric else 0
    x = x if window.symmetric else window.padded(x, -math.inf)
    return _MAX_POOLS[x.ndim - 2](
        x, window.kernel, window.strides, padding, window.dilations, bool(node.get("ceil_mode", 0))
    )


def _average_pool(node: Node, x: Tensor) -> Tensor:
    window = _Window(node, node.attributes["kernel_shape"], x.shape[2:])
    pool, rounded_up = _AVERAGE_POOLS[x.ndim - 2], bool(node.get("ceil_mode", 0))
    counted = bool(node.get("count_include_pad", 0))
    if window.symmetric:
        return pool(x, window.kernel, window.strides, window.before(), rounded_up, counted)
    mean = pool(window.padded(x), window.kernel, window.strides, 0, rounded_up)
    share = pool(window.padded(torch.ones_like(x)), window.kernel, window.strides, 0, rounded_up)
    return mean if counted else mean / share


def _over_space(function: Callable[[Tensor, list[int]], Tensor]) -> Compute:
    return lambda node, x: function(x, list(range(2, x.ndim)))


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    product = node.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.get("beta", 1.0) * c


def _batch_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return fn.batch_norm(x, mean, var, scale, bias, eps=node.get("epsilon", 1e-5))


def _instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return fn.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    normal = fn.layer_norm(x, x.shape[axis:], eps=node.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


def _lp_normalization(node: Node, x: Tensor) -> Tensor:
    return x / x.norm(node.get("p", 2), dim=node.get("axis", -1), keepdim=True)


def _pad(node: Node, x: Tensor, *inputs: Tensor | None) -> Tensor:
    amounts, value, axes = [*inputs, None, None, None][:3]
    sides = ints(node, "pads", amounts) or []
    over = ints(node, "axes", axes) or list(range(x.ndim))
    begins = {axis % x.ndim: begin for axis, begin in zip(over, sides, strict=False)}
    ends = {axis % x.ndim: end for axis, end in zip(over, sides[len(over) :], strict=True)}
    pairs = [(begins.get(axis, 0), ends.get(axis, 0)) for axis in range(x.ndim)]
    mode = _PADDINGS[node.get("mode", "constant")]
    if mode == "constant":
        filled = node.get("value", 0.0) if value is None else value.item()
        return fn.pad(x, list(itertools.chain(*reversed(pairs))), value=filled)
    if any(itertools.chain(*pairs[:2])):
        raise ValueError(f"padding of batch or channels by {mode} is not known here")
    return fn.pad(x, list(itertools.chain(*reversed(pairs[2:]))), mode=mode)


def _resize(node: Node, x: Tensor, *inputs: Tensor | None) -> Tensor:
    """Resample one axis after the other: nearest, linear and cubic are separable."""
    if node.get("antialias", 0) or "axes" in node.attributes or node.get("exclude_outside", 0):
        raise ValueError("a Resize with antialias, axes or exclude_outside is not known here")
    scales, sides = _resize_targets(x, *(inputs if node.opset >= 11 else (None, *inputs)))
    for axis, (scale, side) in enumerate(zip(scales, sides, strict=True)):
        if side != x.shape[axis] or scale != 1:
            x = _resample(node, x, axis, scale, side)
    return x


def _resize_targets(
    x: Tensor, region: Tensor | None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> tuple[list[float], list[int]]:
    if sizes is not None and sizes.numel():
        sides = [int(side) for side in sizes.tolist()]
        return [side / old for side, old in zip(sides, x.shape, strict=True)], sides
    if scales is None or not scales.numel():
        raise ValueError("a Resize needs scales or sizes")
    factors = [float(scale) for scale in scales.tolist()]
    return factors, [math.floor(old * factor) for old, factor in zip(x.shape, factors, strict=True)]


def _resample(node: Node, x: Tensor, axis: int, scale: float, side: int) -> Tensor:
    old = x.shape[axis]
    mode = node.get("mode", "nearest")
    at = _source_coordinates(node, scale, old, side)
    if mode == "nearest":
        return x.index_select(axis, _nearest(node, at).clamp(0, old - 1).long().to(x.device))
    if mode == "linear":
        at = at.clamp(0, old - 1)
        taps, weights = _linear_taps(at)
    else:
        taps, weights = _cubic_taps(at)
    shape = [side if dim == axis else 1 for dim in range(x.ndim)]
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for tap, weight in zip(taps, weights, strict=True):
        picked = x.index_select(axis, tap.clamp(0, old - 1).long().to(x.device))
        total = total + picked * weight.to(x.device, x.dtype).reshape(shape)
    return total


def _source_coordinates(node: Node, scale: float, old: int, new: int) -> Tensor:
    """Return where each element of the new axis lies on the old one."""
    default = "half_pixel" if node.opset >= 11 else "asymmetric"
    mode = node.get("coordinate_transformation_mode", default)
    at = torch.arange(new, dtype=torch.float32)
    if mode == "align_corners":
        return at * ((old - 1) / (new - 1)) if new > 1 else torch.zeros_like(at)
    if mode == "asymmetric":
        return at / scale
    if mode == "pytorch_half_pixel" and new == 1:
        return torch.zeros_like(at)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (at + 0.5) / scale - 0.5
    raise ValueError(f"the coordinates {mode!r} of Resize are not known here")


def _nearest(node: Node, at: Tensor) -> Tensor:
    default = "round_prefer_floor" if node.opset >= 11 else "floor"
    rounding: dict[str, Callable[[Tensor], Tensor]] = {
        "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
        "floor": torch.floor,
        "ceil": torch.ceil,
    }
    return rounding[node.get("nearest_mode", default)](at)


def _linear_taps(at: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    left = at.floor()
    return [left, left + 1], [1 - (at - left), at - left]


def _cubic_taps(at: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return four neighbours and their weights (Keys, 1981, with a = -0.75 as in ONNX and PyTorch)."""
    left = at.floor()
    taps = [left - 1, left, left + 1, left + 2]
    return taps, [_cubic((at - tap).abs()) for tap in taps]


def _cubic(distance: Tensor) -> Tensor:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return torch.where(distance <= 1, near, far)


def _grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.get("mode", "linear"), node.get("mode", "bilinear"))
    corners = bool(node.get("align_corners", 0))
    return fn.grid_sample(x, grid, mode=mode, padding_mode=node.get("padding_mode", "zeros"), align_corners=corners)


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node.attributes["blocksize"]
    batch, channels, height, width = x.shape
    if node.get("mode", "DCR") == "CRD":
        return fn.pixel_shuffle(x, block)
    parts = x.reshape(batch, block, block, channels // block**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * block, width * block)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node.attributes["blocksize"]
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // block, block, width // block, block)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


def _per_axis(node: Node, x: Tensor, *values: Tensor) -> list[Tensor]:
    """Return scales or zero points shaped so that they meet the axis of ``x`` that they belong to."""
    axis = node.get("axis", 1)
    shape = [-1 if dim == axis % max(1, x.ndim) else 1 for dim in range(x.ndim)]
    return [value.reshape(shape) if value.numel() > 1 else value.reshape(()) for value in values]


def _quantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    kind = torch.uint8 if zero is None else zero.dtype
    x, by, offset = together(x, scale, torch.zeros((), dtype=kind) if zero is None else zero)
    by, offset = _per_axis(node, x, by, offset)
    limits = torch.iinfo(kind)
    return (torch.round(x / by) + offset.to(x.dtype)).clamp(limits.min, limits.max).to(kind)


def _dequantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    x, by, offset = together(x, scale, torch.zeros((), dtype=x.dtype) if zero is None else zero)
    by, offset = _per_axis(node, x, by, offset)
    return (x.to(torch.int32) - offset.to(torch.int32)).to(by.dtype) * by


LAYERS: dict[str, Compute] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantize,
    "Gemm": _gemm,
    "GlobalAveragePool": _over_space(lambda x, axes: x.mean(axes, keepdim=True)),
    "GlobalMaxPool": _over_space(lambda x, axes: x.amax(axes, keepdim=True)),
    "GridSample": _grid_sample,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LpNormalization": _lp_normalization,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}
