"""Small networks of random weights, and what it takes to export them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from streamvision.export import recipes, registry

SIDE = 32
CLASSES = 4


class Tiny(nn.Module):
    """Convolutions with normalisations, a depthwise one, two branches that read one tensor, and a classifier."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width),
        )  # fmt: skip
        self.side = nn.Conv2d(width, 2 * width, 1)
        self.more = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.ReLU())
        self.hidden = nn.Linear(2 * width, 24)
        self.last = nn.Linear(24, CLASSES)

    def forward(self, picture: Any) -> Any:
        seen = self.first(picture)
        seen = self.more(torch.relu(self.deep(seen) + self.side(seen)))
        return self.last(torch.relu(self.hidden(seen.mean((2, 3)))))


def tiny(seed: int = 0) -> nn.Module:
    """Return a network whose normalisations have statistics of their own."""
    torch.manual_seed(seed)
    module = Tiny().train()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.3, 0.3)
        for _ in range(20):
            module(torch.randn(16, 3, SIDE, SIDE))
        module.last.weight.mul_(3)
    return module.eval()


def write(module: nn.Module, folder: Path) -> Path:
    """Export a classifier, as the command does."""
    recipe = recipes.load("resnet18")
    request = registry.Request(recipe, folder, "tiny", (SIDE, SIDE), None, CLASSES)
    return registry.write(request, registry.Built(copy.deepcopy(module).eval(), CLASSES, None, "random weights"))


def pictures(count: int = 16, first: int = 0) -> list[Any]:
    """Return smooth pictures (h,w,3) uint8."""
    found = []
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        small = torch.from_numpy(rng.integers(0, 256, (1, 3, 6, 6)).astype(np.float32))
        large = nn.functional.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 255)
        found.append(large[0].permute(1, 2, 0).to(torch.uint8).numpy())
    return found
