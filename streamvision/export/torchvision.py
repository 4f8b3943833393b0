"""Building torchvision's networks: published weights, a state file, or random weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torchvision import models

from streamvision.errors import MissingError, UsageError
from streamvision.export.recipes import Recipe
from streamvision.export.registry import Built, Weights
from streamvision.export.weights import load_state

_BACKGROUND = "__background__"
_OPTIONAL = ("AuxLogits.", "aux_classifier.")
"""Heads that only serve training."""


def build(recipe: Recipe, weights: Weights, num_classes: int | None) -> Built:
    """Return a torchvision network in evaluation mode.

    Raises `MissingError` where published weights cannot be downloaded, `UsageError` where weights and classes disagree.
    """
    if weights == "DEFAULT":
        return _published(recipe, num_classes)
    classes = recipe.classes if num_classes is None else num_classes
    module = _random(recipe, classes)
    if weights is None:
        return Built(module, classes, None, "random weights")
    path = Path(weights)
    load_state(module, path, classes=classes, optional=_OPTIONAL)
    return Built(module, classes, None, f"weights from {path.name}")


def _random(recipe: Recipe, classes: int) -> Any:
    bare = {} if recipe.task == "classification" else {"weights_backbone": None}
    module = models.get_model(recipe.network, weights=None, num_classes=classes, **bare, **recipe.arguments)
    return module.eval()


def _published(recipe: Recipe, num_classes: int | None) -> Built:
    weights = models.get_model_weights(recipe.network).DEFAULT
    categories = weights.meta["categories"]
    if num_classes not in (None, len(categories)):
        raise UsageError(
            f"the published weights know {len(categories)} classes, not {num_classes}",
            where=recipe.source,
            remedy="leave --num-classes away, or give --weights FILE",
        )
    try:
        module = models.get_model(recipe.network, weights=weights, progress=False)
    except (URLError, RuntimeError, OSError) as error:
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
        raise MissingError(
            f"the published weights cannot be downloaded: {error}",
            where=recipe.source,
            remedy=f"fetch {weights.url} elsewhere and put it into {folder}, or give --weights FILE",
        ) from error
    labels = tuple(name for name in categories if name != _BACKGROUND)
    return Built(module.eval(), len(categories), labels, f"weights {weights}")
