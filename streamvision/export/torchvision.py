"""Building torchvision's networks: published weights, a state file, or random weights."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torchvision import models
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

from streamvision.errors import MissingError, UsageError
from streamvision.export import pruned
from streamvision.export.recipes import Recipe
from streamvision.export.registry import Built, Weights
from streamvision.export.weights import load_state, read_state

_BACKGROUND = "__background__"
_SSDLITE = "ssdlite320_mobilenet_v3_large"
_AFTER_TAIL = "backbone.extra.0.0.0.weight"
"""The layer that takes what an SSDlite's backbone gives."""
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
    if recipe.network == _SSDLITE and _has_full_tail(module, path):
        _put_full_tail(module, classes)
    load_state(module, path, classes=classes, optional=_OPTIONAL)
    return Built(module, classes, None, f"weights from {path.name}")


def _random(recipe: Recipe, classes: int) -> Any:
    bare = {} if recipe.task == "classification" else {"weights_backbone": None}
    module = models.get_model(recipe.network, weights=None, num_classes=classes, **bare, **recipe.arguments)
    return module.eval()


def _has_full_tail(module: Any, path: Path) -> bool:
    """Tell whether an SSDlite was trained from a backbone of ImageNet's, whose last layers are twice as wide."""
    state = read_state(path)
    if _AFTER_TAIL not in state:
        return False
    record, shape = pruned.beside(path), state[_AFTER_TAIL].shape
    unpruned = record.was(_AFTER_TAIL, shape) if record else shape
    return tuple(unpruned[1:2]) == (2 * module.state_dict()[_AFTER_TAIL].shape[1],)


def _put_full_tail(module: Any, classes: int) -> None:
    """Give an SSDlite the backbone that torchvision's builder takes only together with a download."""
    norm = partial(torch.nn.BatchNorm2d, eps=0.001, momentum=0.03)
    border = len(module.backbone.features[0]) - 1
    features = models.mobilenet_v3_large(weights=None, norm_layer=norm).features
    module.backbone = SSDLiteFeatureExtractorMobileNet(features, border, norm).eval()
    with torch.inference_mode():
        maps = module.backbone(torch.zeros(1, 3, 320, 320))
    channels = [each.shape[1] for each in maps.values()]
    module.head = SSDLiteHead(channels, module.anchor_generator.num_anchors_per_location(), classes, norm).eval()


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
