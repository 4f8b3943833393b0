"""What is not trained: the backbone for some epochs, and the statistics of normalisations that small batches spoil."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

BACKBONES = ("backbone", "encoder", "features")
"""What networks call the part that knows pictures in general; the recipe's networks have one of them."""


@dataclass(frozen=True, slots=True)
class Freezing:
    """``epochs``: for how long the backbone stays as it is; ``norms``: whether statistics stay for good."""

    module: nn.Module
    epochs: int = 0
    norms: bool = False

    def begin_epoch(self, epoch: int, losses: nn.Module | None, wrap: Callable[[], nn.Module]) -> nn.Module:
        """Put the module, in training mode, into an epoch's state.

        Returns the losses: new ones by ``wrap`` where other parameters are trained than before.
        """
        if self.norms:
            _still(self.module.modules())
        if not self.epochs:
            return losses or wrap()
        frozen = epoch < self.epochs
        part = backbone_of(self.module)
        if frozen:
            _still(part.modules())
        changes = any(each.requires_grad is frozen for each in part.parameters())
        part.requires_grad_(not frozen)
        return wrap() if losses is None or changes else losses


def backbone_of(module: nn.Module) -> nn.Module:
    """Return the part of a network that knows pictures in general; the whole but for the last layers of others."""
    for name in BACKBONES:
        if hasattr(module, name):
            part: nn.Module = getattr(module, name)
            return part
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    return nn.ModuleList(children[:-1])


def _still(modules: Iterable[nn.Module]) -> None:
    """Keep normalisations from taking in the statistics of batches."""
    for module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
