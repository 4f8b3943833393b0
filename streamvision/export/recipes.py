"""Recipes: how a known network is built, what it wants to see, and which exporter takes it apart.

A recipe is a YAML file in ``engines/recipes``. A manifest describes one network file; a recipe describes how such
files are made, for any size, classes and weights.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from streamvision.config.document import PARSER_SLIPS
from streamvision.engine.manifest import Task
from streamvision.errors import ManifestError, UsageError
from streamvision.resources import shipped

Side = Annotated[int, Field(ge=16, le=8192)]


class Recipe(BaseModel):
    """One network.

    ``source`` is ``KIND:NETWORK``: who builds it, and what it is called there. ``exporter`` names the function that
    turns the module into files. ``classes`` is how many the network has without other instructions, background and all.
    ``input`` goes into the manifest's input (mean, std, scale, pad ...), ``decoder`` into its decoder. ``arguments`` go
    to whoever builds the module, ``options`` to the exporter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    summary: str
    task: Task
    source: Annotated[str, Field(pattern=r"^[a-z0-9_]+:[A-Za-z0-9_/.-]+$")]
    exporter: str
    licence: str
    size: tuple[Side, Side]
    classes: Annotated[int, Field(ge=1)]
    labels: tuple[str, ...] = ()
    segmentation: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    input: dict[str, Any] = Field(default_factory=dict)
    decoder: dict[str, Any] = Field(default_factory=dict)
    arguments: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Who builds the module, for example ``torchvision``."""
        return self.source.partition(":")[0]

    @property
    def network(self) -> str:
        """What the network is called there."""
        return self.source.partition(":")[2]


def names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(path.stem for path in (shipped("engines") / "recipes").glob("*.yaml"))


def load(name: str) -> Recipe:
    """Read a shipped recipe. Raises `UsageError` for an unknown name, `ManifestError` for a recipe that is wrong."""
    if name not in names():
        raise _unknown(name, names())
    return read(shipped("engines") / "recipes" / f"{name}.yaml")


def read(path: Path) -> Recipe:
    """Read and check a recipe file. Raises `ManifestError`."""
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ManifestError(f"{where}: {first['msg']}", where=str(path)) from error
    except (YAMLError, OSError, *PARSER_SLIPS) as error:
        raise ManifestError(f"cannot be read: {error}", where=str(path)) from error
    if recipe.name != path.stem:
        raise ManifestError(f"the recipe calls itself {recipe.name!r}", where=str(path))
    return recipe


def find(source: str) -> Recipe:
    """Return the recipe behind ``KIND:NETWORK`` or a recipe's name.

    ``KIND:NETWORK/PART`` is found for any part if there is a recipe for another one (smp:unet/resnet34 for encoders).
    Raises `UsageError` with the nearest known one.
    """
    if ":" not in source:
        return load(source)
    by_source = {recipe.source: recipe for recipe in map(load, names())}
    if source in by_source:
        return by_source[source]
    family, slash, part = source.rpartition("/")
    for known, recipe in by_source.items():
        if slash and known.rpartition("/")[0] == family:
            return _relative(recipe, source, part)
    raise _unknown(source, [*by_source])


def _relative(recipe: Recipe, source: str, part: str) -> Recipe:
    """Return a recipe with another part. Raises `UsageError` for one that cannot be called by any name."""
    name = f"{recipe.network.partition('/')[0]}-{part}".lower().replace("_", "-")
    changed = {"name": name, "source": source, "summary": f"{recipe.network.partition('/')[0]} with {part}"}
    try:
        return Recipe.model_validate(recipe.model_dump() | changed)
    except ValidationError as error:
        raise _unknown(source, [recipe.source]) from error


def _unknown(name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return UsageError(f"there is no recipe for {name!r}", remedy=hint)
