"""The network `sv-street`: one backbone, a head that finds objects and a head that labels every part of the picture.

Plain convolutions of 1x1 and 3x3 with batch normalisation, chosen for what trains and runs quickly on a few CPU cores.
The backbone and the neck are built of cross stage partial blocks (Wang et al., arXiv:1911.11929) with a spatial pyramid
pooling at the end (He et al., arXiv:1406.4729) and a path aggregation (Liu et al., arXiv:1803.01534). The objects' head
has no anchors: every place of three levels says its class and how far it is to the four sides of its object (Tian et
al., FCOS, arXiv:1904.01355), classes and boxes in branches of their own (Ge et al., YOLOX, arXiv:2107.08430).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
"""Picture px between the places of each of the three levels."""
MAP_STRIDE = 4
"""Picture px between the places at which the maps are computed."""
MULTIPLE = 32
"""Both sides of a picture are multiples of this."""

_PRIOR = 0.01
"""What every class scores before training (Lin et al., arXiv:1708.02002): nearly all of a picture is background."""
_FIRST_DISTANCE = 2.0
"""How far every side is before training, in strides: boxes that overlap with objects of that level."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels. ``stages``: at strides 2, 4, 8, 16, 32; ``neck`` and ``heads``: at strides 8, 16, 32; ``maps``."""

    stages: tuple[int, int, int, int, int] = (16, 32, 64, 128, 224)
    blocks: tuple[int, int, int, int] = (1, 1, 2, 1)
    """How many residual blocks the stages at strides 4, 8, 16, 32 have."""
    neck: tuple[int, int, int] = (64, 96, 128)
    heads: tuple[int, int, int] = (32, 48, 64)
    maps: int = 32


class StreetNet(nn.Module):
    """RGB pictures (n,3,h,w) in 0-1, sides multiples of `MULTIPLE`, to what `forward` returns.

    ``maps``: the number of classes of each label map, in order; none makes a detector alone.
    """

    def __init__(self, classes: int, maps: Sequence[int] = (2, 2), widths: Widths | None = None) -> None:
        super().__init__()
        widths = widths or Widths()
        self.classes, self.maps = classes, tuple(maps)
        self.backbone = _Backbone(widths)
        self.neck = _Neck(widths)
        self.class_heads = nn.ModuleList(
            _Head(wide, inner, classes) for wide, inner in zip(widths.neck, widths.heads, strict=True)
        )
        self.box_heads = nn.ModuleList(
            _Head(wide, inner, 4) for wide, inner in zip(widths.neck, widths.heads, strict=True)
        )
        channels = sum(map(channels_of, self.maps))
        self.map_head = _MapHead(widths, channels) if channels else None
        self._begin()

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits (n,N,classes), distances (n,N,4) and map logits (n,channels,h/4,w/4).

        Distances go from a place (see `places`) to the left, upper, right and lower side, in px, all positive and in
        float32. The channels of the maps follow each other: one for a map of two classes, else one for each class.
        """
        fine, *levels = self.backbone(picture)
        levels = self.neck(levels)
        logits = torch.cat([_rows(head(level)) for head, level in zip(self.class_heads, levels, strict=True)], 1)
        distances = torch.cat(
            [
                functional.softplus(_rows(head(level)).float()) * stride
                for head, level, stride in zip(self.box_heads, levels, STRIDES, strict=True)
            ],
            1,
        )
        if self.map_head is None:
            return logits, distances, fine[:, :0]
        return logits, distances, self.map_head(fine, levels[0])

    def _begin(self) -> None:
        """Set the biases of the last layers to what is known before training."""
        distance = math.log(math.expm1(_FIRST_DISTANCE))
        for heads, bias in ((self.class_heads, math.log(_PRIOR / (1 - _PRIOR))), (self.box_heads, distance)):
            for head in heads:
                nn.init.constant_(head.last.bias, bias)


def channels_of(classes: int) -> int:
    """Return how many logits a map of so many classes has in each place."""
    return 1 if classes == 2 else classes


def places(size_wh: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the places of a picture: centres (N,2) x and y in px, and each one's stride (N,) in px."""
    centres, strides = [], []
    for stride in STRIDES:
        x, y = (torch.arange(side // stride) * stride + stride / 2 for side in size_wh)
        row, column = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack((column.reshape(-1), row.reshape(-1)), 1))
        strides.append(torch.full((len(centres[-1]),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def boxes_at(centres: Tensor, distances: Tensor) -> Tensor:
    """Return boxes (...,N,4) xyxy for places (N,2) and their distances (...,N,4)."""
    return torch.cat((centres - distances[..., :2], centres + distances[..., 2:]), -1)


def _rows(maps: Tensor) -> Tensor:
    """Return maps (n,channels,h,w) as (n,h * w,channels)."""
    return maps.flatten(2).transpose(1, 2)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class _Conv(nn.Module):
    """A convolution that keeps the picture's size, divided by its stride; normalised and activated."""

    def __init__(self, wide: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)
        self.act = nn.Hardswish(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class _Residual(nn.Module):
    """A 1x1 and a 3x3 convolution, added to what goes in unless ``shortcut`` is False."""

    def __init__(self, wide: int, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = _Conv(wide, wide), _Conv(wide, wide, 3)
        self._shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self._shortcut else y


class _Partial(nn.Module):
    """A cross stage partial block: one half of the channels goes through residual blocks, the other past them."""

    def __init__(self, wide: int, out: int, blocks: int, *, shortcut: bool = True) -> None:
        super().__init__()
        # Two convolutions rather than one that is cut in two: channels can then be pruned from each.
        self.past, self.through = _Conv(wide, out // 2), _Conv(wide, out // 2)
        self.blocks = nn.Sequential(*(_Residual(out // 2, shortcut) for _ in range(blocks)))
        self.mix = _Conv(out // 2 * 2, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat((self.past(x), self.blocks(self.through(x))), 1))


class _Pyramid(nn.Module):
    """Spatial pyramid pooling by three poolings of 5x5 in a row: the largest of 5x5, 9x9 and 13x13 places."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.first, self.mix = _Conv(wide, wide // 2), _Conv(wide // 2 * 4, wide)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.first(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        return self.mix(torch.cat(found, 1))


class _Backbone(nn.Module):
    """Pictures to features at strides 4, 8, 16 and 32."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.stem = _Conv(3, widths.stages[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(_Conv(wide, out, 3, 2), _Partial(out, out, blocks))
            for wide, out, blocks in zip(widths.stages[:-1], widths.stages[1:], widths.blocks, strict=True)
        )
        self.pyramid = _Pyramid(widths.stages[-1])

    def forward(self, picture: Tensor) -> list[Tensor]:
        x, levels = self.stem(picture), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return [*levels[:-1], self.pyramid(x)]


class _Neck(nn.Module):
    """Features at strides 8, 16, 32 to the same levels, each of which has seen the others: down, then up again."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        (fine, middle, coarse), (_, _, eight, sixteen, last) = widths.neck, widths.stages
        self.enter = _Conv(last, coarse)
        self.down_middle = _Partial(sixteen + coarse, middle, 1, shortcut=False)
        self.between = _Conv(middle, fine)
        self.down_fine = _Partial(eight + fine, fine, 1, shortcut=False)
        self.to_middle, self.up_middle = _Conv(fine, fine, 3, 2), _Partial(2 * fine, middle, 1, shortcut=False)
        self.to_coarse, self.up_coarse = (
            _Conv(middle, middle, 3, 2),
            _Partial(middle + coarse, coarse, 1, shortcut=False),
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        eight, sixteen, last = levels
        coarse = self.enter(last)
        middle = self.between(self.down_middle(torch.cat((sixteen, _twice(coarse)), 1)))
        fine = self.down_fine(torch.cat((eight, _twice(middle)), 1))
        middle = self.up_middle(torch.cat((self.to_middle(fine), middle), 1))
        return [fine, middle, self.up_coarse(torch.cat((self.to_coarse(middle), coarse), 1))]


class _Head(nn.Module):
    """One branch of one level: features to ``out`` values in each place."""

    def __init__(self, wide: int, inner: int, out: int) -> None:
        super().__init__()
        self.first, self.last = _Conv(wide, inner, 3), nn.Conv2d(inner, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


class _MapHead(nn.Module):
    """Features at stride 4 of the backbone and at stride 8 of the neck to the maps' logits at stride 4."""

    def __init__(self, widths: Widths, channels: int) -> None:
        super().__init__()
        self.near, self.deep = _Conv(widths.stages[1], widths.maps), _Conv(widths.neck[0], widths.maps)
        self.blocks = nn.Sequential(*(_Conv(widths.maps, widths.maps, 3) for _ in range(2)))
        self.last = nn.Conv2d(widths.maps, channels, 1)

    def forward(self, fine: Tensor, level: Tensor) -> Tensor:
        return self.last(self.blocks(self.near(fine) + _twice(self.deep(level))))
