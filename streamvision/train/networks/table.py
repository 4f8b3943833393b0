"""Which adapter trains which network, by the name of the recipe's exporter; imported only when one is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from streamvision.errors import UsageError
from streamvision.export.recipes import Recipe
from streamvision.train.networks import Network
from streamvision.train.networks.task import Task

ADAPTERS = {
    "classifier": "streamvision.train.networks.classifiers:Classifier",
    "dense": "streamvision.train.networks.detectors:Detector",
    "semantic": "streamvision.train.networks.segmenters:Segmenter",
    "street": "streamvision.train.networks.street:StreetNetwork",
    "two_stage": "streamvision.train.networks.detectors:Detector",
}
"""Recipe ``exporter`` -> a class of `Network`, made by its ``of(module, recipe)``, or else of module and task."""
MIN_SCORE = 0.001
"""Evaluation asks for the whole curve, so nearly everything is kept."""
_WITH_BACKGROUND = ("dense", "two_stage")


def adapter(recipe: Recipe, module: Any, task: Task) -> Network:
    """Return a module as a network that can be trained. Raises `UsageError` for one that nobody knows how to train."""
    if recipe.exporter not in ADAPTERS:
        raise UsageError(
            f"networks of the kind {recipe.exporter!r} cannot be trained",
            where=recipe.name,
            remedy=f"known kinds: {', '.join(sorted(ADAPTERS))}",
        )
    place, _, name = ADAPTERS[recipe.exporter].partition(":")
    kind = getattr(import_module(place), name)
    generous = recipe.model_copy(update={"decoder": {**recipe.decoder, "min_score": MIN_SCORE}})
    network: Network = kind.of(module, generous) if hasattr(kind, "of") else kind(module, task)
    return network


def classes_of(recipe: Recipe, task: Task) -> int:
    """Return how many classes a network is built with to learn a task, a background included where it has one."""
    if recipe.exporter in _WITH_BACKGROUND:
        return len(task.classes) + 1
    if recipe.exporter == "semantic" and len(task.maps) == 1:
        return len(next(iter(task.maps.values())))
    return recipe.classes if recipe.exporter == "semantic" else len(task.classes)
