"""What a recipe and the data make together: what is learnt, by which network, from which pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamvision.config.validate import nearest
from streamvision.dataset import Dataset, Example, join, label_map, split
from streamvision.dataset import load as load_data
from streamvision.engine.manifest import ModelInput
from streamvision.errors import UsageError
from streamvision.export import recipes
from streamvision.train.networks.task import Task
from streamvision.train.recipe import Data, Part, Recipe

_MULTIPLE = 32
_ANY_SIZE = ("classifier", "dense")
_OBJECTS = ("dense", "street", "two_stage")
_ENTROPY = ("classifier", "semantic")
_MOST_LOOKED_AT = 400
"""Of so many label pictures the classes are counted."""
_RAREST, _COMMONEST = 10.0, 0.1

Maps = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """``engine``: the network's own recipe, with the label maps that are learnt. ``repeats``: one for each picture of
    ``train``."""

    recipe: Recipe
    engine: recipes.Recipe
    task: Task
    train: Dataset
    repeats: tuple[float, ...]
    val: Dataset

    @property
    def name(self) -> str:
        """What the trained model is called."""
        return self.recipe.name or self.engine.name

    @property
    def size_wh(self) -> tuple[int, int]:
        """The network's input in px."""
        return self.task.input.size


def prepare(recipe: Recipe) -> Setting:
    """Read the data and settle what is learnt.

    Raises `UsageError` where network, data and options do not go together, and what reading the data raises.
    """
    engine = recipes.find(recipe.network)
    _refuse_unused(recipe, engine)
    size = recipe.size or engine.size
    _refuse_size(size, engine)
    train, repeats, val = read(recipe.data, recipe.seed)
    maps = _maps(engine, train.maps, recipe.data.maps)
    engine = engine.model_copy(update={"segmentation": maps})
    kept = [_teaches(example, engine, maps) for example in train.examples]
    there = {name: classes for name, classes in train.maps.items() if name in maps}
    chosen = tuple(each for each, good in zip(train.examples, kept, strict=True) if good)
    train = replace(train, examples=chosen, maps=there)
    val = replace(val, examples=tuple(each for each in val.examples if _teaches(each, engine, maps)))
    _refuse_empty(train, val, engine)
    repeats = tuple(each for each, good in zip(repeats, kept, strict=True) if good)
    weights = class_weights(recipe.class_weights, engine, train)
    spec = ModelInput(size=size, **engine.input)
    classes = () if engine.exporter == "semantic" else train.classes
    task = Task(spec, classes, maps, weights, recipe.label_smoothing, recipe.dice)
    return Setting(recipe, engine, task, train, repeats, val)


def read(data: Data, seed: int) -> tuple[Dataset, tuple[float, ...], Dataset]:
    """Return the training pictures of all sets, how often each is repeated, and the pictures to measure on."""
    sets = [load_data(_with(part, data.classes)) for part in data.train]
    train = join(sets)
    times = {
        id(example.path): part.repeat for one, part in zip(sets, data.train, strict=True) for example in one.examples
    }
    if data.val:
        val = join([load_data(_with(part, train.classes)) for part in data.val])
    else:
        train, val = split(train, data.split, seed)
    return train, tuple(times[id(example.path)] for example in train.examples), val


def _with(part: Part, classes: tuple[str, ...] | None) -> Part:
    return part if part.classes is not None or not classes else part.model_copy(update={"classes": classes})


def _maps(engine: recipes.Recipe, there: Maps, wanted: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Return which label maps are learnt, with their classes. Raises `UsageError` where that is not clear."""
    for name in wanted or ():
        if name not in there:
            raise UsageError(f"the data has no label map {name!r}", where="data.maps", remedy=nearest(name, there))
    chosen = {name: there[name] for name in (there if wanted is None else wanted)}
    if engine.exporter not in ("semantic", "street"):
        return {}
    if engine.exporter == "street":
        return chosen
    if len(engine.segmentation) > 1:
        return _fixed_maps(engine, chosen)
    if len(chosen) != 1:
        what = f"{engine.name} learns one label map, the data has {len(chosen)}"
        raise UsageError(what, where="data.maps", remedy=f"name one of: {', '.join(there) or 'none there'}")
    return chosen


def _fixed_maps(engine: recipes.Recipe, chosen: Maps) -> dict[str, tuple[str, ...]]:
    """Return the maps of a network whose heads are what they are; of those some may be taught."""
    for name, classes in engine.segmentation.items():
        if name in chosen and len(chosen[name]) != len(classes):
            raise UsageError(
                f"{engine.name} has {len(classes)} classes in its map {name!r}, the data {len(chosen[name])}",
                where="data", remedy=f"its classes are {', '.join(classes)}",
            )  # fmt: skip
    if not set(engine.segmentation) & set(chosen):
        remedy = f"it makes {', '.join(engine.segmentation)}; the data has {', '.join(chosen) or 'none'}"
        raise UsageError(f"the data has none of the label maps of {engine.name}", where="data", remedy=remedy)
    return {name: chosen.get(name, classes) for name, classes in engine.segmentation.items()}


def _teaches(example: Example, engine: recipes.Recipe, maps: Maps) -> bool:
    """Tell whether a picture shows something that the network learns."""
    if engine.exporter == "classifier":
        return example.label is not None
    mapped = any(name in example.label_maps for name in maps)
    return mapped or (engine.exporter in _OBJECTS and example.objects is not None)


def _refuse_size(size: tuple[int, int], engine: recipes.Recipe) -> None:
    """Raise `UsageError` for sides that are no multiples of what those of the network's usual size are, 32 at most."""
    if engine.exporter in _ANY_SIZE:
        return
    multiple = math.gcd(*engine.size, _MULTIPLE)
    if any(side % multiple for side in size):
        raise UsageError(
            f"a picture of {size[0]}x{size[1]} does not suit {engine.name}",
            where="size", remedy=f"take multiples of {multiple} for both sides",
        )  # fmt: skip


def _refuse_empty(train: Dataset, val: Dataset, engine: recipes.Recipe) -> None:
    for data, what in ((train, "learnt from"), (val, "measured on")):
        if not len(data):
            wants = {"classifier": "a class for each picture", "semantic": "label pictures"}.get(
                engine.exporter, "boxes"
            )
            raise UsageError(f"there is no picture that can be {what}: {engine.name} needs {wants}", where=data.origin)
    if engine.exporter != "semantic" and not train.classes:
        remedy = f"{engine.name} learns classes: name what it shall see as data.classes"
        raise UsageError("the data names no classes", where=train.origin, remedy=remedy)


def _refuse_unused(recipe: Recipe, engine: recipes.Recipe) -> None:
    """Raise `UsageError` for options that this network could not follow."""
    given = {
        "class_weights": recipe.class_weights != "none" and engine.exporter not in _ENTROPY,
        "label_smoothing": bool(recipe.label_smoothing) and engine.exporter not in _ENTROPY,
        "dice": bool(recipe.dice) and engine.exporter != "semantic",
    }
    for name, useless in given.items():
        if useless:
            raise UsageError(f"the losses of {engine.name} know no {name}", where=name, remedy="leave it out")


def class_weights(asked: Mapping[str, float] | str, engine: recipes.Recipe, train: Dataset) -> tuple[float, ...] | None:
    """Return how much a mistake counts by class; ``auto`` is median frequency balancing (Eigen & Fergus,
    arXiv:1411.4734), within 0.1 to 10."""
    if asked == "none":
        return None
    if engine.exporter == "semantic" and len(engine.segmentation) != 1:
        raise UsageError(f"{engine.name} makes several label maps", where="class_weights", remedy="leave it out")
    maps = engine.segmentation
    names = next(iter(maps.values())) if maps else train.classes
    if isinstance(asked, Mapping):
        for name in asked:
            if name not in names:
                raise UsageError(f"there is no class {name!r}", where="class_weights", remedy=nearest(name, names))
        return tuple(asked.get(name, 1.0) for name in names)
    counts = _pixels(train, next(iter(maps))) if maps else _pictures(train)
    return tuple(balanced(counts).tolist())


def balanced(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the median of the counts over each; 1 for a class that is never there."""
    there = counts > 0
    weights = np.ones(len(counts))
    weights[there] = np.median(counts[there]) / counts[there]
    return weights.clip(_COMMONEST, _RAREST)


def _pixels(train: Dataset, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    known = [example for example in train.examples if name in example.label_maps]
    step = max(1, len(known) // _MOST_LOOKED_AT)
    counts = sum(np.bincount(label_map(train, each, name).ravel(), minlength=256) for each in known[::step])
    return np.asarray(counts, np.int64)[: len(train.maps[name])]


def _pictures(train: Dataset) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = [example.label for example in train.examples if example.label is not None]
    return np.bincount(labels, minlength=len(train.classes)).astype(np.int64)
