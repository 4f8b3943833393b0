"""Batch normalisations folded into the convolutions before them, as every compiler does for inference."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from streamvision.compress.views import outputs
from streamvision.errors import EngineError

_CLOSE: Final = 1e-3
"""By how much outputs may differ after it, as a share of their size: rounding errors and no more."""


def fold(module: nn.Module, picture: Tensor) -> int:
    """Fold every normalisation that follows a convolution alone, in place; return how many.

    picture: normalised (1,3,h,w). The module is in evaluation mode afterwards, and folded normalisations are gone for
    good. Raises `EngineError` where the network computes something else without them.
    """
    module.eval()
    with torch.no_grad():
        wanted = outputs(module, picture)
        pairs = _pairs(module, picture)
        for conv, norm in pairs.items():
            _fold(conv, norm)
        _replace(module, set(pairs.values()))
        found = outputs(module, picture)
    for ours, other in zip(wanted, found, strict=True):
        if not ours.numel():  # the label maps of a network that makes none
            continue
        if float((ours - other).abs().max()) > _CLOSE * max(1.0, float(ours.abs().max())):
            raise EngineError(
                "this network's normalisations cannot be folded into its convolutions",
                remedy="quantise it after training instead: --quantise after",
            )
    return len(pairs)


def _pairs(module: nn.Module, picture: Tensor) -> dict[Any, Any]:
    """Return convolution -> normalisation for those that only ever see each other."""
    made: dict[int, Any] = {}
    alive: list[Tensor] = []  # or another tensor may get the same id
    calls: dict[Any, int] = {}
    seen: dict[Any, list[Any]] = {}

    def after_convolution(layer: Any, _: object, output: Tensor) -> None:
        made[id(output)] = layer
        alive.append(output)
        calls[layer] = calls.get(layer, 0) + 1

    def before_norm(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.setdefault(layer, []).append(made.get(id(inputs[0])))

    hooks = [one.register_forward_hook(after_convolution) for one in module.modules() if type(one) is nn.Conv2d]
    hooks += [one.register_forward_pre_hook(before_norm) for one in module.modules() if _is_norm(one)]
    outputs(module, picture)
    for hook in hooks:
        hook.remove()
    return {
        convs[0]: norm
        for norm, convs in seen.items()
        if convs[0] is not None and set(convs) == {convs[0]} and len(convs) == calls[convs[0]]
    }


def _is_norm(layer: nn.Module) -> bool:
    if isinstance(layer, FrozenBatchNorm2d):
        return True
    return isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats


def _fold(conv: Any, norm: Any) -> None:
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale + (0 if norm.bias is None else norm.bias)
    conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(shift if conv.bias is None else shift + conv.bias * scale)


def _replace(module: nn.Module, norms: set[Any]) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child in norms:
                setattr(parent, name, nn.Identity())
