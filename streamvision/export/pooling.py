"""Adaptive average pooling for pictures of a fixed size, in operators that every backend has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def fix_pools(module: Any) -> None:
    """Replace every adaptive average pooling in a module, but for the global ones, by a `FixedPool`."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                setattr(parent, name, FixedPool(child.output_size))


class FixedPool(nn.Module):
    """Maps (n,c,h,w) -> (n,c,rows,columns) as two products with constant matrices.

    ONNX has no adaptive pooling, and PyTorch can only write those whose input is a multiple of the output.
    """

    def __init__(self, output_size: int | tuple[int, int]) -> None:
        super().__init__()
        self._rows, self._columns = (output_size, output_size) if isinstance(output_size, int) else output_size

    def forward(self, maps: Tensor) -> Tensor:
        """Return the means."""
        rows = shares(int(maps.shape[2]), self._rows)
        columns = shares(int(maps.shape[3]), self._columns)
        return torch.matmul(torch.matmul(rows, maps), columns.T)


def shares(length: int, parts: int) -> Tensor:
    """Return (parts, length): how much each place counts in each part's mean, where parts may overlap or repeat."""
    weights = torch.zeros(parts, length)
    for part in range(parts):
        first, last = part * length // parts, -(-(part + 1) * length // parts)
        weights[part, first:last] = 1 / (last - first)
    return weights
