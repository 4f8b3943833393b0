"""The embedded network `sv-street`: its module, how it is built and how it is exported."""

from __future__ import annotations

from pathlib import Path

from streamvision.errors import MissingError, UsageError
from streamvision.export.recipes import Recipe
from streamvision.export.registry import Built, Weights
from streamvision.export.street.network import StreetNet
from streamvision.export.weights import load_state
from streamvision.resources import shipped

_NETWORK = "sv_street"


def build(recipe: Recipe, weights: Weights, num_classes: int | None) -> Built:
    """Return the network in evaluation mode, with a state file's weights or random ones.

    Its label maps are those of the recipe's ``segmentation``. Raises `UsageError` for weights that do not fit,
    `MissingError` where the program comes without its own.
    """
    if recipe.network != _NETWORK:
        raise UsageError(f"there is no network called {recipe.network!r}", where=recipe.source, remedy=_NETWORK)
    classes = recipe.classes if num_classes is None else num_classes
    module = StreetNet(classes, [len(names) for names in recipe.segmentation.values()]).eval()
    if weights is None:
        return Built(module, classes, None, "random weights")
    path = _shipped(recipe) if weights == "DEFAULT" else Path(weights)
    load_state(module, path, classes=classes)
    return Built(module, classes, None, f"weights from {path.name}")


def _shipped(recipe: Recipe) -> Path:
    path = shipped("engines") / f"{recipe.name}.pth"
    if not path.is_file():
        raise MissingError(
            "no weights of this network come with the program",
            where=recipe.source,
            remedy="train it (streamvision train), and give the run's best.pth as --weights FILE",
        )
    return path
