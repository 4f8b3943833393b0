"""Who builds a network and who exports it, by the names that recipes use; imported only when one is used.

A source is a function ``build(recipe, weights, num_classes) -> Built``, an exporter ``export(request, built) -> Path``
of the manifest that it wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from streamvision.errors import MissingError, PluginError
from streamvision.export.recipes import Recipe

SOURCES = {
    "smp": "streamvision.export.smp:build",
    "streamvision": "streamvision.export.street:build",
    "torchvision": "streamvision.export.torchvision:build",
    "twinlitenet": "streamvision.export.twinlitenet:build",
}
"""Recipe ``source`` kind -> who builds the module."""
EXPORTERS = {
    "classifier": "streamvision.export.classifier:export",
    "dense": "streamvision.export.single_stage:export",
    "semantic": "streamvision.export.segmentation:export",
    "street": "streamvision.export.street.graph:export",
    "two_stage": "streamvision.export.two_stage:export",
}
"""Recipe ``exporter`` -> who writes the files."""

Weights = Literal["DEFAULT"] | Path | None
"""Published weights, a state file, or None for random ones."""


@dataclass(frozen=True, slots=True)
class Built:
    """A module in evaluation mode with its weights.

    ``classes`` is the network's own count, with the background where it has one; ``labels`` the names that the weights
    bring along, without the background, if any; ``origin`` says where the weights come from, for the manifest.
    """

    module: Any
    classes: int
    labels: tuple[str, ...] | None
    origin: str


@dataclass(frozen=True, slots=True)
class Request:
    """What shall be exported: files called ``name`` go into the folder ``out``."""

    recipe: Recipe
    out: Path
    name: str
    size_wh: tuple[int, int]
    weights: Weights = None
    num_classes: int | None = None
    labels: tuple[str, ...] | None = None


def export(request: Request) -> Path:
    """Build the network, write its files and its manifest, and return the manifest's path.

    Raises `MissingError` without torch, or where weights cannot be downloaded, `UsageError` for weights that do not
    fit.
    """
    return write(request, build(request.recipe, request.weights, request.num_classes))


def write(request: Request, built: Built) -> Path:
    """Write the files and the manifest of a network that was built already; errors as those of `export`."""
    exporter = _function(EXPORTERS, request.recipe.exporter, "exporter")
    request.out.mkdir(parents=True, exist_ok=True)
    path: Path = exporter(request, built)
    return path


def build(recipe: Recipe, weights: Weights, num_classes: int | None) -> Built:
    """Return a recipe's network with its weights; errors as those of `export`."""
    built: Built = _function(SOURCES, recipe.kind, "source")(recipe, weights, num_classes)
    return built


def _function(table: dict[str, str], name: str, what: str) -> Callable[..., Any]:
    if name not in table:
        raise PluginError(f"there is no {what} called {name!r}", remedy=f"known: {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), attribute)
    except ImportError as error:
        raise MissingError(
            f"exporting needs PyTorch, which cannot be imported: {error}", remedy="pip install 'streamvision[train]'"
        ) from error
    return found
