"""Layers that compute as their int8 selves will, and learn it: values are rounded to steps, and steps are learnt.

Symmetric on both sides, as `engine.quantize` writes it: zero points are 0, an activation has one step, a weight one
per output channel, 127 of them on either side. Rounding lets gradients pass (Jacob et al., arXiv:1712.05877), and the
steps' own gradients are those of LSQ (Esser et al., "Learned Step Size Quantization", arXiv:1902.08153).
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

LEVELS: Final = 127
_SMALLEST: Final = 1e-8


class Rounding(torch.autograd.Function):
    """``value`` (any shape) to the nearest of the steps that int8 can hold; ``step`` broadcasts to its shape."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, step: Tensor, scale: float) -> Tensor:
        """Return the rounded value; ``scale`` is what the step's gradient is multiplied with."""
        scaled = value / step
        whole = scaled.clamp(-LEVELS, LEVELS).round()
        ctx.save_for_backward(scaled, whole, step)
        ctx.scale = scale
        return whole * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Pass the gradient where the value is in range; a step learns from rounding there, from clipping elsewhere."""
        scaled, whole, step = ctx.saved_tensors
        inside = scaled.abs() <= LEVELS
        by_step = torch.where(inside, whole - scaled, whole) * gradient
        return gradient * inside, by_step.sum_to_size(step.shape) * ctx.scale, None


def rounded(value: Tensor, step: Tensor, count: int) -> Tensor:
    """Return float32 values as int8 would hold them. ``count``: how many values of one picture share a step.

    LSQ divides a step's gradient by the root of their number and of the levels, so that steps learn as fast as weights.
    """
    safe = step.abs().clamp(min=_SMALLEST)
    found: Tensor = Rounding.apply(value.float(), safe, 1 / math.sqrt(count * LEVELS))
    return found


class Activation(nn.Module):
    """One tensor's step, shared by all layers that read that tensor."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(step, dtype=torch.float32))

    def forward(self, value: Tensor) -> Tensor:
        """Return the values (n, ...) as int8 would hold them, in their own type."""
        return rounded(value, self.step, max(1, value[0].numel())).to(value.dtype)

    @property
    def learnt(self) -> float:
        """The step as it is used."""
        return float(self.step.detach().abs().clamp(min=_SMALLEST))


class _Fake(nn.Module):
    """What both kinds of layers share: ``steps`` of the weight, and the ``reader`` of what comes in."""

    def adopt(self, layer: Any, reader: Activation, steps: Tensor) -> None:
        """Take a layer's parameters, themselves and no copies."""
        self.weight, self.bias = layer.weight, layer.bias
        self.reader = reader
        self.steps = nn.Parameter(steps.to(layer.weight))
        self.train(layer.training)

    def held(self) -> Tensor:
        """Return the weight as int8 would hold it."""
        sides = (-1, *[1] * (self.weight.dim() - 1))
        return rounded(self.weight, self.steps.view(sides), self.weight[0].numel())

    @property
    def learnt(self) -> Tensor:
        """The weight's steps (O,) as they are used."""
        return self.steps.detach().abs().clamp(min=_SMALLEST)


class FakeConv2d(_Fake, nn.Conv2d):
    """A convolution that reads int8 and has a weight in int8."""

    def forward(self, value: Tensor) -> Tensor:
        """As of the convolution, (n,c,h,w)."""
        return self._conv_forward(self.reader(value), self.held().to(value.dtype), self.bias)


class FakeLinear(_Fake, nn.Linear):
    """A linear layer that reads int8 and has a weight in int8."""

    def forward(self, value: Tensor) -> Tensor:
        """As of the layer, (..., features)."""
        return nn.functional.linear(self.reader(value), self.held().to(value.dtype), self.bias)


def fake(layer: Any, reader: Activation, steps: Tensor) -> FakeConv2d | FakeLinear:
    """Return a layer's int8 self, with the same parameters."""
    made: Any
    if isinstance(layer, nn.Linear):
        made = FakeLinear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
    else:
        made = FakeConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            layer.groups, layer.bias is not None, layer.padding_mode, device="meta",
        )  # fmt: skip
    made.adopt(layer, reader, steps)
    return made


def real(layer: FakeConv2d | FakeLinear) -> Any:
    """Return the layer in float32 that was made a `fake`, with the parameters that were learnt, themselves."""
    made: Any
    if isinstance(layer, FakeLinear):
        made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
    else:
        made = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            layer.groups, layer.bias is not None, layer.padding_mode, device="meta",
        )  # fmt: skip
    made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)
