"""Building segmentation-models-pytorch's networks: a state file, or random weights.

A source is ``smp:ARCHITECTURE/ENCODER``, for example ``smp:unet/resnet34``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from torch import Tensor, nn
from torch.nn.functional import interpolate

from streamvision.errors import UsageError
from streamvision.export.recipes import Recipe
from streamvision.export.registry import Built, Weights
from streamvision.export.weights import load_state


def build(recipe: Recipe, weights: Weights, num_classes: int | None) -> Built:
    """Return a network in evaluation mode.

    Raises `UsageError` for a network that the library does not have, and where weights and classes disagree.
    """
    if weights == "DEFAULT":
        raise UsageError(
            "nobody publishes weights of this network",
            where=recipe.source,
            remedy="give --weights FILE, a state file of your training",
        )
    classes = recipe.classes if num_classes is None else num_classes
    module = _random(recipe, classes)
    if weights is None:
        return Built(module, classes, None, "random weights")
    path = Path(weights)
    load_state(module, path, classes=classes)
    return Built(module, classes, None, f"weights from {path.name}")


def _random(recipe: Recipe, classes: int) -> Any:
    architecture, _, encoder = recipe.network.partition("/")
    try:
        module = smp.create_model(architecture, encoder, encoder_weights=None, classes=classes, **recipe.arguments)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"segmentation-models-pytorch has no {architecture!r} with {encoder!r}",
            where=recipe.source,
            remedy="give smp:ARCHITECTURE/ENCODER, for example smp:unet/resnet34",
        ) from error
    for name, block in list(module.named_modules()):
        if isinstance(block, PSPBlock):
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, _Block(block.pool))
    return module.eval()


class _Block(nn.Module):
    """One scale of PSPNet's pyramid, under the same names (Zhao et al., arXiv:1612.01105).

    The library's own block goes another way while it is exported, past the pooling that the exporter replaces.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        size = (int(x.shape[2]), int(x.shape[3]))
        return interpolate(self.pool(x), size=size, mode="bilinear", align_corners=True)
