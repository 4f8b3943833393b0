"""The optimiser: weights decay, but for norms and biases."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Kind = Literal["sgd", "adamw"]


def build(module: nn.Module, kind: Kind, *, lr: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return an optimiser of every parameter, in the module's order."""
    groups = [
        {"params": [each for each in module.parameters() if _decays(each) is decays], "weight_decay": amount}
        for decays, amount in ((True, weight_decay), (False, 0.0))
    ]
    groups = [group for group in groups if group["params"]]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999))


def _decays(parameter: nn.Parameter) -> bool:
    """Tell whether a parameter is a matrix or a kernel; norms' scales and biases have one axis and do not decay."""
    return bool(parameter.ndim > 1)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = lr
