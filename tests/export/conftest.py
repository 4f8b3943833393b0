"""Networks of the recipes with random weights, each exported once per session."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn

Size = tuple[int, int]


class Exports:
    """Call it to export a recipe with random weights at a small size; the answer is the manifest's path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[tuple[Any, ...], tuple[Path, Any]] = {}

    def __call__(self, recipe_name: str, *, size: Size | None = None, num_classes: int | None = None) -> Path:
        return self._get(recipe_name, size, num_classes)[0]

    def module(self, recipe_name: str, *, size: Size | None = None, num_classes: int | None = None) -> nn.Module:
        """The eager network of the same weights."""
        return self._get(recipe_name, size, num_classes)[1]

    def _get(self, recipe_name: str, size: Size | None, num_classes: int | None) -> tuple[Path, Any]:
        key = (recipe_name, size, num_classes)
        if key not in self._done:
            self._done[key] = self._export(recipe_name, size, num_classes)
        return self._done[key]

    def _export(self, recipe_name: str, size: Size | None, num_classes: int | None) -> tuple[Path, Any]:
        import torch

        from streamvision.export import recipes, registry
        from tests.export.networks import random_network

        torch.set_num_threads(2)
        recipe = recipes.load(recipe_name)
        size_wh = size or recipe.size
        module = random_network(recipe, size_wh, num_classes)
        folder = self._folder / f"{recipe_name}-{len(self._done)}"
        folder.mkdir()
        weights = folder / "state.pth"
        torch.save(module.state_dict(), weights)
        request = registry.Request(recipe, folder, recipe_name, size_wh, weights, num_classes)
        path = registry.export(request)
        weights.unlink()
        return path, module


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed: pip install 'streamvision[train]'")
    return Exports(tmp_path_factory.mktemp("exported"))
