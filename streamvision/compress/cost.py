"""What a network costs: multiply-accumulates for one picture, and parameters; as long as it is a module of PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from streamvision.compress.views import outputs

Of = Literal["macs", "parameters"]
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""The layers that nearly all of a network's work and weights are in."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``macs``: multiply-accumulates of convolutions and linear layers for one picture."""

    macs: int
    parameters: int

    def of(self, what: Of) -> int:
        """Return one of both."""
        return self.macs if what == "macs" else self.parameters


class Meter:
    """Knows how often each layer's weight is applied for one picture, and so what the layers cost as they become
    narrower, without running the network again."""

    def __init__(self, module: nn.Module, picture: Tensor) -> None:
        """``picture``: one normalised picture (1,3,h,w)."""
        self._module = module
        self._places: dict[Any, int] = {}
        hooks = [layer.register_forward_hook(self._note) for layer in module.modules() if isinstance(layer, WEIGHTED)]
        try:
            with torch.no_grad():
                outputs(module, picture)
        finally:
            for hook in hooks:
                hook.remove()

    def places(self, layer: nn.Module) -> int:
        """Return how often a layer's weight is applied; 0 for one that is not."""
        return self._places.get(layer, 0)

    def cost(self) -> Cost:
        """Return what the network costs as it is now."""
        macs = sum(places * layer.weight.numel() for layer, places in self._places.items())
        return Cost(macs, sum(each.numel() for each in self._module.parameters()))

    def _note(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Every weight is applied once in each place of the output; of the input where that is the smaller one."""
        if isinstance(layer, nn.Linear):
            places = output.numel() // output.shape[-1]
        else:
            places = (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output)[:, 0].numel()
        self._places[layer] = self._places.get(layer, 0) + places
