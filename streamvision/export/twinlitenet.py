"""TwinLiteNet: one small network that marks where a car can drive, and the lane lines.

Che, Nguyen, Pham, Lam, "TwinLiteNet: An Efficient and Lightweight Model for Driveable Area and Lane Segmentation in
Self-Driving Cars", arXiv:2307.10705. The encoder is ESPNet-C (Mehta et al., arXiv:1803.06815) with two and three
residual blocks, followed by the two attentions of DANet (Fu et al., arXiv:1809.02983); each head is three transposed
convolutions. Attribute names are those of the published weights, so that these load strictly.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from streamvision.errors import UsageError
from streamvision.export.recipes import Recipe
from streamvision.export.registry import Built, Weights
from streamvision.export.weights import load_state

_EPSILON = 1e-3
"""Of every normalisation, as in ESPNet."""
_DILATIONS = (1, 2, 4, 8, 16)
_WIDTHS = (16, 64, 128, 32)
"""Channels of the encoder's three levels, and of its output."""
_BRANCHES = len(_DILATIONS)
_CLASSES = 2
_REDUCTION = 8
"""How much narrower the queries and keys of the attention are than what they look at."""


def build(recipe: Recipe, weights: Weights, num_classes: int | None) -> Built:
    """Return the network in evaluation mode, with a state file's weights or random ones. Raises `UsageError`."""
    if weights == "DEFAULT":
        raise UsageError(
            "the published weights are not downloaded by themselves",
            where=recipe.source,
            remedy="fetch the state file of github.com/chequanghuy/TwinLiteNet and give it as --weights FILE",
        )
    if num_classes not in (None, _CLASSES):
        raise UsageError(
            f"both heads have {_CLASSES} classes, not {num_classes}", where=recipe.source,
            remedy="leave --num-classes away",
        )  # fmt: skip
    module = TwinLiteNet().eval()
    if weights is None:
        return Built(module, _CLASSES, None, "random weights")
    path = Path(weights)
    load_state(module, path)
    return Built(module, _CLASSES, None, f"weights from {path.name}")


class _Convolution(nn.Module):
    """A convolution without bias that keeps the picture's size, divided by its stride."""

    def __init__(self, wide: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.conv = nn.Conv2d(wide, out, kernel, stride, padding, dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Activation(nn.Module):
    """Normalisation and a slope per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width, eps=_EPSILON)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class _Block(_Convolution):
    """A convolution with normalisation and activation."""

    def __init__(self, wide: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(wide, out, kernel, stride)
        self.bn = nn.BatchNorm2d(out, eps=_EPSILON)
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class _Pyramid(nn.Module):
    """Parallel dilated convolutions over a narrowed input; each sum adds the next wider view to those before it."""

    def __init__(self, wide: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        narrow = out // _BRANCHES
        self.c1 = _Convolution(wide, narrow, kernel, stride)
        for dilation in _DILATIONS:
            width = out - narrow * (_BRANCHES - 1) if dilation == 1 else narrow
            self.add_module(f"d{dilation}", _Convolution(narrow, width, 3, dilation=dilation))

    def views(self, x: Tensor) -> Tensor:
        """Return the branches side by side (n, out, h, w)."""
        narrow = self.c1(x)
        first, second, *rest = (self.get_submodule(f"d{dilation}")(narrow) for dilation in _DILATIONS)
        sums = [second]
        for view in rest:
            sums.append(sums[-1] + view)
        return torch.cat([first, *sums], 1)


class _Down(_Pyramid):
    """A pyramid at half the size."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__(wide, out, 3, 2)
        self.bn = nn.BatchNorm2d(out, eps=_EPSILON)
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.views(x)))


class _Residual(_Pyramid):
    """A pyramid whose result is added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 1)
        self.bn = _Activation(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x + self.views(x))


class _PlaceAttention(nn.Module):
    """Every place looks at all places that resemble it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(width, width // _REDUCTION, 1)
        self.key_conv = nn.Conv2d(width, width // _REDUCTION, 1)
        self.value_conv = nn.Conv2d(width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in (self.query_conv, self.key_conv, self.value_conv))
        share = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        return self.gamma * (value @ share.transpose(1, 2)).view_as(x) + x


class _ChannelAttention(nn.Module):
    """Every channel looks at the channels that differ from it."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        alike = flat @ flat.transpose(1, 2)
        share = torch.softmax(alike.amax(-1, keepdim=True) - alike, dim=-1)
        return self.gamma * (share @ flat).view_as(x) + x


class _Encoder(nn.Module):
    """Pictures (n, 3, h, w) to features (n, 32, h/8, w/8)."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, out = _WIDTHS
        self.level1 = _Block(3, first, 3, 2)
        self.b1 = _Block(first + 3, first + 3, 3)
        self.level2_0 = _Down(first + 3, second)
        self.level2 = nn.ModuleList(_Residual(second) for _ in range(2))
        self.b2 = _Block(2 * second + 3, 2 * second + 3, 3)
        self.level3_0 = _Down(2 * second + 3, third)
        self.level3 = nn.ModuleList(_Residual(third) for _ in range(3))
        self.b3 = _Block(2 * third, out, 3)
        self.sa = _PlaceAttention(out)
        self.sc = _ChannelAttention()
        self.conv_sa = _Block(out, out, 3)
        self.conv_sc = _Block(out, out, 3)
        self.classifier = _Block(out, out, 1)
        self._half = nn.AvgPool2d(3, 2, 1)

    def forward(self, picture: Tensor) -> Tensor:
        half = self._half(picture)
        x = self.b1(torch.cat([self.level1(picture), half], 1))
        x = self._deepen(self.level2_0(x), self.level2, self._half(half), self.b2)
        x = self._deepen(self.level3_0(x), self.level3, None, self.b3)
        return self.classifier(self.conv_sa(self.sa(x)) + self.conv_sc(self.sc(x)))

    @staticmethod
    def _deepen(start: Tensor, level: nn.ModuleList, picture: Tensor | None, mix: nn.Module) -> Tensor:
        x = start
        for block in level:
            x = block(x)
        return mix(torch.cat([start, x] if picture is None else [x, start, picture], 1))


class _Up(nn.Module):
    """Twice the size."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(wide, out, 2, 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=_EPSILON)
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.deconv(x)))


class TwinLiteNet(nn.Module):
    """RGB pictures (n, 3, h, w) in 0-1, sides multiples of 8, to two logit maps (n, 2, h, w): drivable area, lanes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        for head in (1, 2):
            self.add_module(f"up_1_{head}", _Up(32, 16))
            self.add_module(f"up_2_{head}", _Up(16, 8))
            self.add_module(f"classifier_{head}", _Up(8, _CLASSES))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of both heads, background first."""
        features = self.encoder(picture)
        drivable, lane = (self._head(features, head) for head in (1, 2))
        return drivable, lane

    def _head(self, x: Tensor, head: int) -> Tensor:
        for name in ("up_1", "up_2", "classifier"):
            x = self.get_submodule(f"{name}_{head}")(x)
        return x
