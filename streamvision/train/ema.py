"""The running mean of a network's weights, which is what is evaluated, kept and exported.

Polyak averaging with a decay that grows from 0 (as in TensorFlow's ``ExponentialMovingAverage``), so that the mean is
of use after the first steps already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def decay_at(updates: int, decay: float) -> float:
    """Return how much of the mean stays at an update, counted from 1: at most ``decay``, and less early on."""
    return min(decay, updates / (updates + 9))


class Ema:
    """The mean of a module's floating-point parameters and buffers; whole numbers are copied. ``decay`` 0: no mean."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state: dict[str, Tensor] = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's weights after a step."""
        self.updates += 1
        keep = decay_at(self.updates, self.decay)
        for name, value in module.state_dict().items():
            mean = self.state[name]
            if mean.dtype.is_floating_point:
                mean.lerp_(value.detach(), 1 - keep)
            else:
                mean.copy_(value)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Within the block the module has the mean weights."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.state)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes."""
        return {"updates": self.updates, "state": self.state}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `dump` was called."""
        self.updates = int(saved["updates"])
        for name, value in saved["state"].items():
            self.state[name].copy_(value)
